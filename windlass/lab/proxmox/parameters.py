"""Parameters of a call: what may be given, and what Proxmox VE says when it is not that.

Tables are written as text, one word a parameter: `name:type`, `name?:type` when it may be absent. A type is
`s i n b a` (string, integer, number, boolean, array), a named format, or `{one|of|these}`; `i(1..30)` and `s(40)`
bound it. `name[n]` stands for `name0`, `name1`, ...
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from windlass.lab.proxmox.refusals import bad_parameters

UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
MISSING = "property is missing and it is not optional"
_BASE = {"s": "string", "i": "integer", "n": "number", "b": "boolean", "a": "array"}
_NAME = r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9_-]*[a-zA-Z0-9])?"


@dataclass(frozen=True)
class Format:
    """A named string format: its pattern, and what is said of a value that does not match."""

    pattern: str
    says: str
    kind: str = "string"
    minimum: int | None = None
    maximum: int | None = None


FORMATS = {
    "vmid": Format(r"[1-9][0-9]{2,8}", "value does not look like a valid VM ID", "integer", 100, 999_999_999),
    "node": Format(_NAME, "value does not look like a valid node name"),
    "storage": Format(r"[a-zA-Z][a-zA-Z0-9_.-]*[a-zA-Z0-9]", "storage ID '{0}' contains illegal characters"),
    "config-id": Format(r"[a-zA-Z][a-zA-Z0-9_-]+", "invalid configuration ID '{0}'"),
    "snapname": Format(r"[a-zA-Z][a-zA-Z0-9_-]{1,39}", "invalid configuration ID '{0}'"),
    "dns-name": Format(rf"({_NAME})(\.{_NAME})*", "value does not look like a valid DNS name"),
    "address": Format(r"[0-9a-fA-F.:]+", "value does not look like a valid IP address"),
    "userid": Format(r"[^\s:/]+@[A-Za-z][A-Za-z0-9._-]+", "value does not look like a valid user name"),
    "roleid": Format(r"[A-Za-z0-9._-]+", "value '{0}' does not look like a valid role name"),
    "tokenid": Format(r"[A-Za-z][A-Za-z0-9._-]+", "value does not match the regex pattern"),
    "poolid": Format(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,2}", "value '{0}' does not look like a valid pool name"),
    "upid": Format(r"\S+", "unable to parse worker upid"),
    "url": Format(r"(?i:https?)://.*", "value does not match the regex pattern"),
    "disk-size": Format(r"\+?\d+(\.\d+)?[KMGT]?", "value does not match the regex pattern"),
    "mac": Format(r"[0-9a-fA-F][02468aceACE][:](?:[0-9a-fA-F]{2}:){4}[0-9a-fA-F]{2}",
                  "value does not look like a valid unicast MAC address"),
    "tag": Format(r"[a-zA-Z0-9_][a-zA-Z0-9_\-+.]*", "invalid characters in tag"),
    "label": Format(_LABEL, "value does not look like a valid name"),
}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """What one parameter may be."""

    kind: str
    optional: bool
    format: str = ""
    enum: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None


_WORD = re.compile(
    r"(?P<name>[\w-]+)(?P<many>\[\d+\])?(?P<optional>\?)?:(?P<type>[\w-]+|\{[^}]*\})(\((?P<bounds>[^)]*)\))?"
)


def table(text: str) -> dict[str, Parameter]:
    """The parameters that `text` lists."""
    found: dict[str, Parameter] = {}
    for word in text.split():
        parsed = _WORD.fullmatch(word)
        if parsed is None:
            raise ValueError(f"not a parameter: {word!r}")
        parameter = _parameter(parsed)
        many = parsed["many"]
        names = (
            [f"{parsed['name']}{n}" for n in range(int(many[1:-1]))] if many else [parsed["name"]]
        )
        found |= dict.fromkeys(names, parameter)
    return found


def _parameter(parsed: re.Match[str]) -> Parameter:
    kind, optional = parsed["type"], bool(parsed["optional"])
    if kind.startswith("{"):
        return Parameter("string", optional, enum=tuple(kind[1:-1].split("|")))
    low, high = _bounds(parsed["bounds"] or "")
    base = _BASE.get(kind)
    if base == "string":
        return Parameter("string", optional, max_length=None if high is None else int(high))
    if base is not None:
        return Parameter(base, optional, minimum=low, maximum=high)
    shape = FORMATS[kind.removesuffix("-list")]
    return Parameter(
        shape.kind if not kind.endswith("-list") else "string", optional, format=kind,
        minimum=None if kind.endswith("-list") else shape.minimum,
        maximum=None if kind.endswith("-list") else shape.maximum,
    )  # fmt: skip


def _bounds(text: str) -> tuple[float | None, float | None]:
    low, between, high = text.partition("..")
    if not between:
        return None, float(text) if text else None
    return (float(low) if low else None), (float(high) if high else None)


def verify(given: Mapping[str, Any], wanted: Mapping[str, Parameter]) -> dict[str, Any]:
    """`given` with its types: integers and booleans as int, arrays as lists.

    Raises:
        Refusal: 400 with one text for each parameter that is wrong.
    """
    errors: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name, value in given.items():
        parameter = wanted.get(name)
        if parameter is None:
            errors[name] = UNKNOWN
            continue
        value, wrong = check(value, parameter)
        if wrong:
            errors[name] = wrong
        values[name] = value
    for name, parameter in wanted.items():
        if not parameter.optional and name not in given:
            errors[name] = MISSING
    if errors:
        raise bad_parameters(errors)
    return values


def check(value: Any, wanted: Parameter) -> tuple[Any, str]:
    """The value in its type, and what is wrong with it or nothing. The first thing wrong is said."""
    value, wrong = _typed(value, wanted)
    if wrong or wanted.kind == "array":
        return value, wrong
    return value, _malformed(value, wanted) or _out_of_bounds(value, wanted)


def _typed(value: Any, wanted: Parameter) -> tuple[Any, str]:
    if wanted.kind == "array":
        return (cast(list[Any], value) if isinstance(value, list) else [value]), ""
    if isinstance(value, list) and wanted.format.endswith("-list"):
        value = ",".join(map(str, cast(list[Any], value)))
    if isinstance(value, bool):
        if wanted.kind == "boolean":
            return int(value), ""
        return value, f"type check ('{wanted.kind}') failed - got JSON::PP::Boolean"
    if isinstance(value, list | dict):
        return (
            cast(Any, value),
            f"type check ('{wanted.kind}') failed - got {'ARRAY' if isinstance(value, list) else 'HASH'}",
        )
    return _scalar(str(value), wanted.kind)


_LOOKS = {
    "boolean": r"[01]",
    "integer": r"[+-]?\d+",
    "number": r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?",
}


def _scalar(text: str, kind: str) -> tuple[Any, str]:
    looks = _LOOKS.get(kind)
    if looks is None:
        return text, ""
    if not re.fullmatch(looks, text):
        return text, f"type check ('{kind}') failed - got '{text}'"
    return (float(text) if kind == "number" else int(text)), ""


def _malformed(value: Any, wanted: Parameter) -> str:
    if not wanted.format:
        return ""
    shape = FORMATS[wanted.format.removesuffix("-list")]
    parts = re.split(r"[,;\s\0]+", str(value)) if wanted.format.endswith("-list") else [str(value)]
    for part in parts:
        if (part or not wanted.format.endswith("-list")) and not re.fullmatch(shape.pattern, part):
            return f"invalid format - {shape.says.format(part)}"
    return ""


def _out_of_bounds(value: Any, wanted: Parameter) -> str:
    if wanted.max_length is not None and len(str(value)) > wanted.max_length:
        return f"value may only be {wanted.max_length} characters long"
    if isinstance(value, int | float):
        if wanted.maximum is not None and value > wanted.maximum:
            return f"value must have a maximum value of {wanted.maximum:.0f}"
        if wanted.minimum is not None and value < wanted.minimum:
            return f"value must have a minimum value of {wanted.minimum:.0f}"
    if wanted.enum and str(value) not in wanted.enum:
        return (
            f"value '{value}' does not have a value in the enumeration '{', '.join(wanted.enum)}'"
        )
    return ""
