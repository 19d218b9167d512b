"""Sets of fields as server-side apply counts them: which leaves of an object, with list elements by key.

A set is a trie in the shape of `fieldsV1`: `f:name`, `k:{"key":...}`, `v:value`, and `.` where the node itself is
a member besides what lies under it. `{}` is a leaf. Tries are values: functions return new ones.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from windlass.lab.kubernetes.documents import is_array, is_object
from windlass.lab.kubernetes.schema import ANY, Schema

Trie = dict[str, Any]
Path = tuple[str, ...]


def element_key(element: Any, schema: Schema) -> str:
    """`k:{...}` of an element of a list map, `v:...` of a member of a set."""
    if schema.list_type == "map":
        keys = {
            key: element.get(key, schema.key_defaults.get(key))
            for key in sorted(schema.keys)
            if key in element or key in schema.key_defaults
        }
        return "k:" + orjson.dumps(keys).decode()
    return "v:" + orjson.dumps(element).decode()


def is_atomic(value: Any, schema: Schema) -> bool:
    """Whether the value is owned as a whole."""
    if is_object(value):
        return schema.atomic
    if is_array(value):
        return schema.list_type not in ("map", "set")
    return True


def members(value: Any, schema: Schema) -> Iterator[tuple[str, Any, Schema]]:
    """The parts of a value that is not atomic, with their path elements and schemas."""
    if is_object(value):
        for key, below in value.items():
            yield f"f:{key}", below, schema.child(key) or ANY
    else:
        items = schema.items or ANY
        for below in value:
            yield element_key(below, schema), below, items


def field_set(value: Any, schema: Schema) -> Trie:
    """All fields of `value`; empty maps and list elements count themselves."""
    trie: Trie = {}
    for element, below, inner in members(value, schema):
        if is_atomic(below, inner) or not below:
            trie[element] = {}
            continue
        under = field_set(below, inner)
        trie[element] = {".": {}, **under} if element.startswith("k:") else under
    return trie


def union(one: Trie, other: Trie) -> Trie:
    merged = dict(one)
    for key, below in other.items():
        if key in merged:
            merged[key] = _join(merged[key], below)
        else:
            merged[key] = below
    return merged


def _join(one: Trie, other: Trie) -> Trie:
    """A leaf that gains children stays a member itself."""
    if not one and not other:
        return {}
    if not one:
        return {".": {}, **other}
    if not other:
        return {".": {}, **one}
    return union(one, other)


def _is_member(trie: Trie) -> bool:
    return not trie or "." in trie


def difference(one: Trie, other: Trie) -> Trie:
    """The members of `one` that are not members of `other`."""
    left: Trie = {}
    for key, below in one.items():
        if key == ".":
            continue
        taken = other.get(key)
        if taken is None:
            left[key] = below
            continue
        member = _is_member(below) and not _is_member(taken)
        under = difference(below, taken)
        if under:
            left[key] = {".": {}, **under} if member else under
        elif member:
            left[key] = {}
    return left


def intersection(one: Trie, other: Trie) -> Trie:
    both: Trie = {}
    for key, below in one.items():
        if key == "." or key not in other:
            continue
        taken = other[key]
        member = _is_member(below) and _is_member(taken)
        under = intersection(below, taken)
        if under:
            both[key] = {".": {}, **under} if member else under
        elif member:
            both[key] = {}
    return both


def paths(trie: Trie, at: Path = ()) -> Iterator[Path]:
    """Every member in the order conflicts are told in: those of a level before those under it."""
    keys = sorted(key for key in trie if key != ".")
    yield from ((*at, key) for key in keys if _is_member(trie[key]))
    for key in keys:
        yield from paths(trie[key], (*at, key))


def without(trie: Trie, path: Path) -> Trie:
    """The set minus one field and everything under it."""
    first, *rest = path
    if first not in trie:
        return trie
    left = dict(trie)
    if not rest:
        del left[first]
        return left
    under = without(trie[first], tuple(rest))
    if under:
        left[first] = under
    else:
        del left[first]
    return left


def display(path: Path) -> str:
    """As conflicts name a field: `.spec.template.spec.containers[name="c"].image`."""
    shown = ""
    for part in path:
        mark, body = part[0], part[2:]
        if mark == "f":
            shown += f".{body}"
        elif mark == "k":
            keys = orjson.loads(body)
            listed = ",".join(f"{k}={orjson.dumps(v).decode()}" for k, v in keys.items())
            shown += f"[{listed}]"
        else:
            shown += f"[={body}]"
    return shown
