"""The fields of Argo CD's objects that the lab evaluates; `lacking` names what is set beside them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias, cast

from windlass.lab.controllers.objects import as_object

# A field's own fields, also those of each element of a list; None where any content is evaluated.
Fields: TypeAlias = Mapping[str, "Fields | None"]

_SOURCE: Fields = {
    "repoURL": None,
    "path": None,
    "targetRevision": None,
    "directory": {"recurse": None, "include": None, "exclude": None},
    # Given as `{}` it only says which tool renders, and that is found from the files.
    "kustomize": {},
    # Shown by the user interface; decides nothing.
    "name": None,
}
_RETRY: Fields = {
    "limit": None,
    "backoff": {"duration": None, "factor": None, "maxDuration": None},
    "refresh": None,
}
_DESTINATION: Fields = {"server": None, "name": None, "namespace": None}

APPLICATION: Fields = {
    "project": None,
    "source": _SOURCE,
    "destination": _DESTINATION,
    "syncPolicy": {
        "automated": {"prune": None, "selfHeal": None, "allowEmpty": None, "enabled": None},
        "syncOptions": None,
        "retry": _RETRY,
    },
    "ignoreDifferences": {
        "group": None,
        "kind": None,
        "name": None,
        "namespace": None,
        "jsonPointers": None,
    },
    "revisionHistoryLimit": None,
    # Shown by the user interface; decides nothing.
    "info": None,
}

OPERATION: Fields = {
    "sync": {
        "revision": None,
        "prune": None,
        "source": _SOURCE,
        "resources": {"group": None, "kind": None, "name": None, "namespace": None},
        "syncOptions": None,
        # `apply: {}` leaves the hooks out.
        "syncStrategy": {"hook": {}, "apply": {}},
        # A count for self-heal's backoff, which in the lab is one pause.
        "autoHealAttemptsCount": None,
    },
    "initiatedBy": None,
    "retry": _RETRY,
    "info": None,
}

APPLICATION_SET: Fields = {
    "goTemplate": None,
    "goTemplateOptions": None,
    "generators": {
        "git": {
            "repoURL": None,
            "revision": None,
            "directories": {"path": None, "exclude": None},
            "requeueAfterSeconds": None,
        }
    },
    # Its spec is the Applications': each of them says what of it is not evaluated.
    "template": {
        "metadata": {
            "name": None,
            "namespace": None,
            "labels": None,
            "annotations": None,
            "finalizers": None,
        },
        "spec": None,
    },
    "syncPolicy": {"preserveResourcesOnDeletion": None, "applicationsSync": None},
    "preservedFields": {"annotations": None, "labels": None},
    # Concerns matrix and merge generators, which are refused themselves.
    "applyNestedSelectors": None,
}

PROJECT: Fields = {
    "description": None,
    "sourceRepos": None,
    "destinations": _DESTINATION,
    "clusterResourceWhitelist": {"group": None, "kind": None},
    "clusterResourceBlacklist": {"group": None, "kind": None},
    "namespaceResourceWhitelist": {"group": None, "kind": None},
    "namespaceResourceBlacklist": {"group": None, "kind": None},
    "syncWindows": {
        "kind": None,
        "schedule": None,
        "duration": None,
        "timeZone": None,
        "manualSync": None,
        "applications": None,
        "namespaces": None,
        "clusters": None,
        "andOperator": None,
        "description": None,
    },
    # Whom Argo CD's own API lets in, and it is not in the lab.
    "roles": None,
    # Which namespaces beside Argo CD's own may have Applications; the lab looks at its own only.
    "sourceNamespaces": None,
    # Used by impersonation only, which Argo CD has switched off unless it is told otherwise.
    "destinationServiceAccounts": None,
    # Whether it can be ignored depends on the Application.
    "orphanedResources": None,
}


def lacking(found: Any, fields: "Fields | None", path: str) -> Iterator[str]:
    """The paths of fields that are set in `found` and not in `fields`. Go leaves out what is empty: so does this."""
    if fields is None:
        return
    if isinstance(found, list):
        for index, one in enumerate(cast("list[Any]", found)):
            yield from lacking(one, fields, f"{path}[{index}]")
        return
    for name, value in as_object(found).items():
        if not value:
            continue
        if name in fields:
            yield from lacking(value, fields[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}"


def not_evaluated(what: Iterable[str]) -> str:
    """One message that names all of them; empty for none."""
    named = ", ".join(what)
    return f"the lab does not evaluate {named}" if named else ""
