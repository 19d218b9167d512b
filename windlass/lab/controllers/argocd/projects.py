"""AppProjects: what an Application may come from, go to and contain, and when it may sync."""

import fnmatch
import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from windlass.lab.controllers.argocd.durations import go_duration
from windlass.lab.controllers.argocd.fields import APPLICATION, PROJECT, lacking
from windlass.lab.controllers.argocd.options import lacking_annotations, lacking_options
from windlass.lab.controllers.objects import Object, dig, items, table

logger = logging.getLogger(__name__)

IN_CLUSTER = "https://kubernetes.default.svc"


def spec_errors(app: Object, project: Object | None) -> list[str]:
    """Why the Application's spec is invalid, in Argo CD's words."""
    spec, name = app["spec"], app["spec"].get("project", "default")
    if project is None:
        return [f"Application referencing project {name} which does not exist"]
    errors: list[str] = []
    repository = dig(spec, "source", "repoURL", default="")
    if not repository or not dig(spec, "source", "path", default=""):
        said = "spec.source.repoURL and either spec.source.path or spec.source.chart are required"
        errors.append(said)
    elif not _permits_repository(project, repository):
        errors.append(f"application repo {repository} is not permitted in project '{name}'")
    server, where = server_of(spec), dig(spec, "destination", "namespace", default="")
    if server != IN_CLUSTER:
        errors.append(f"there are no clusters with this name or server: {spec['destination']}")
    elif not permits_destination(project, where):
        said = f"server '{server}' and namespace '{where}'"
        errors.append(
            f"application destination {said} do not match any of the allowed destinations in "
            f"project '{name}'"
        )
    return errors


def not_evaluated_for(app: Object, project: Object | None) -> Iterator[str]:
    """What the Application or its project asks for and the lab does not evaluate."""
    yield from lacking(app["spec"], APPLICATION, "spec")
    yield from lacking_options(items(app, "spec", "syncPolicy", "syncOptions"))
    yield from lacking_annotations(app)
    if project is None:
        return
    name = project["metadata"]["name"]
    found = list(lacking(project["spec"], PROJECT, "spec"))
    # Orphans are looked for in the namespace of the destination: without one there are none.
    if dig(app, "spec", "destination", "namespace") and dig(
        project, "spec", "orphanedResources", "warn"
    ):
        found.append("spec.orphanedResources.warn")
    yield from (f"{one} of AppProject {name}" for one in found)


def server_of(spec: Object) -> str:
    """The destination's API server; its name or its URL may be given."""
    destination = table(spec, "destination")
    if destination.get("name") == "in-cluster":
        return IN_CLUSTER
    return destination.get("server", destination.get("name", ""))


def _permits_repository(project: Object, url: str) -> bool:
    wanted = url.removesuffix(".git").lower()
    allowed = [one.removesuffix(".git").lower() for one in items(project, "spec", "sourceRepos")]
    denied = any(fnmatch.fnmatchcase(wanted, one[1:]) for one in allowed if one.startswith("!"))
    return not denied and any(fnmatch.fnmatchcase(wanted, one) for one in allowed)


def permits_destination(project: Object, namespace: str) -> bool:
    """Whether the project allows this namespace of this cluster; a leading ! denies."""
    allowed = False
    for one in items(project, "spec", "destinations"):
        server, name, where = (one.get(key, "") for key in ("server", "name", "namespace"))
        here = fnmatch.fnmatchcase(IN_CLUSTER, server) or fnmatch.fnmatchcase("in-cluster", name)
        if where.startswith("!"):
            if here and fnmatch.fnmatchcase(namespace, where[1:]):
                return False
        elif here and fnmatch.fnmatchcase(namespace, where):
            allowed = True
    return allowed


def permits_kind(project: Object, group: str, kind: str, *, namespaced: bool) -> bool:
    """Cluster kinds must be allowed; namespaced ones are, unless a list says otherwise."""
    if not namespaced:
        denied = _listed(project, "clusterResourceBlacklist", group, kind)
        return not denied and _listed(project, "clusterResourceWhitelist", group, kind)
    if _listed(project, "namespaceResourceBlacklist", group, kind):
        return False
    listed = _listed(project, "namespaceResourceWhitelist", group, kind)
    return listed or project["spec"].get("namespaceResourceWhitelist") is None


