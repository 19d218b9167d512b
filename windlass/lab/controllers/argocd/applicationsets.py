"""ApplicationSets: the git directory generator, and one Application for each folder it finds."""

import fnmatch
from collections import Counter
from collections.abc import Iterable, Iterator

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Client
from windlass.lab.controllers.argocd.fields import APPLICATION_SET, lacking, not_evaluated
from windlass.lab.controllers.argocd.git import GitError, Repositories
from windlass.lab.controllers.argocd.options import REFRESH
from windlass.lab.controllers.argocd.templates import (
    GO_OPTIONS,
    TemplateError,
    directory_parameters,
    filled,
)
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.objects import (
    Key,
    Object,
    as_object,
    controller_of,
    controller_reference,
    dig,
    is_going,
    items,
    key_of,
    labels_of,
    table,
    with_condition,
)
from windlass.lab.controllers.replicas import owned, owner_keys
from windlass.lab.controllers.resources import APPLICATION_SETS, APPLICATIONS

FINALIZER = "resources-finalizer.argocd.argoproj.io"
# Argo CD looks at Git again after this many seconds.
REQUEUE = 180.0
# Annotations of other controllers, and finalizers of a later phase, that every set leaves alone.
_LEFT_TO_OTHERS = ("notified.notifications.argoproj.io", REFRESH)
_POST_DELETE = "post-delete-finalizer.argocd.argoproj.io"
# What a set may do to Applications beside making them, where it may not do everything.
_POLICIES: dict[str, frozenset[str]] = {
    "create-only": frozenset(),
    "create-update": frozenset({"update"}),
    "create-delete": frozenset({"delete"}),
}


class GenerationError(Exception):
    """The set cannot be turned into Applications; the message is for its conditions."""


async def generate(found: Object, repositories: Repositories) -> list[Object]:
    """The Applications an ApplicationSet asks for, in the order of its folders."""
    spec = found["spec"]
    if said := not_evaluated(_lacking(spec)):
        raise GenerationError(said)
    go, options = bool(spec.get("goTemplate")), items(spec, "goTemplateOptions")
    applications: list[Object] = []
    for index, generator in enumerate(items(spec, "generators")):
        if not dig(generator, "git", "repoURL"):
            raise GenerationError(f"spec.generators[{index}].git.repoURL is required")
        for path in await _directories(generator["git"], repositories):
            parameters = directory_parameters(path, go=go)
            try:
                made = filled(spec["template"], parameters, go=go, options=options)
            except TemplateError as error:
                raise GenerationError(f"failed to execute go template: {error}") from error
            applications.append(_completed(as_object(made), found))
    names = Counter(one["metadata"]["name"] for one in applications)
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise GenerationError(
            f"ApplicationSet {found['metadata']['name']} contains applications with duplicate "
            f"name: {', '.join(twice)}"
        )
    return applications


def _lacking(spec: Object) -> Iterator[str]:
    yield from lacking(spec, APPLICATION_SET, "spec")
    for option in items(spec, "goTemplateOptions"):
        if option not in GO_OPTIONS:
            yield f"the Go template option {option}"
    policy = dig(spec, "syncPolicy", "applicationsSync", default="sync")
    if policy not in ("sync", *_POLICIES):
        yield f"spec.syncPolicy.applicationsSync {policy}"


async def _directories(generator: Object, repositories: Repositories) -> list[str]:
    url, revision = generator["repoURL"], generator.get("revision", "HEAD")
    try:
        commit = await repositories.resolve(url, revision)
        folders = await repositories.folders(url, commit)
    except GitError as error:
        raise GenerationError(str(error)) from error
    wanted = [one for one in items(generator, "directories") if not one.get("exclude")]
    excluded = [one for one in items(generator, "directories") if one.get("exclude")]
    return [
        folder
        for folder in folders
        if any(_matches(folder, one["path"]) for one in wanted)
        and not any(_matches(folder, one["path"]) for one in excluded)
    ]


def _matches(folder: str, pattern: str) -> bool:
    """A star stays within one level, as in Go's path.Match; hidden folders match none."""
    parts, patterns = folder.split("/"), pattern.strip("/").split("/")
    return (
        len(parts) == len(patterns)
        and not any(part.startswith(".") for part in parts)
        and all(fnmatch.fnmatchcase(*pair) for pair in zip(parts, patterns, strict=True))
    )


def _completed(application: Object, found: Object) -> Object:
    meta = application["metadata"]
    keeps = dig(found, "spec", "syncPolicy", "preserveResourcesOnDeletion", default=False)
    finalizers = items(application, "metadata", "finalizers") or ([] if keeps else [FINALIZER])
    return {
        "apiVersion": APPLICATIONS.group_version,
        "kind": APPLICATIONS.kind,
        "metadata": {
            "name": meta["name"],
            "namespace": found["metadata"]["namespace"],
            "labels": labels_of(application),
            "annotations": table(application, "metadata", "annotations"),
            "finalizers": finalizers,
        },
        "spec": application["spec"],
    }


