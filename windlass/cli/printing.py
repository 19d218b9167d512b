"""What commands print: rich on a terminal, plain lines otherwise, JSON where asked for.

Text from outside is made harmless first: control characters, and those that reorder text, are shown
and not obeyed.
"""

import json
import logging
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from windlass.secrets import RedactSecrets, redact

UNSAFE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)


def harmless(text: str) -> str:
    """`text` without secrets, and with what a terminal would obey written out as an escape."""
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", redact(text))


def say(text: str = "") -> None:
    """One or more lines on stdout, at once: a pipe is watched as a terminal is."""
    print(harmless(text), flush=True)


def warn(text: str) -> None:
    """One or more lines on stderr, for what a pipe should not carry."""
    print(harmless(text), file=sys.stderr)


def log_to_stderr() -> None:
    """Warnings on stderr, without secrets, unless this process already has a place for its logs."""
    handler = logging.StreamHandler()
    handler.addFilter(RedactSecrets())
    logging.basicConfig(handlers=[handler], format="%(message)s", level=logging.WARNING)


def say_json(body: Any) -> None:
    """One JSON document on stdout."""
    print(redact(json.dumps(body, indent=2, default=str)))


def is_terminal() -> bool:
    return sys.stdout.isatty()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table: drawn on a terminal, columns parted by two spaces otherwise."""
    cells = [[harmless("-" if cell is None else str(cell)) for cell in row] for row in rows]
    if is_terminal():
        _draw(columns, cells)
        return
    lines = [[column.upper() for column in columns], *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip())


def _draw(columns: Sequence[str], rows: list[list[str]]) -> None:
    # rich costs a tenth of a second, which plain output and `--json` need not pay.
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(*map(Text, row))
    Console().print(drawn)
