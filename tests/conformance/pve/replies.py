"""What the published contract of Proxmox VE has against an answer of the lab."""

import re
from collections.abc import Iterator
from typing import Any, cast

from tests.conformance.pve.contract import Schema, entry

LOOKS = {
    "boolean": r"[01]?",
    "integer": r"[+-]?\d+",
    "number": r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?",
}


def reply_problems(method: str, path: str, data: Any) -> list[str]:
    """What the contract has against an answer. Lenient as Proxmox itself is: more keys are fine, null is absence."""
    found = entry(method, path)
    if found is None:
        return [f"there is no {method} {path}"]
    return list(_answer("data", data, found.get("returns") or {}))


def _answer(where: str, data: Any, schema: Schema) -> Iterator[str]:
    kind = schema.get("type")
    if data is None:
        if kind not in (None, "null") and not schema.get("optional"):
            yield f"{where} is null, not {kind}"
    elif kind == "null":
        yield f"{where} is {data!r}, not null"
    elif kind == "array":
        yield from _array(where, data, schema)
    elif kind == "object":
        yield from _object(where, data, schema)
    elif kind is not None and not _is_scalar(data, kind):
        yield f"{where} is {data!r}, not {kind}"


def _is_scalar(data: Any, kind: str) -> bool:
    """Numbers may come as strings and the other way round, as Perl has it."""
    text = str(int(data)) if isinstance(data, bool) else str(data)
    return isinstance(data, str | int | float) and bool(
        re.fullmatch(LOOKS.get(kind, ".*"), text, re.DOTALL)
    )


def _array(where: str, data: Any, schema: Schema) -> Iterator[str]:
    if not isinstance(data, list):
        yield f"{where} is no array"
        return
    for number, one in enumerate(cast(list[Any], data)):
        yield from _answer(f"{where}[{number}]", one, schema.get("items") or {})


def _object(where: str, data: Any, schema: Schema) -> Iterator[str]:
    if not isinstance(data, dict):
        yield f"{where} is no object"
        return
    found = cast(dict[str, Any], data)
    properties: dict[str, Schema] = schema.get("properties") or {}
    for name, one in properties.items():
        value = found.get(name)
        if value is None:
            if not one.get("optional") and "[n]" not in name:
                yield f"{where}.{name} is missing"
        else:
            yield from _answer(f"{where}.{name}", value, one)
