"""Parameters of a call: what may be given, and what Proxmox VE says when it is not that.

Tables are written as text, one word a parameter: `name:type`, `name?:type` when it may be absent. A type is
`s i n b a` (string, integer, number, boolean, array), a named format, of which `-list` takes several and `-opt` takes
none, or `{one|of|these}`; `i(1..30)` and `s(40)` bound it. `name[n]` stands for `name0`, `name1`, ... What another
parameter is needed for ends in `>other`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from windlass.lab.proxmox.formats import FORMATS
from windlass.lab.proxmox.refusals import bad_parameters

UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
MISSING = "property is missing and it is not optional"
_BASE = {"s": "string", "i": "integer", "n": "number", "b": "boolean", "a": "array"}


@dataclass(frozen=True)
class Parameter:
    """What one parameter may be."""

    kind: str
    optional: bool
    format: str = ""
    enum: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    min_length: int = 0
    max_length: int | None = None
    requires: str = ""
    shape: "PropertyString | None" = None


_WORD = re.compile(
    r"(?P<name>[\w-]+)(?P<many>\[\d+\])?(?P<optional>\?)?:(?P<type>[\w-]+|\{[^}]*\})(\((?P<bounds>[^)]*)\))?"
    r"(>(?P<requires>[\w-]+))?"
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
    low, high = _bounds(parsed["bounds"] or "")
    found = _of_type(parsed["type"], bool(parsed["optional"]))
    if found.kind in ("integer", "number") and not found.format:
        found = replace(found, minimum=low, maximum=high)
    else:
        found = replace(
            found, min_length=int(low or 0), max_length=None if high is None else int(high)
        )
    return replace(found, requires=parsed["requires"] or "")


def _of_type(kind: str, optional: bool) -> Parameter:
    if kind.startswith("{"):
        return Parameter("string", optional, enum=tuple(kind[1:-1].split("|")))
    if kind in _BASE:
        return Parameter(_BASE[kind], optional)
    shape = FORMATS[_format_name(kind)]
    if _format_name(kind) != kind:
        return Parameter("string", optional, kind)
    return Parameter(shape.kind, optional, kind, minimum=shape.minimum, maximum=shape.maximum)


def _format_name(kind: str) -> str:
    return kind.removesuffix("-list").removesuffix("-opt")


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
        values[name], wrong = check(value, parameter, name)
        if wrong:
            errors[name] = wrong
        elif parameter.kind == "array":
            errors |= _of_items(name, values[name], parameter)
    for name, text in _absent(given, wanted):
        errors[name] = "\n".join(filter(None, (errors.get(name), text)))
    if errors:
        raise bad_parameters(errors)
    return values


def _of_items(name: str, items: list[Any], wanted: Parameter) -> dict[str, str]:
    item = replace(wanted, kind="string")
    checked = {f"{name}[{n}]": one for n, one in enumerate(items)}
    return {where: wrong for where, one in checked.items() if (wrong := check(one, item, where)[1])}


def _absent(given: Mapping[str, Any], wanted: Mapping[str, Parameter]) -> Iterator[tuple[str, str]]:
    for name, parameter in wanted.items():
        if not parameter.optional and name not in given:
            yield name, MISSING
        if name in given and parameter.requires and parameter.requires not in given:
            yield parameter.requires, f"missing property required by '{name}'"


def check(value: Any, wanted: Parameter, name: str) -> tuple[Any, str]:
    """The value in its type, and what is wrong with it or nothing. The first thing wrong is said."""
    value, wrong = _typed(value, wanted)
    if wrong or wanted.kind == "array":
        return value, wrong
    wrong = _malformed(value, wanted, name) or _of_wrong_length(value, wanted)
    return value, wrong or _out_of_bounds(value, wanted)


def _typed(value: Any, wanted: Parameter) -> tuple[Any, str]:
    if wanted.kind == "array":
        return _array(value)
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


def _array(value: Any) -> tuple[Any, str]:
    """One value is an array of one; but Perl takes an empty string and a zero for nothing."""
    if isinstance(value, list):
        return cast(list[Any], value), ""
    if str(value) in ("", "0"):
        return value, "type check ('array') failed"
    return [value], ""


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


def split_list(text: str) -> list[str]:
    """The parts of a `-list`."""
    return [part for part in re.split(r"[,;\s\0]+", text) if part]


def _malformed(value: Any, wanted: Parameter, name: str) -> str:
    text = str(value)
    if wanted.shape is not None:
        _, wrong = wanted.shape.read(name, text)
        return f"invalid format - {wrong}" if wrong else ""
    if not wanted.format or (wanted.format.endswith("-opt") and text in ("", "0")):
        return ""
    shape = FORMATS[_format_name(wanted.format)]
    for part in split_list(text) if wanted.format.endswith("-list") else [text]:
        if not re.fullmatch(shape.pattern, part):
            return shape.problem(part)
    return ""


def _of_wrong_length(value: Any, wanted: Parameter) -> str:
    if wanted.max_length is not None and len(str(value)) > wanted.max_length:
        return f"value may only be {wanted.max_length} characters long"
    if len(str(value)) < wanted.min_length:
        return f"value must be at least {wanted.min_length} characters long"
    return ""


def _out_of_bounds(value: Any, wanted: Parameter) -> str:
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


_TRUE, _FALSE = ("1", "on", "yes", "true"), ("0", "off", "no", "false")


class _WrongFormError(Exception):
    """What ends the reading of a property string."""


@dataclass(frozen=True)
class PropertyString:
    """`key=value,key=value`, where a bare value belongs to `default`.

    An alias is a key that stands for another one; its own name may at the same time be the value of a third.
    """

    keys: dict[str, Parameter]
    default: str | None = None
    aliases: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    def read(self, path: str, text: str) -> tuple[dict[str, str], str]:
        """The parts, and what is wrong in the words of Proxmox VE or nothing; `path` is the parameter's name."""
        found: dict[str, str] = {}
        try:
            for part in filter(str.strip, text.split(",")):
                self._take(part, found)
        except _WrongFormError as wrong:
            return {}, str(wrong)
        checked = {
            key: check(value, self.keys[key], f"{path}.{key}")[1] for key, value in found.items()
        }
        checked |= dict(_absent(found, self.keys))
        errors = [f"{path}.{key}: {wrong}" for key, wrong in checked.items() if wrong]
        return found, "\n".join(["format error", *errors]) if errors else ""

    def _take(self, part: str, found: dict[str, str]) -> None:
        key, given, value = part.partition("=")
        if not given:
            key, value = self._bare(part, found)
        elif not key or not value:
            raise _WrongFormError("missing key in comma-separated list property")
        elif key in found:
            raise _WrongFormError(f"duplicate key in comma-separated list property: {key}")
        elif key in self.aliases:
            key = self._aliased(key, found)
        if key not in self.keys:
            raise _WrongFormError(f"invalid key in comma-separated list property: {key}")
        is_flag = self.keys[key].kind == "boolean" and value.lower() in _TRUE + _FALSE
        found[key] = str(int(value.lower() in _TRUE)) if is_flag else value

    def _bare(self, part: str, found: dict[str, str]) -> tuple[str, str]:
        if self.default is None:
            raise _WrongFormError("value without key, but schema does not define a default key")
        if self.default in found:
            raise _WrongFormError(f"duplicate key in comma-separated list property: {self.default}")
        return self.default, part

    def _aliased(self, alias: str, found: dict[str, str]) -> str:
        key, named = self.aliases[alias]
        if named in found:
            raise _WrongFormError(f"key alias '{named}' is already defined")
        if key in found:
            raise _WrongFormError(f"key '{key}' is already defined (via alias)")
        if named:
            found[named] = alias
        return key
