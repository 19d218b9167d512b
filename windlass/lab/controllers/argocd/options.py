"""Options of syncing and comparing: those that are obeyed, and what else an object's annotations ask for."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from windlass.lab.controllers.objects import Object, annotations_of

OURS = "argocd.argoproj.io/"
TRACKING = OURS + "tracking-id"
HOOK = OURS + "hook"
DELETE_POLICY = OURS + "hook-delete-policy"
WAVE = OURS + "sync-wave"
SYNC_OPTIONS = OURS + "sync-options"
COMPARE_OPTIONS = OURS + "compare-options"
IGNORE_HEALTH = OURS + "ignore-healthcheck"
REFRESH = OURS + "refresh"
SKIP_RECONCILE = OURS + "skip-reconcile"

# The names of options and the values of them that are obeyed.
_Options: TypeAlias = Mapping[str, tuple[str, ...]]

_SWITCH = ("true", "false")
# For an Application's syncOptions and for an operation's.
_OF_SYNCS: _Options = {
    "ApplyOutOfSyncOnly": _SWITCH,
    # The lab's objects have no fields of kubectl's client-side apply to be migrated.
    "ClientSideApplyMigration": _SWITCH,
    "CreateNamespace": _SWITCH,
    "FailOnSharedResource": _SWITCH,
    "PruneLast": _SWITCH,
    "PrunePropagationPolicy": ("background", "foreground", "orphan"),
    "Replace": _SWITCH,
    "RespectIgnoreDifferences": _SWITCH,
    "ServerSideApply": _SWITCH,
    "SkipDryRunOnMissingResource": _SWITCH,
    # Concerns kubectl's own validation, and only where the API server has none.
    "Validate": _SWITCH,
}
_OF_OBJECTS: _Options = {
    "Delete": ("true", "false"),
    "Force": _SWITCH,
    "Prune": ("true", "false"),
    "PruneLast": _SWITCH,
    "Replace": _SWITCH,
    "ServerSideApply": _SWITCH,
    "SkipDryRunOnMissingResource": _SWITCH,
    "Validate": _SWITCH,
}
_OF_COMPARING: _Options = {
    "IgnoreExtraneous": ("",),
    # Every comparison in the lab is a dry run by the server.
    "ServerSideDiff": ("true",),
}
_ANNOTATIONS: Mapping[str, _Options] = {
    SYNC_OPTIONS: _OF_OBJECTS,
    COMPARE_OPTIONS: _OF_COMPARING,
    HOOK: dict.fromkeys(("PreSync", "Sync", "PostSync", "SyncFail", "Skip"), ("",)),
    DELETE_POLICY: dict.fromkeys(("BeforeHookCreation", "HookSucceeded", "HookFailed"), ("",)),
}
# Annotations whose values are looked at below, or that only other programs read.
_KNOWN = {
    *(TRACKING, HOOK, DELETE_POLICY, WAVE, SYNC_OPTIONS, COMPARE_OPTIONS, IGNORE_HEALTH),
    *(REFRESH, SKIP_RECONCILE),
    # They spare Argo CD work and change nothing that it does.
    OURS + "ignore-resource-updates",
    OURS + "manifest-generate-paths",
    OURS + "installation-id",
}
_HELM = (
    "helm.sh/hook",
    "helm.sh/hook-delete-policy",
    "helm.sh/hook-weight",
    "helm.sh/resource-policy",
)


def values_of(document: Object, annotation: str) -> list[str]:
    """The comma-separated values of one annotation."""
    said = annotations_of(document).get(annotation, "").split(",")
    return [one.strip() for one in said if one.strip()]


def asks_for(document: Object, option: str) -> bool:
    """Whether the object itself asks for a sync option such as `Replace=true`."""
    return option in values_of(document, SYNC_OPTIONS)


def wave_of(document: Object) -> int:
    """The sync wave; what is no number counts as none, as it does for Argo CD."""
    try:
        return int(annotations_of(document).get(WAVE, "0"))
    except ValueError:
        return 0


def lacking_options(options: Iterable[str]) -> Iterator[str]:
    """Which of a sync's options are not evaluated."""
    yield from (f"the sync option {one}" for one in options if not _is_obeyed(one, _OF_SYNCS))


def lacking_annotations(document: Object) -> Iterator[str]:
    """What an object's annotations ask Argo CD for and the lab does not evaluate."""
    for name in annotations_of(document):
        if name in _HELM or (name.startswith(OURS) and name not in _KNOWN):
            yield f"the annotation {name}"
    for annotation, known in _ANNOTATIONS.items():
        for one in values_of(document, annotation):
            if not _is_obeyed(one, known):
                yield f"{annotation} {one}"


def _is_obeyed(option: str, known: _Options) -> bool:
    name, _, value = option.partition("=")
    return value in known.get(name, ())
