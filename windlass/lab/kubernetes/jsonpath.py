"""The simple JSON paths that printer columns use: members, indexes and `[?(@.key=="value")]`."""

import re
from typing import Any

from windlass.lab.kubernetes.documents import is_array, is_object

_PART = re.compile(
    r"""\.(?P<member>(?:[\w/-]|\\\.)+)"""
    r"""|\[(?P<index>-?\d+|\*)\]"""
    r"""|\['(?P<quoted>[^']+)'\]"""
    r"""|\[\?\(@\.(?P<key>[\w.]+)\s*==\s*["'](?P<value>[^"']*)["']\)\]"""
)


def first(doc: Any, path: str) -> Any:
    """The first value at `path`, or None."""
    values = [doc]
    at = 0
    while at < len(path):
        found = _PART.match(path, at)
        if found is None:
            return None
        values = [below for value in values for below in _step(value, found)]
        at = found.end()
    return values[0] if values else None


def _step(value: Any, part: re.Match[str]) -> list[Any]:
    if name := part["member"] or part["quoted"]:
        key = name.replace("\\.", ".")
        return [value[key]] if is_object(value) and key in value else []
    if not is_array(value):
        return []
    if part["key"]:
        return [one for one in value if str(first(one, f".{part['key']}")) == part["value"]]
    if part["index"] == "*":
        return list(value)
    index = int(part["index"])
    return [value[index]] if -len(value) <= index < len(value) else []
