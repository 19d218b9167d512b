"""The two template dialects of ApplicationSets, as far as directories need them."""

import re
from collections.abc import Callable, Iterable
from typing import Any, cast

from windlass.lab.controllers.objects import Object, as_object

_FAST_TAG = re.compile(r"\{\{\s*(.*?)\s*\}\}")
# A dash beside a brace takes the white space on that side away.
_GO_TAG = re.compile(r"(?:\s*\{\{-\s+|\{\{)\s*(.*?)\s*(?:\s-\}\}\s*|\}\})", re.DOTALL)
_MISSING_KEY_IS_AN_ERROR = "missingkey=error"
GO_OPTIONS = (
    "missingkey=default",
    "missingkey=invalid",
    "missingkey=zero",
    _MISSING_KEY_IS_AN_ERROR,
)
_NO_VALUE = "<no value>"


class TemplateError(Exception):
    """The template asks for something that is not there."""


def directory_parameters(path: str, *, go: bool) -> Object:
    """What the git directory generator knows of one folder, in the shape of the dialect."""
    segments = path.split("/")
    name = segments[-1]
    plain = _normalized(name)
    if go:
        known = {"path": path, "basename": name, "basenameNormalized": plain}
        return {"path": {**known, "segments": segments}}
    numbered = {f"path[{index}]": segment for index, segment in enumerate(segments)}
    flat = {"path": path, "path.basename": name, "path.basenameNormalized": plain}
    return {**flat, **numbered}


def filled(template: Any, parameters: Object, *, go: bool, options: Iterable[str] = ()) -> Any:
    """The template with every tag of every string replaced. `options` are those of Go's templates."""
    strict = _MISSING_KEY_IS_AN_ERROR in options

    def fill(text: str) -> str:
        if go:
            return _GO_TAG.sub(lambda tag: _go_value(tag[1], parameters, strict=strict), text)
        # fasttemplate leaves what it does not know as it is.
        return _FAST_TAG.sub(lambda tag: str(parameters.get(tag[1], tag[0])), text)

    return _each_string(template, fill)


def _each_string(template: Any, fill: Callable[[str], str]) -> Any:
    if isinstance(template, str):
        return fill(template)
    if isinstance(template, list):
        return [_each_string(one, fill) for one in cast("list[Any]", template)]
    if isinstance(template, dict):
        return {fill(key): _each_string(one, fill) for key, one in as_object(template).items()}
    return template


def _go_value(expression: str, parameters: Object, *, strict: bool) -> str:
    first, *pipes = [part.strip() for part in expression.split("|")]
    value = _evaluated(first, parameters, strict=strict)
    for pipe in pipes:
        if pipe not in _PIPES:
            raise TemplateError(f'function "{pipe}" is not in the lab')
        if value is None:
            raise TemplateError(f"error calling {pipe}: invalid value; expected string")
        value = _PIPES[pipe](str(value))
    return _NO_VALUE if value is None else str(value)


def _normalized(text: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.")


_PIPES: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "normalize": _normalized,
}


def _evaluated(expression: str, parameters: Object, *, strict: bool) -> Any:
    """`.a.b`, or `index .a.b N`; None for what is not there."""
    words = expression.split()
    if words[:1] == ["index"] and len(words) == 3:
        return _indexed(_evaluated(words[1], parameters, strict=strict), words[2], expression)
    if len(words) != 1 or not expression.startswith("."):
        raise TemplateError(f"this expression is not in the lab: {expression}")
    value: Any = parameters
    for part in expression[1:].split("."):
        if value is None:
            raise TemplateError(f"nil pointer evaluating interface {{}}.{part}")
        if strict and part not in value:
            raise TemplateError(f'map has no entry for key "{part}"')
        value = value.get(part)
    return value


def _indexed(found: Any, key: str, expression: str) -> Any:
    try:
        return found[int(key) if key.isdigit() else key.strip('"')]
    except (IndexError, KeyError, TypeError) as error:
        raise TemplateError(f"index out of range: {expression}") from error
