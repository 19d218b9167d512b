"""The two template dialects of ApplicationSets, as far as directories need them."""

import re
from collections.abc import Callable
from typing import Any, cast

from windlass.lab.controllers.objects import Object, as_object

_TAG = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")


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


def filled(template: Any, parameters: Object, *, go: bool) -> Any:
    """The template with every tag of every string replaced."""
    if isinstance(template, str):
        return _TAG.sub(lambda tag: _value(tag, parameters, go=go), template)
    if isinstance(template, list):
        return [filled(one, parameters, go=go) for one in cast("list[Any]", template)]
    if isinstance(template, dict):
        return {
            filled(key, parameters, go=go): filled(value, parameters, go=go)
            for key, value in as_object(template).items()
        }
    return template


def _value(tag: re.Match[str], parameters: Object, *, go: bool) -> str:
    expression = tag[1]
    if not go:
        # fasttemplate leaves what it does not know as it is.
        return str(parameters.get(expression, tag[0]))
    first, *pipes = [part.strip() for part in expression.split("|")]
    value = _evaluated(first, parameters)
    for pipe in pipes:
        if pipe not in _PIPES:
            raise TemplateError(f'function "{pipe}" is not in the lab')
        value = _PIPES[pipe](str(value))
    return str(value)


def _normalized(text: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.")


_PIPES: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "normalize": _normalized,
}


def _evaluated(expression: str, parameters: Object) -> Any:
    """`.a.b`, or `index .a.b N`."""
    words = expression.split()
    if words[:1] == ["index"] and len(words) == 3:
        found = _evaluated(words[1], parameters)
        key = words[2]
        try:
            return found[int(key) if key.isdigit() else key.strip('"')]
        except (IndexError, KeyError) as error:
            raise TemplateError(f"index out of range: {expression}") from error
    if len(words) != 1 or not expression.startswith("."):
        raise TemplateError(f"this expression is not in the lab: {expression}")
    value: Any = parameters
    for part in expression[1:].split("."):
        if part not in value:
            raise TemplateError(f'map has no entry for key "{part}"')
        value = value[part]
    return value
