"""From a request body to an object of its kind: types, unknown fields, pruning, empty values.

The walk changes the body in place: it belongs to the request.
"""

from typing import Any

from windlass.lab.kubernetes.documents import is_object
from windlass.lab.kubernetes.schema import Schema
from windlass.lab.kubernetes.status import bad_request

_PYTHON: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "map": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_GO_NAMES = {"str": "string", "int": "number", "float": "number", "bool": "bool"}


class TypeMismatchError(Exception):
    """A value that its Go type cannot hold; the message is encoding/json's."""


def prune(value: Any, schema: Schema) -> list[str]:
    """Drop unknown fields, nulls and empty optional lists and maps; return the unknown fields' paths.

    Raises:
        TypeMismatchError: a value is not of its type.
    """
    unknown: list[str] = []
    _walk(value, schema, "", schema.go, unknown)
    return unknown


def _walk(value: Any, schema: Schema, path: str, struct: str, unknown: list[str]) -> None:
    _check_type(value, schema, path, struct)
    if schema.kind == "object":
        _walk_object(value, schema, path, unknown)
    elif schema.kind == "map" and schema.values is not None:
        for key in [key for key, below in value.items() if below is None]:
            if schema.values.kind != "string":
                del value[key]
            else:
                value[key] = ""
        for key, below in value.items():
            # Go's errors of type do not name the key of a map, those of fields do.
            here = f"{path}.{key}" if schema.values.kind == "object" else path
            _walk(below, schema.values, here, struct, unknown)
    elif schema.kind == "array" and schema.items is not None:
        for index, below in enumerate(value):
            _walk(below, schema.items, f"{path}[{index}]", struct, unknown)


def _walk_object(value: dict[str, Any], schema: Schema, path: str, unknown: list[str]) -> None:
    for key in list(value):
        below, inner = value[key], schema.properties.get(key)
        here = f"{path}.{key}" if path else key
        if inner is None:
            if not schema.preserve:
                unknown.append(here)
                del value[key]
            continue
        if below is None:
            del value[key]
            continue
        _walk(below, inner, here, schema.go, unknown)
        if not below and inner.kind in ("map", "array") and key not in schema.required:
            del value[key]


def _check_type(value: Any, schema: Schema, path: str, struct: str) -> None:
    if schema.kind == "any":
        return
    if schema.kind == "int-or-string":
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise TypeMismatchError(_mismatch(value, schema, path, struct))
        return
    wanted = _PYTHON[schema.kind]
    if not isinstance(value, wanted) or (isinstance(value, bool) and schema.kind != "boolean"):
        raise TypeMismatchError(_mismatch(value, schema, path, struct))


def _mismatch(value: Any, schema: Schema, path: str, struct: str) -> str:
    said = _GO_NAMES.get(type(value).__name__, "object" if is_object(value) else "array")
    plain = "".join(part.split("]", 1)[-1] for part in path.split("["))
    return (
        f"json: cannot unmarshal {said} into Go struct field {struct}.{plain} "
        f"of type {_go_type(schema)}"
    )


def _go_type(schema: Schema) -> str:
    if schema.kind == "integer":
        return schema.format or "int64"
    if schema.kind == "boolean":
        return "bool"
    if schema.kind == "map" and schema.values is not None:
        return f"map[string]{_go_type(schema.values)}"
    if schema.kind == "array" and schema.items is not None:
        return f"[]{_go_type(schema.items)}"
    return f"v1.{schema.go}" if schema.go else "string"


def cannot_handle(kind: str, version: str, why: str) -> Exception:
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')
