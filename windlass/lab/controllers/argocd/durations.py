"""Durations as Go writes them: `90m`, `1h30m`, `1.5h`, `300ms`."""

import re
from typing import Any

_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip


def go_duration(text: str) -> float:
    """Seconds.

    Raises:
        ValueError: Go could not read it either; the message is Go's.
    """
    unsigned = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    parts = _PART.findall(unsigned)
    if unsigned != "0" and (not parts or "".join(map("".join, parts)) != unsigned):
        raise ValueError(f'time: invalid duration "{text}"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return -seconds if text.startswith("-") else seconds


def backoff_duration(said: Any) -> float:
    """Seconds of a retry's backoff, which may be a number without a unit."""
    text = str(said)
    if re.fullmatch(r"[+-]?\d+", text):
        return float(text)
    try:
        return go_duration(text)
    except ValueError as error:
        raise ValueError(f"unable to parse {text} as a duration") from error
