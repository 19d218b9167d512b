"""Custom objects against their structural schemas: pruning, defaults, validation. Documents are changed in place."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from windlass.lab.kubernetes.documents import Document, is_array, is_object
from windlass.lab.kubernetes.schema import ANY, Schema
from windlass.lab.kubernetes.status import Cause, invalid_value, required, unsupported_value

_PYTHON: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "map": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "int-or-string": (int, str),
}
_EMBEDDED = ("apiVersion", "kind", "metadata")


def prune(value: Any, schema: Schema, path: str = "") -> list[str]:
    """Drop what the schema does not know; return the paths of what was dropped."""
    if is_object(value):
        return _prune_object(value, schema, path)
    if is_array(value) and schema.items is not None:
        return [
            gone
            for index, below in enumerate(value)
            for gone in prune(below, schema.items, f"{path}[{index}]")
        ]
    return []


def _prune_object(value: dict[str, Any], schema: Schema, path: str) -> list[str]:
    dropped = list[str]()
    for key in list(value):
        here = f"{path}.{key}" if path else key
        inner = schema.child(key)
        if inner is not None:
            dropped.extend(prune(value[key], inner, here))
        elif not schema.preserve and not (schema.embedded and key in _EMBEDDED):
            del value[key]
            dropped.append(here)
    return dropped


def fill(value: Any, schema: Schema) -> None:
    """Set defaults where nothing is said; nulls that are not allowed give way to them."""
    if is_object(value):
        _fill_members(value, schema)
        for key, below in value.items():
            fill(below, schema.child(key) or ANY)
    elif is_array(value) and schema.items is not None:
        for below in value:
            fill(below, schema.items)


def _fill_members(value: Document, schema: Schema) -> None:
    for key, inner in schema.properties.items():
        if value.get(key, ...) is None and not inner.nullable:
            del value[key]
        if key not in value and inner.has_default:
            value[key] = orjson.loads(orjson.dumps(inner.default))


def validate(value: Any, schema: Schema, path: str = "") -> Iterator[Cause]:
    """Everything about a value that its schema forbids."""
    if value is None and schema.nullable:
        return
    wanted = _PYTHON.get(schema.kind)
    if wanted and (not isinstance(value, wanted) or _is_stray_bool(value, schema)):
        name = "object" if schema.kind == "map" else schema.kind
        shown = _type_name(value)
        text = f'{path} in body must be of type {name}: "{shown}"'
        yield invalid_value(path, shown, text)
        return
    for rule, limit in schema.rules.items():
        check = _RULES.get(rule)
        if check is not None:
            yield from check(path, value, limit)
    if is_object(value):
        yield from _validate_object(value, schema, path)
    elif is_array(value) and schema.items is not None:
        for index, below in enumerate(value):
            yield from validate(below, schema.items, f"{path}[{index}]")


def _validate_object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[Cause]:
    for key in schema.required:
        if key not in value:
            yield required(f"{path}.{key}" if path else key)
    for key, below in value.items():
        inner = schema.child(key)
        if inner is not None and not (not path and key in _EMBEDDED):
            yield from validate(below, inner, f"{path}.{key}" if path else key)


def _is_stray_bool(value: Any, schema: Schema) -> bool:
    return isinstance(value, bool) and schema.kind != "boolean"


def _type_name(value: Any) -> str:
    names = {"bool": "boolean", "int": "integer", "float": "number", "str": "string",
             "dict": "object", "list": "array"}  # fmt: skip
    return names.get(type(value).__name__, "null")


def _enum(path: str, value: Any, limit: list[Any]) -> Iterator[Cause]:
    if value not in limit:
        yield unsupported_value(path, value, [str(one) for one in limit])


def _pattern(path: str, value: Any, limit: str) -> Iterator[Cause]:
    if isinstance(value, str) and not re.search(limit, value):
        yield invalid_value(path, value, f"{path} in body should match '{limit}'")


def _minimum(path: str, value: Any, limit: float) -> Iterator[Cause]:
    if isinstance(value, int | float) and value < limit:
        text = f"{path} in body should be greater than or equal to {limit:g}"
        yield invalid_value(path, value, text)


def _maximum(path: str, value: Any, limit: float) -> Iterator[Cause]:
    if isinstance(value, int | float) and value > limit:
        yield invalid_value(
            path, value, f"{path} in body should be less than or equal to {limit:g}"
        )


def _min_length(path: str, value: Any, limit: int) -> Iterator[Cause]:
    if isinstance(value, str) and len(value) < limit:
        yield invalid_value(path, value, f"{path} in body should be at least {limit} chars long")


def _max_length(path: str, value: Any, limit: int) -> Iterator[Cause]:
    if isinstance(value, str) and len(value) > limit:
        yield Cause("FieldValueTooLong", f"Too long: may not be more than {limit} bytes", path)


def _min_items(path: str, value: Any, limit: int) -> Iterator[Cause]:
    if is_array(value) and len(value) < limit:
        yield invalid_value(path, len(value), f"{path} in body should have at least {limit} items")


def _max_items(path: str, value: Any, limit: int) -> Iterator[Cause]:
    if is_array(value) and len(value) > limit:
        text = f"Too many: {len(value)}: must have at most {limit} items"
        yield Cause("FieldValueTooMany", text, path)


_RULES: dict[str, Callable[[str, Any, Any], Iterator[Cause]]] = {
    "enum": _enum,
    "pattern": _pattern,
    "minimum": _minimum,
    "maximum": _maximum,
    "minLength": _min_length,
    "maxLength": _max_length,
    "minItems": _min_items,
    "maxItems": _max_items,
}
