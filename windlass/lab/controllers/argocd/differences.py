"""Which differences count: an Application's ignoreDifferences, and what the server keeps for itself."""

import fnmatch
from typing import Any, cast

import orjson

from windlass.lab.controllers.objects import Object, annotations_of, items

_BOOKKEEPING = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_NOTHING = object()

Place = tuple[str, str, str, str]


def pointers_for(rules: list[Object], place: Place) -> list[str]:
    """The JSON pointers that the rules have for the object at (group, kind, namespace, name)."""
    return [
        pointer
        for rule in rules
        if _concerns(rule, place)
        for pointer in items(rule, "jsonPointers")
    ]


def _concerns(rule: Object, place: Place) -> bool:
    group, kind, namespace, name = place
    return (
        fnmatch.fnmatchcase(group, rule.get("group", ""))
        and fnmatch.fnmatchcase(kind, rule.get("kind", ""))
        and rule.get("name", name) == name
        and rule.get("namespace", namespace) == namespace
    )


def bare(document: Object, pointers: list[str]) -> Object:
    """The object without what the server keeps for itself, its status, and what is ignored."""
    left = _copy(document)
    left.pop("status", None)
    for name in _BOOKKEEPING:
        left["metadata"].pop(name, None)
    marks = {k: v for k, v in annotations_of(left).items() if k != LAST_APPLIED}
    left["metadata"]["annotations"] = marks
    for pointer in pointers:
        _drop(left, _parts(pointer))
    return left


def respecting(target: Object, live: Object, pointers: list[str]) -> Object:
    """The target with the live object's values where differences are ignored."""
    wanted = _copy(target)
    for pointer in pointers:
        parts = _parts(pointer)
        value = _value(live, parts)
        _drop(wanted, parts)
        if value is not _NOTHING:
            _put(wanted, parts, value)
    return wanted


def _copy(document: Object) -> Object:
    return orjson.loads(orjson.dumps(document))


def _parts(pointer: str) -> list[str]:
    return [
        part.replace("~1", "/").replace("~0", "~") for part in pointer.removeprefix("/").split("/")
    ]


def _step(holder: Any, part: str) -> Any:
    """One level down, in a mapping or by an index in a list."""
    if isinstance(holder, dict):
        return cast("Object", holder).get(part, _NOTHING)
    if isinstance(holder, list) and part.isdigit() and int(part) < len(cast("list[Any]", holder)):
        return holder[int(part)]  # pyright: ignore[reportUnknownVariableType]
    return _NOTHING


def _value(document: Any, parts: list[str]) -> Any:
    for part in parts:
        document = _step(document, part)
    return document


def _drop(document: Object, parts: list[str]) -> None:
    holder = _value(document, parts[:-1])
    if _step(holder, parts[-1]) is not _NOTHING:
        del holder[parts[-1] if isinstance(holder, dict) else int(parts[-1])]


def _put(document: Object, parts: list[str], value: Any) -> None:
    holder: Any = document
    for part in parts[:-1]:
        if _step(holder, part) is _NOTHING and isinstance(holder, dict):
            holder[part] = {}
        holder = _step(holder, part)
    if isinstance(holder, dict):
        holder[parts[-1]] = value
    elif isinstance(holder, list):
        holder.insert(int(parts[-1]), value)  # pyright: ignore[reportUnknownMemberType]
