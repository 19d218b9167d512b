"""Reads an OpenTofu folder: its tfvars as OpenTofu orders them, variable defaults, module calls.

Files only; nothing is run and nothing is connected to. Values that need OpenTofu stay expressions.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import hcl2
from lark.exceptions import LarkError

from windlass.errors import BadInputError
from windlass.models.tofu import (
    Assignment,
    CommentedFlag,
    Expression,
    TofuFolder,
    TofuObject,
    TofuValue,
)

# Hand-written HCL is far smaller; a plan or state file named by mistake is not.
MAX_BYTES = 1024 * 1024
FLAG = re.compile(r"^\s*(?:#|//)\s*((?:update|upgrade)\s*=\s*true)\b")
EXTENSION = re.compile(r"^\s*-\s*([a-z0-9-]+/[a-z0-9._-]+)\s*$")
ATTRIBUTE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*=")
OBJECT = re.compile(r"^\$\{(?:map\()?object\(\{")
OPENING, CLOSING = "([{", ")]}"


def read_tofu_folder(folder: Path) -> TofuFolder:
    """What the files of `folder` say.

    Raises:
        BadInputError: it is no OpenTofu folder, or one of its files cannot be read as HCL.
    """
    if not folder.is_dir():
        raise BadInputError(
            f"{folder} is not a folder: name the one that holds the .tf or .tfvars files"
        )
    settings = _in_order(folder)
    sources = sorted([*folder.glob("*.tf"), *folder.glob("*.tofu")])
    if not settings and not sources:
        raise BadInputError(
            f"{folder} holds no .tf, .tofu or .auto.tfvars files: is it the right folder?"
        )
    bodies = [_parse(path) for path in sources]
    inner = [_parse(path) for path in sorted(folder.glob("talos/*.tf"))]
    variables = _blocks(bodies, "variable")
    return TofuFolder(
        assignments=_assignments(settings),
        defaults={name: body["default"] for name, body in variables.items() if "default" in body},
        modules=_blocks(bodies, "module"),
        declared={**_declared(_blocks(inner, "variable")), **_declared(variables)},
        commented_flags=tuple(_commented_flags([*settings, *sources])),
        extensions=_extensions(folder / "talos" / "image"),
    )


def _in_order(folder: Path) -> list[Path]:
    """The files that set variables, as OpenTofu reads them: terraform.tfvars, then the others by name."""
    return [*folder.glob("terraform.tfvars"), *sorted(folder.glob("*.auto.tfvars"))]


def _text(path: Path) -> str:
    try:
        body = path.read_bytes()
        if len(body) > MAX_BYTES:
            raise BadInputError(f"{path} is larger than 1 MiB: that was not written by hand")
        return body.decode()
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} is not UTF-8 text") from error


def _parse(path: Path) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", hcl2.loads(_text(path) + "\n"))  # pyright: ignore[reportUnknownMemberType]
    except LarkError as error:
        line = getattr(error, "line", "?")
        raise BadInputError(f"{path}:{line}: this is not HCL that can be read here") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: this is not HCL that can be read here: {error}") from error


def _assignments(settings: Iterable[Path]) -> dict[str, tuple[Assignment, ...]]:
    found: dict[str, tuple[Assignment, ...]] = {}
    for path in settings:
        for name, value in _plain_object(_parse(path)).items():
            found[name] = (*found.get(name, ()), Assignment(path.name, value))
    return found


def _blocks(bodies: Iterable[dict[str, Any]], kind: str) -> dict[str, TofuObject]:
    return {
        _unquoted(label): _plain_object(block)
        for body in bodies
        for labelled in body.get(kind, [])
        for label, block in labelled.items()
    }


def _plain_object(body: dict[str, Any]) -> TofuObject:
    # The parser keeps its own notes, such as comments, under names like these.
    return {
        _unquoted(key): _plain(value) for key, value in body.items() if not key.startswith("__")
    }


def _plain(value: Any) -> TofuValue:
    if isinstance(value, dict):
        return _plain_object(value)  # pyright: ignore[reportUnknownArgumentType] - the parser is untyped
    if isinstance(value, list):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, str):
        quoted = value.startswith('"') and value.endswith('"')
        return _unquoted(value) if quoted and "${" not in value else _word(value)
    return value


def _word(text: str) -> TofuValue:
    words: dict[str, TofuValue] = {"null": None, "true": True, "false": False}
    return words[text] if text in words else Expression(text.removeprefix("${").removesuffix("}"))


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _declared(variables: dict[str, TofuObject]) -> dict[str, frozenset[str]]:
    return {
        name: _attributes("${" + kind.text + "}")
        for name, body in variables.items()
        if isinstance(kind := body.get("type"), Expression) and OBJECT.match("${" + kind.text)
    }


def _attributes(kind: str) -> frozenset[str]:
    """The names directly inside the outermost object of a type; those of nested objects are not its own."""
    depth, names = 0, set[str]()
    inner = kind[kind.index("object({") + len("object({") :]
    at = 0
    while at < len(inner) and depth >= 0:
        if inner[at] in OPENING:
            depth += 1
        elif inner[at] in CLOSING:
            depth -= 1
        elif depth == 0 and (found := ATTRIBUTE.match(inner, at)):
            names.add(found[1])
            at = found.end()
        at += 1
    return frozenset(names)


def _commented_flags(paths: Iterable[Path]) -> Iterable[CommentedFlag]:
    for path in paths:
        for number, line in enumerate(_text(path).splitlines(), start=1):
            if found := FLAG.match(line):
                yield CommentedFlag(path.name, number, found[1])


def _extensions(folder: Path) -> tuple[str, ...]:
    """The extensions that every image has: those of a template's conditional parts are left out."""
    found: list[str] = []
    for path in sorted(folder.glob("schematic.y*ml*")):
        depth = 0
        for line in _text(path).splitlines():
            depth += line.count("%{ if") - line.count("%{ endif")
            if depth == 0 and (extension := EXTENSION.match(line)):
                found.append(extension[1])
    return tuple(dict.fromkeys(found))