class ApplicationSets:
    """Makes, updates and removes the Applications of every set."""

    def __init__(
        self, client: Client, informers: Informers, clock: Clock, repositories: Repositories
    ) -> None:
        self._client = client
        self._clock = clock
        self._repositories = repositories
        self._sets = informers[APPLICATION_SETS]
        self._applications = informers[APPLICATIONS]
        self.controller = Controller("applicationset", clock, self._reconcile)
        self.controller.follow(self._sets)
        self.controller.follow(self._applications, owner_keys("ApplicationSet"))

    async def _reconcile(self, key: Key) -> float | None:
        found = self._sets.items.get(key)
        if found is None or is_going(found):
            return None
        try:
            wanted = await generate(found, self._repositories)
            self._check_owners(found, wanted)
        except GenerationError as error:
            await self._say(found, str(error))
            return _requeue(found)
        await self._make(found, wanted)
        await self._say(found, "")
        return _requeue(found)

    def _check_owners(self, found: Object, wanted: Iterable[Object]) -> None:
        """A name that another set's Application has is a collision, not an update."""
        uid = found["metadata"]["uid"]
        for application in wanted:
            there = self._applications.items.get(key_of(application))
            owner = controller_of(there) if there is not None else None
            if there is not None and (owner is None or owner["uid"] != uid):
                by = f"{owner['kind']} {owner['name']}" if owner else "nobody"
                name = application["metadata"]["name"]
                raise GenerationError(f"application {name} exists already, owned by {by}")

    async def _make(self, found: Object, wanted: list[Object]) -> None:
        reference = controller_reference(found, APPLICATION_SETS.group_version, "ApplicationSet")
        names = {one["metadata"]["name"] for one in wanted}
        policy = dig(found, "spec", "syncPolicy", "applicationsSync", default="sync")
        may = _POLICIES.get(policy, frozenset({"update", "delete"}))
        for application in wanted:
            application["metadata"]["ownerReferences"] = [reference]
            there = self._applications.items.get(key_of(application))
            if there is None:
                made = await self._client.create(APPLICATIONS, application)
                self._applications.learn(made)
            elif "update" in may and not is_going(there):
                await self._update(found, there, application)
        for application in owned(self._applications, found) if "delete" in may else ():
            if application["metadata"]["name"] not in names and not is_going(application):
                await self._client.delete(APPLICATIONS.of(application))

    async def _update(self, found: Object, there: Object, application: Object) -> None:
        """The Application is as its set wants it: what others wrote into it goes, unless it is preserved."""
        meta = {**there["metadata"], **_preserving(found, there, application)}
        wanted = {**there, "metadata": meta, "spec": application["spec"]}
        if wanted != {**there, "metadata": _with_all(there["metadata"])}:
            self._applications.learn(await self._client.replace(APPLICATIONS.of(there), wanted))

    async def _say(self, found: Object, trouble: str) -> None:
        ok = "False" if trouble else "True"
        conditions = items(found, "status", "conditions")
        before = [dict(one) for one in conditions]
        for name, status, reason, message in (
            ("ErrorOccurred", "True" if trouble else "False",
             "ApplicationGenerationFromParamsError" if trouble else "ApplicationSetUpToDate",
             trouble or "Successfully generated parameters for all Applications"),
            ("ParametersGenerated", ok, "ErrorOccurred" if trouble else "ParametersGenerated",
             trouble or "Successfully generated parameters for all Applications"),
            ("ResourcesUpToDate", ok, "ErrorOccurred" if trouble else "ApplicationSetUpToDate",
             trouble or "All applications have been generated successfully"),
        ):  # fmt: skip
            entry = {"type": name, "status": status, "reason": reason, "message": message}
            conditions = with_condition(conditions, entry, self._clock.now())
        if conditions != before:
            ref = APPLICATION_SETS.of(found)
            await self._client.merge_status(ref, {"conditions": conditions})


def _requeue(found: Object) -> float:
    """Seconds until Git is looked at again: the shortest of the generators' own, else Argo CD's."""
    own = [
        float(seconds)
        for generator in items(found, "spec", "generators")
        if (seconds := dig(generator, "git", "requeueAfterSeconds"))
    ]
    return min(own, default=REQUEUE)


def _preserving(found: Object, there: Object, application: Object) -> Object:
    """The metadata that a set decides, with what it leaves to others."""
    meta = application["metadata"]
    kept = {
        "annotations": (*items(found, "spec", "preservedFields", "annotations"), *_LEFT_TO_OTHERS),
        "labels": items(found, "spec", "preservedFields", "labels"),
    }
    fresh: Object = {
        which: {
            **meta[which],
            **{k: v for k, v in table(there, "metadata", which).items() if k in names},
        }
        for which, names in kept.items()
    }
    late = [one for one in items(there, "metadata", "finalizers") if one.startswith(_POST_DELETE)]
    fresh["finalizers"] = [*meta["finalizers"], *late]
    fresh["ownerReferences"] = meta["ownerReferences"]
    return fresh


def _with_all(meta: Object) -> Object:
    """Empty where the API leaves out what is empty."""
    return {"annotations": {}, "labels": {}, "finalizers": [], **meta}
