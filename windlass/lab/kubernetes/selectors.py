"""Label and field selectors. What cannot be parsed or is not supported is refused, never ignored."""

import re
from collections.abc import Callable
from typing import Any

from windlass.lab.kubernetes.documents import Document, entries, is_object, section
from windlass.lab.kubernetes.resources import Resource
from windlass.lab.kubernetes.status import bad_request

Predicate = Callable[[Document], bool]

_KEY = r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?"
_SET = re.compile(rf"^({_KEY})\s+(in|notin)\s*\(([^)]*)\)$")
_EQUAL = re.compile(rf"^({_KEY})\s*(==|=|!=)\s*([A-Za-z0-9._-]*)$")
_ORDER = re.compile(rf"^({_KEY})\s*(>|<)\s*(-?\d+)$")
_EXISTS = re.compile(rf"^(!?)\s*({_KEY})$")

# Fields beyond metadata.name and metadata.namespace that a resource can be selected by.
_FIELDS: dict[str, tuple[str, ...]] = {
    "/pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "/events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "/nodes": ("spec.unschedulable",),
    "/namespaces": ("status.phase",),
    "/secrets": ("type",),
    "/services": ("spec.clusterIP", "spec.type"),
    "/replicationcontrollers": ("status.replicas",),
    "apps/replicasets": ("status.replicas",),
    "batch/jobs": ("status.successful",),
    "certificates.k8s.io/certificatesigningrequests": ("spec.signerName",),
}
_DEFAULTS = {"spec.unschedulable": "false", "spec.hostNetwork": "false", "status.replicas": "0"}


def _split(text: str) -> list[str]:
    """At commas outside parentheses."""
    parts, depth, start = list[str](), 0, 0
    for index, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    return [*parts, text[start:].strip()]


def label_selector(text: str) -> Predicate | None:
    """None selects everything."""
    if not text.strip():
        return None
    tests = [_requirement(part) for part in _split(text)]

    def selects(doc: Document) -> bool:
        labels = section(doc["metadata"], "labels")
        return all(test(labels) for test in tests)

    return selects


def _requirement(part: str) -> Callable[[dict[str, str]], bool]:
    if found := _SET.match(part):
        key, word = found[1], found[3]
        values = {value.strip() for value in found[4].split(",")}
        if word == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.match(part):
        key, word, value = found[1], found[3], found[4]
        if word == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _ORDER.match(part):
        key, more, bound = found[1], found[3] == ">", int(found[4])
        return lambda labels: _compares(labels.get(key), bound, more=more)
    if found := _EXISTS.match(part):
        key, wanted = found[2], not found[1]
        return lambda labels: (key in labels) == wanted
    raise bad_request(f"unable to parse requirement: {_complaint(part)}")


def _complaint(part: str) -> str:
    words = part.split()
    if len(words) > 1:
        return f"found '{words[1]}', expected: in, notin, =, ==, !=, gt, lt"
    return f"found '{part}', expected: identifier"


def _compares(value: str | None, bound: int, *, more: bool) -> bool:
    if value is None or not value.lstrip("-").isdigit():
        return False
    return int(value) > bound if more else int(value) < bound


def matches_label_selector(selector: Document | None, labels: dict[str, str]) -> bool:
    """A LabelSelector object: absent selects nothing, empty selects everything."""
    if selector is None:
        return False
    if any(labels.get(k) != v for k, v in section(selector, "matchLabels").items()):
        return False
    return all(_expression(one, labels) for one in entries(selector, "matchExpressions"))


def _expression(one: Document, labels: dict[str, str]) -> bool:
    key, values = one["key"], entries(one, "values")
    outcomes: dict[str, bool] = {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }
    return outcomes.get(one["operator"], False)


def field_selector(text: str, resource: Resource, custom: tuple[str, ...] = ()) -> Predicate | None:
    """None selects everything; a field that the resource cannot be selected by is a 400."""
    if not text.strip():
        return None
    known = {"metadata.name", "metadata.namespace", *_FIELDS.get(resource.storage, ()), *custom}
    tests = list[tuple[str, str, bool]]()
    for part in text.split(","):
        found = re.match(r"^\s*([^=!\s]+)\s*(==|=|!=)\s*(.*?)\s*$", part)
        if found is None:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        if found[1] not in known:
            raise bad_request(_unknown_field(found[1], resource))
        tests.append((found[1], found[3], found[2] != "!="))

    def selects(doc: Document) -> bool:
        return all((_field(doc, path) == value) == equal for path, value, equal in tests)

    return selects


def _unknown_field(name: str, resource: Resource) -> str:
    if resource.storage in _FIELDS and not resource.custom:
        return f"field label not supported: {name}"
    return f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _field(doc: Document, path: str) -> str:
    value: Any = doc
    if path == "source":
        return section(doc, "source").get("component", "") or doc.get("reportingComponent", "")
    if path == "status.successful":
        path = "status.succeeded"
    for part in path.split("."):
        value = value.get(part) if is_object(value) else None
    if value is None or value == "":
        return _DEFAULTS.get(path, "")
    return str(value).lower() if isinstance(value, bool) else str(value)
