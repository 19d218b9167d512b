"""What an Application should be, from Git, beside what it is."""

from collections.abc import Iterable, Iterator

from windlass.lab.clock import Clock
from windlass.lab.controllers.argocd import projects
from windlass.lab.controllers.argocd.applicationsets import REQUEUE
from windlass.lab.controllers.argocd.compare import Comparer, Comparison, Item
from windlass.lab.controllers.argocd.fields import not_evaluated
from windlass.lab.controllers.argocd.git import GitError, Repositories
from windlass.lab.controllers.argocd.health import MISSING
from windlass.lab.controllers.argocd.options import lacking_annotations
from windlass.lab.controllers.argocd.render import RenderError, render
from windlass.lab.controllers.controller import Informers
from windlass.lab.controllers.objects import Object, dig, items
from windlass.lab.controllers.resources import PODS, PROJECTS

_NO_REPO_SERVER = (
    "rpc error: code = Unavailable desc = connection error: dial tcp: connect: connection refused"
)


class _UntoldError(Exception):
    """The Application cannot be compared; the message is its condition, with its type."""


class States:
    """Compares Applications with commits, and remembers commits and manifests."""

    def __init__(
        self, informers: Informers, clock: Clock, repositories: Repositories, comparer: Comparer
    ) -> None:
        self._clock = clock
        self._repositories = repositories
        self._comparer = comparer
        self._projects = informers[PROJECTS]
        self._pods = informers[PODS]
        self._commits: dict[tuple[str, str], tuple[str, float]] = {}
        self._known: dict[tuple[str, str], list[Object]] = {}

    async def compare(self, app: Object, *, hard: bool = False, revision: str = "") -> Comparison:
        """The Application against `revision`, or the one its spec names; never raises for what is wrong with it."""
        found = Comparison()
        try:
            project = self._permitted(app)
            source = app["spec"]["source"]
            wanted = revision or source.get("targetRevision", "HEAD")
            manifests = await self._manifests_of(source, wanted, found, hard=hard)
            found.items = await self._comparer.compare(app, manifests)
            found.items = list(_permitted_items(found.items, project))
            _check_namespaces(found)
        except _UntoldError as error:
            found.trouble = str(error)
        return found

    def project_of(self, app: Object) -> Object | None:
        name = app["spec"].get("project", "default")
        return self._projects.get(name, app["metadata"]["namespace"])

    def _permitted(self, app: Object) -> Object:
        """The project, once it and the Application make sense and a repo server is there to render."""
        project = self.project_of(app)
        if said := not_evaluated(projects.not_evaluated_for(app, project)):
            raise _UntoldError(f"ComparisonError: {said}")
        errors = projects.spec_errors(app, project)
        if errors or project is None:
            raise _UntoldError(f"InvalidSpecError: {errors[0]}")
        if not self._repo_server_runs():
            raise _not_loaded(_NO_REPO_SERVER)
        return project

    async def _manifests_of(
        self, source: Object, revision: str, found: Comparison, *, hard: bool
    ) -> list[Object]:
        """The manifests of a source; `found` knows their commit as soon as it is known."""
        try:
            found.revision = await self._commit(source["repoURL"], revision, hard=hard)
            manifests = await self._rendered(source, found.revision)
        except (GitError, RenderError) as error:
            raise _not_loaded(str(error)) from error
        if said := not_evaluated(_lacking_in(manifests)):
            raise _UntoldError(f"ComparisonError: {said}")
        return manifests

    async def _commit(self, url: str, revision: str, *, hard: bool) -> str:
        """Resolved at most every three minutes, unless somebody asks for a refresh."""
        known = self._commits.get((url, revision))
        if known is not None and not hard and self._clock.since(known[1]) < REQUEUE - 1:
            return known[0]
        commit = await self._repositories.resolve(url, revision)
        self._commits[url, revision] = (commit, self._clock.time())
        return commit

    async def _rendered(self, source: Object, commit: str) -> list[Object]:
        at = (commit, repr(sorted(source.items())))
        if at not in self._known:
            root = await self._repositories.checkout(source["repoURL"], commit)
            self._known[at] = await render(root, source)
        return self._known[at]

    def _repo_server_runs(self) -> bool:
        return any(
            dig(status, "ready") and "argocd-repo-server" in _command_of(pod, status["name"])
            for pod in self._pods.items.values()
            for status in items(pod, "status", "containerStatuses")
        )


def _not_loaded(why: str) -> _UntoldError:
    said = f"Failed to load target state: failed to generate manifest: {why}"
    return _UntoldError(f"ComparisonError: {said}")


def _permitted_items(found: Iterable[Item], project: Object) -> Iterator[Item]:
    """What the project does not permit is as good as not there, and is never pruned."""
    for item in found:
        namespaced = item.resource is None or item.resource.namespaced
        where = item.namespace if namespaced else None
        if not projects.forbids(project, item.group, item.kind, where):
            yield item
        elif item.target is not None:
            item.live, item.synced, item.permitted = None, item.is_hook, False
            item.health = None if item.is_hook else (MISSING, "")
            yield item


def _check_namespaces(found: Comparison) -> None:
    for item in found.items:
        if item.resource is not None and item.resource.namespaced and not item.namespace:
            kind = f"{item.group}/{item.version}, Kind={item.kind}"
            said = f"Namespace for {item.name} {kind} is missing."
            raise _UntoldError(f"InvalidSpecError: {said}")


def _lacking_in(manifests: Iterable[Object]) -> Iterator[str]:
    for manifest in manifests:
        for what in lacking_annotations(manifest):
            yield f"{what} of {manifest['kind']}/{manifest['metadata'].get('name', '')}"


def _command_of(pod: Object, container: str) -> str:
    found = next(one for one in items(pod, "spec", "containers") if one["name"] == container)
    return " ".join([*items(found, "command"), *items(found, "args")])
