"""Reads what `git diff-tree` prints: the list of changed files, and their changed lines."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from windlass.errors import BadInputError
from windlass.models.merges import FileChange, Hunk

RAW = re.compile(rb":(\d{6}) (\d{6}) [0-9a-f]+ [0-9a-f]+ ([A-Z])\d*")
SECTION = b"diff --git "
HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@.*", re.DOTALL)
# A file that becomes a link, or the reverse: git shows it going and coming, each by itself.
TYPE_CHANGE = b"T"


@dataclass(frozen=True)
class Entry:
    """A changed file, and how many sections of the patch are about it."""

    file: FileChange
    sections: int


@dataclass
class _Section:
    binary: bool = False
    hunks: list[Hunk] = field(default_factory=list[Hunk])


def entries(raw: bytes) -> list[Entry]:
    """The files of `diff-tree --raw -z --no-renames`. Bytes of a path that are no text are written out."""
    parts = raw.split(b"\0")
    found: list[Entry] = []
    for about, path in zip(parts[::2], parts[1::2], strict=False):
        words = RAW.fullmatch(about)
        if words is None:
            raise _unreadable(about)
        file = FileChange(
            path.decode(errors="backslashreplace"), words[1].decode(), words[2].decode()
        )
        found.append(Entry(file, 2 if words[3] == TYPE_CHANGE else 1))
    return found


def with_lines(changed: list[Entry], patch: bytes) -> tuple[FileChange, ...]:
    """The files with the lines that `diff-tree --patch --unified=0` shows of them, in the same order."""
    sections = _sections(patch)
    files: list[FileChange] = []
    for entry in changed:
        own = list(islice(sections, entry.sections))
        if len(own) != entry.sections:
            raise _unreadable(b"a file without its lines")
        hunks = tuple(hunk for one in own for hunk in one.hunks)
        files.append(replace(entry.file, hunks=hunks, binary=any(one.binary for one in own)))
    if next(sections, None) is not None:
        raise _unreadable(b"lines without their file")
    return tuple(files)


def _sections(patch: bytes) -> Iterator[_Section]:
    lines = iter(patch.split(b"\n"))
    current: _Section | None = None
    for line in lines:
        if line.startswith(SECTION):
            if current is not None:
                yield current
            current = _Section()
        elif current is not None and (counts := HUNK.fullmatch(line)) is not None:
            current.hunks.append(_hunk(counts, lines))
        elif current is not None and line.startswith(b"Binary files "):
            current.binary = True
    if current is not None:
        yield current


def _hunk(counts: re.Match[bytes], lines: Iterator[bytes]) -> Hunk:
    left = {b"-": _count(counts[1]), b"+": _count(counts[3])}
    said: dict[bytes, list[str]] = {b"-": [], b"+": []}
    while any(left.values()):
        line = next(lines, None)
        if line is None or (sign := line[:1]) not in (*left, b"\\"):
            raise _unreadable(line or b"the end")
        if sign != b"\\":  # that line says only that the one before it ends without a line break
            left[sign] -= 1
            said[sign].append(line[1:].decode(errors="backslashreplace"))
    return Hunk(int(counts[2]), tuple(said[b"-"]), tuple(said[b"+"]))


def _count(said: bytes | None) -> int:
    return 1 if said is None else int(said)


def _unreadable(what: bytes) -> BadInputError:
    return BadInputError(f"git said what cannot be read: {what[:80]!r}")
