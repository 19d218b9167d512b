"""Custom objects against their structural schemas: pruning, defaults, validation. Documents are changed in place."""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import orjson

from windlass.lab.kubernetes import formats
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
# What upstream calls the types that it does not know by their own name.
_TYPE_NAMES = {"map": "object", "int-or-string": "integer,string"}
# A limit, and whether the limit itself is beyond it.
_Bound = tuple[float, bool]
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
    """Everything about a value that its schema forbids, in the order and the words of the real API server."""
    if value is None and schema.nullable:
        return
    if (wanted := _PYTHON.get(schema.kind)) and not _is_a(value, wanted):
        yield _of_type(path, _TYPE_NAMES.get(schema.kind, schema.kind), _type_name(value))
    yield from _combined(value, schema, path)
    for rule, check in RULES.items():
        if rule in schema.rules:
            yield from check(path, value, schema.rules[rule])
    if isinstance(value, str) and not _has_format(value, schema.format):
        yield _of_type(path, schema.format, value)
    if is_object(value):
        yield from _validate_object(value, schema, path)
    elif is_array(value):
        yield from _validate_array(value, schema, path)


def _validate_array(value: list[Any], schema: Schema, path: str) -> Iterator[Cause]:
    for index, below in enumerate(value):
        yield from validate(below, schema.items or ANY, f"{path}[{index}]")
    yield from _repeated(value, schema, path)


def _combined(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    """What allOf, anyOf, oneOf and not say; of alternatives that all fail the first tells why."""
    rules = schema.rules

    def outcomes(key: str) -> list[list[Cause]]:
        return [list(validate(value, one, path)) for one in rules.get(key, ())]

    if (found := outcomes("anyOf")) and all(found):
        yield _whole(f'"{path}" must validate at least one schema (anyOf)')
        yield from found[0]
    if (found := outcomes("oneOf")) and (valid := found.count([])) != 1:
        said = f"Found {valid} valid alternatives" if valid else "Found none valid"
        yield _whole(f'"{path}" must validate one and only one schema (oneOf). {said}')
        yield from found[0] if not valid else ()
    if any(found := outcomes("allOf")):
        yield from (cause for one in found for cause in one)
        said = ". None validated" if all(found) else ""
        yield _whole(f'"{path}" must validate all the schemas (allOf){said}')
    if "not" in rules and not any(validate(value, rules["not"], path)):
        yield _whole(f'"{path}" must not validate the schema (not)')


def _whole(text: str) -> Cause:
    """About a value as a whole: upstream names no field, and shows no value."""
    return Cause("FieldValueInvalid", f'Invalid value: "": {text}', "<nil>")


def _of_type(path: str, name: str, shown: str) -> Cause:
    """A wrong type or format; its reason is another than that of a wrong value."""
    found = invalid_value(path, shown, f"{path} in body must be of type {name}: {_quoted(shown)}")
    return Cause("FieldValueTypeInvalid", found.message, path)


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()


def _validate_object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[Cause]:
    embedded = ("apiVersion", "kind") if schema.embedded else ()
    for key in (*schema.required, *embedded):
        if key not in value:
            yield required(f"{path}.{key}" if path else key)
    for key, below in value.items():
        inner = schema.child(key)
        if inner is not None and not (not path and key in _EMBEDDED):
            yield from validate(below, inner, f"{path}.{key}" if path else key)


def _repeated(value: list[Any], schema: Schema, path: str) -> Iterator[Cause]:
    """Sets hold a value once, maps a key."""
    if schema.list_type not in ("set", "map"):
        return
    seen: list[Any] = []
    for index, one in enumerate(value):
        entry = (
            {k: one[k] for k in schema.keys if k in one} if schema.keys and is_object(one) else one
        )
        if entry in seen:
            shown = orjson.dumps(entry).decode()
            yield Cause("FieldValueDuplicate", f"Duplicate value: {shown}", f"{path}[{index}]")
        seen.append(entry)


def _is_a(value: Any, wanted: tuple[type, ...]) -> bool:
    """To Python truth is a number; here it is none."""
    if isinstance(value, bool):
        return bool in wanted
    return isinstance(value, wanted)


def _has_format(value: str, name: str) -> bool:
    check = formats.CHECKS.get(name)
    return check is None or check(value)


def _type_name(value: Any) -> str:
    names = {"bool": "boolean", "int": "integer", "float": "number", "str": "string",
             "dict": "object", "list": "array"}  # fmt: skip
    return names.get(type(value).__name__, "null")


def _enum(path: str, value: Any, limit: list[Any]) -> Iterator[Cause]:
    if value not in limit:
        yield unsupported_value(path, value, [str(one) for one in limit])


def _pattern(path: str, value: Any, limit: str) -> Iterator[Cause]:
    # Go's \\d is ASCII, and its $ is the very end.
    exact = re.sub(r"(?<!\\)\$$", r"\\Z", limit)
    if isinstance(value, str) and not re.search(exact, value, re.ASCII):
        yield invalid_value(path, value, f"{path} in body should match '{limit}'")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _minimum(path: str, value: Any, limit: _Bound) -> Iterator[Cause]:
    bound, exclusive = limit
    if _is_number(value) and (value < bound or (exclusive and value == bound)):
        words = "greater than" if exclusive else "greater than or equal to"
        yield invalid_value(path, value, f"{path} in body should be {words} {bound:g}")


def _maximum(path: str, value: Any, limit: _Bound) -> Iterator[Cause]:
    bound, exclusive = limit
    if _is_number(value) and (value > bound or (exclusive and value == bound)):
        words = "less than" if exclusive else "less than or equal to"
        yield invalid_value(path, value, f"{path} in body should be {words} {bound:g}")


def _multiple_of(path: str, value: Any, factor: float) -> Iterator[Cause]:
    if not _is_number(value):
        return
    # Of whole numbers upstream takes the whole part of the factor, too.
    by = Decimal(int(factor) if isinstance(value, int) else str(factor))
    if by <= 0:
        text = f"factor MultipleOf declared for {path} must be positive: {by}"
        yield invalid_value(path, int(by), text)
    elif Decimal(str(value)) % by:
        yield invalid_value(path, value, f"{path} in body should be a multiple of {factor:g}")


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


def _min_properties(path: str, value: Any, limit: int) -> Iterator[Cause]:
    if is_object(value) and len(value) < limit:
        text = f"{path} in body should have at least {limit} properties"
        yield invalid_value(path, len(value), text)


def _max_properties(path: str, value: Any, limit: int) -> Iterator[Cause]:
    if is_object(value) and len(value) > limit:
        text = f"Too many: {len(value)}: must have at most {limit} items"
        yield Cause("FieldValueTooMany", text, path)


RULES: dict[str, Callable[[str, Any, Any], Iterator[Cause]]] = {
    "maxLength": _max_length,
    "minLength": _min_length,
    "pattern": _pattern,
    "multipleOf": _multiple_of,
    "maximum": _maximum,
    "minimum": _minimum,
    "maxItems": _max_items,
    "minItems": _min_items,
    "enum": _enum,
    "minProperties": _min_properties,
    "maxProperties": _max_properties,
}
