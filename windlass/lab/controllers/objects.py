"""Reading and building Kubernetes objects as they are on the wire: plain JSON documents."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

Object = dict[str, Any]
Key = tuple[str, str]

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_DECIMAL = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


def key_of(document: Object) -> Key:
    """Namespace ("" where there is none) and name."""
    meta = document["metadata"]
    return meta.get("namespace", ""), meta["name"]


def dig(document: Any, *path: str, default: Any = None) -> Any:
    """The value at `path`, or `default` where any part of it is absent or null."""
    for part in path:
        if not isinstance(document, dict):
            return default
        document = document.get(part)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return default if document is None else document  # pyright: ignore[reportUnknownVariableType]


def as_object(value: Any) -> Object:
    """A mapping as it is; anything else is none, as an empty YAML document is."""
    return cast("Object", value) if isinstance(value, dict) else {}


def items(document: Object, *path: str) -> list[Any]:
    """The list at `path`; empty where there is none."""
    found: list[Any] | None = dig(document, *path)
    return found or []


def table(document: Object, *path: str) -> dict[str, Any]:
    """The mapping at `path`; empty where there is none."""
    found: dict[str, Any] | None = dig(document, *path)
    return found or {}


def labels_of(document: Object) -> dict[str, str]:
    return table(document, "metadata", "labels")


def annotations_of(document: Object) -> dict[str, str]:
    return table(document, "metadata", "annotations")


def is_going(document: Object) -> bool:
    """Deletion has begun."""
    return "deletionTimestamp" in document["metadata"]


def controller_of(document: Object) -> Object | None:
    """The owner reference of the controller that manages this object."""
    owners = items(document, "metadata", "ownerReferences")
    return next((owner for owner in owners if owner.get("controller")), None)


def owned_by(document: Object, uid: str) -> bool:
    owner = controller_of(document)
    return owner is not None and owner["uid"] == uid


def controller_reference(owner: Object, api_version: str, kind: str) -> Object:
    """What a controller writes into what it makes. List items carry no kind: it is an argument."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def condition(document: Object, name: str) -> Object | None:
    return next(
        (one for one in items(document, "status", "conditions") if one["type"] == name), None
    )


def condition_holds(document: Object, name: str) -> bool:
    found = condition(document, name)
    return found is not None and found["status"] == "True"


def with_condition(
    conditions: Iterable[Object], entry: Mapping[str, Any], now: datetime
) -> list[Object]:
    """`conditions` with `entry` in its type's place; the transition time moves with the status."""
    kept = [one for one in conditions if one["type"] != entry["type"]]
    before = next((one for one in conditions if one["type"] == entry["type"]), None)
    moved = timestamp(now)
    if before is not None and before["status"] == entry["status"]:
        moved = before.get("lastTransitionTime", moved)
    return [*kept, {**entry, "lastTransitionTime": moved}]


def timestamp(moment: datetime) -> str:
    """A metav1.Time: whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(moment: datetime) -> str:
    """A metav1.MicroTime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a metav1.LabelSelector selects an object with these labels; null selects nothing."""
    if selector is None:
        return False
    wanted = table(selector, "matchLabels")
    return all(labels.get(name) == value for name, value in wanted.items()) and all(
        _holds(one, labels) for one in items(selector, "matchExpressions")
    )


_OPERATORS: dict[str, Callable[[str | None, list[str]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": lambda value, values: value is not None and int(value) > int(values[0]),
    "Lt": lambda value, values: value is not None and int(value) < int(values[0]),
}


def _holds(requirement: Object, labels: Mapping[str, str]) -> bool:
    compare = _OPERATORS[requirement["operator"]]
    return compare(labels.get(requirement["key"]), items(requirement, "values"))


def selects_node(term: Object, node: Object) -> bool:
    """Whether one nodeSelectorTerm matches; an empty term matches nothing."""
    fields = {"metadata.name": node["metadata"]["name"]}
    expressions, by_field = items(term, "matchExpressions"), items(term, "matchFields")
    return (
        bool(expressions or by_field)
        and all(_holds(one, labels_of(node)) for one in expressions)
        and all(_holds(one, fields) for one in by_field)
    )


def quantity(text: str | float) -> float:
    """The number behind a resource.Quantity such as 250m, 2Gi or 1e3."""
    if isinstance(text, int | float):
        return float(text)
    for suffix, factor in (_BINARY | _DECIMAL).items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)


def pod_is_ready(pod: Object) -> bool:
    return condition_holds(pod, "Ready") and not is_going(pod)


def pod_is_over(pod: Object) -> bool:
    return dig(pod, "status", "phase") in ("Succeeded", "Failed")


def requests_of(pod: Object) -> dict[str, float]:
    """What the scheduler counts: the sum of containers, or the largest init container if more."""
    spec = pod["spec"]
    total: dict[str, float] = {}
    for container in spec["containers"]:
        for name, value in table(container, "resources", "requests").items():
            total[name] = total.get(name, 0.0) + quantity(value)
    for container in items(spec, "initContainers"):
        for name, value in table(container, "resources", "requests").items():
            total[name] = max(total.get(name, 0.0), quantity(value))
    return total


def tolerates(pod: Object, taint: Object) -> bool:
    return any(_tolerated(one, taint) for one in items(pod, "spec", "tolerations"))


def _tolerated(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return toleration.get("key") == taint["key"] and (toleration.get("value") or "") == (
        taint.get("value") or ""
    )