def forbids(project: Object, group: str, kind: str, namespace: str | None) -> str:
    """Why an object may not be there, in Argo CD's words; `namespace` is None for cluster kinds."""
    name = project["metadata"]["name"]
    if not permits_kind(project, group, kind, namespaced=namespace is not None):
        return f"resource {group}:{kind} is not permitted in project {name}"
    if namespace is not None and not permits_destination(project, namespace):
        return f"namespace {namespace} is not permitted in project '{name}'"
    return ""


def _listed(project: Object, which: str, group: str, kind: str) -> bool:
    return any(
        fnmatch.fnmatchcase(group, one["group"]) and fnmatch.fnmatchcase(kind, one["kind"])
        for one in items(project, "spec", which)
    )


def may_sync(app: Object, project: Object, now: datetime, *, manual: bool) -> bool:
    """Sync windows: an active deny wins, then an active allow; closed allows keep shut.

    One that cannot be read keeps shut too.
    """
    windows = [one for one in items(project, "spec", "syncWindows") if _concerns(one, app)]
    try:
        active = [one for one in windows if _is_active(one, now)]
    except ValueError as error:
        logger.warning("sync windows of %s: %s", project["metadata"]["name"], error)
        return False
    denies = [one for one in active if one["kind"] == "deny"]
    if denies:
        return manual and all(one.get("manualSync") for one in denies)
    if any(one["kind"] == "allow" for one in active):
        return True
    closed = [one for one in windows if one["kind"] == "allow"]
    return not closed or (manual and all(one.get("manualSync") for one in closed))


def _concerns(window: Object, app: Object) -> bool:
    """One of the window's lists names the Application; with `andOperator` each list that it has does."""
    destination = table(app, "spec", "destination")
    where = [destination.get("name"), destination.get("server")]
    facts: dict[str, list[str | None]] = {
        "applications": [app["metadata"]["name"]],
        "clusters": where,
        "namespaces": [destination.get("namespace", "")],
    }
    named = [
        any(fnmatch.fnmatchcase(value, pattern) for value in facts[key] if value is not None
            for pattern in window[key])
        for key in facts
        if window.get(key)
    ]  # fmt: skip
    # A window that names nothing concerns no Application.
    return bool(named) and (all(named) if window.get("andOperator") else any(named))


def _is_active(window: Object, now: datetime) -> bool:
    """Whether the schedule fired within the last `duration`."""
    length = timedelta(seconds=go_duration(window["duration"]))
    zone = ZoneInfo(window["timeZone"]) if window.get("timeZone") else UTC
    minute = now.astimezone(zone).replace(second=0, microsecond=0)
    schedule = [
        _allowed(field, low, high)
        for field, (low, high) in zip(
            window["schedule"].split(), ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7)), strict=True
        )
    ]
    starred = [field.startswith("*") for field in window["schedule"].split()]
    while now - minute < length:
        if _fires(schedule, starred, minute):
            return True
        minute -= timedelta(minutes=1)
    return False


def _fires(schedule: list[set[int]], starred: list[bool], at: datetime) -> bool:
    minutes, hours, days, months, weekdays = schedule
    weekday = at.isoweekday()
    day = at.day in days
    week = weekday in weekdays or (weekday == 7 and 0 in weekdays)
    # Cron: a day of the month or one of the week suffices where both are given.
    today = (day and week) if starred[2] or starred[4] else (day or week)
    return at.minute in minutes and at.hour in hours and at.month in months and today


def _allowed(field: str, low: int, high: int) -> set[int]:
    return {value for part in field.split(",") for value in _range(part, low, high)}


def _range(part: str, low: int, high: int) -> Iterable[int]:
    span, _, step = part.partition("/")
    first, _, last = span.partition("-")
    start = low if first == "*" else int(first)
    stop = high if first == "*" or (step and not last) else int(last or first)
    return range(start, stop + 1, int(step or 1))
