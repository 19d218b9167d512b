"""A site file being written: known values as lines, unknown ones as marked gaps."""

import json
import re
from dataclasses import dataclass, field

Plain = bool | int | str | list[str]

# Text that every YAML reader takes for text without quotes: names, addresses, networks, paths.
PLAIN = re.compile(
    r"(?!(?:true|false|null|yes|no|on|off|y|n)$)(?:[A-Za-z][A-Za-z0-9._/-]*|(?:[0-9]+\.){3}[0-9/]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Gap:
    """A value that the folder does not say. Without `stand_in` the site file does not load until it is filled."""

    line: int
    key: str
    why: str
    stand_in: Plain | None


@dataclass
class Page:
    """The lines of the file so far, and the gaps in them."""

    lines: list[str] = field(default_factory=list[str])
    gaps: list[Gap] = field(default_factory=list[Gap])
    around: str = ""
    indent: str = ""

    def put(
        self, key: str, value: Plain | None, why: str = "", stand_in: Plain | None = None
    ) -> None:
        """A value that is known, or else a gap with its reason; with neither, nothing."""
        if value is not None:
            self.lines.append(f"{self.indent}{key}: {_yaml(value)}")
        elif why:
            said = "" if stand_in is None else f" {_yaml(stand_in)}"
            self.lines.append(f"{self.indent}{key}:{said}  # UNKNOWN: {why}")
            place = f"{self.around}.{key}" if self.around else key
            self.gaps.append(Gap(len(self.lines), place, why, stand_in))

    def section(self, name: str, indent: str = "  ") -> None:
        self.lines += ["", f"{name}:"]
        self.around, self.indent = name, indent


def _yaml(value: Plain) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, bool | int):
        return json.dumps(value)
    return value if PLAIN.fullmatch(value) else json.dumps(value)
