"""Which classes of change a merged commit holds: by path and by changed line, never by who wrote it or why.

What the table does not know needs a person. Nothing is safe because it looks like something else.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from windlass.models.merges import ABSENT, SUBMODULE, SYMLINK, Commit, FileChange, Hunk
from windlass.plans.merges_inert import Inert, Tree, why_inert
from windlass.plans.merges_lines import Step, compare
from windlass.plans.merges_table import BASE, EXTENSION, FLAG, Class, Row, rows_of

# Talos and Kubernetes are upgraded minor by minor.
MACHINES = (Class.TALOS, Class.KUBERNETES)
UNKNOWN_PATH = "the table has no row for this path"


@dataclass(frozen=True)
class Finding:
    """One change and its class; `step` is the version's way where it is one. `at` is 0 for a whole file."""

    cls: Class
    path: str
    why: str
    at: int = 0
    removed: str | None = None
    added: str | None = None
    step: Step | None = None


@dataclass(frozen=True)
class Classification:
    """What a commit holds."""

    commit: Commit
    findings: tuple[Finding, ...]

    @property
    def classes(self) -> tuple[Class, ...]:
        """Each class once, in the order of a plan."""
        held = {one.cls for one in self.findings}
        return tuple(cls for cls in Class if cls in held)

    @property
    def needs_person(self) -> bool:
        return Class.PERSON in self.classes


def classify(commit: Commit, tree: Tree) -> Classification:
    """Every changed line gets a class. `tree` is what of the commit's files proves that a place is inert."""
    found = [one for file in commit.files for one in _of_file(file, tree)]
    return Classification(commit, (*found, *_disagreeing(found)))


def _of_file(file: FileChange, tree: Tree) -> Iterator[Finding]:
    rows = rows_of(file.path)
    inert = why_inert(file.path, tree)
    if (special := _special(file)) is not None:
        yield Finding(Class.PERSON, file.path, special)
    elif inert is not None and inert.lines is None and file.is_edit:
        yield Finding(Class.INERT, file.path, inert.why)
    elif rows and rows[0].anything:
        yield Finding(rows[0].cls, file.path, "by its path, whatever the line")
    elif not rows:
        yield Finding(Class.PERSON, file.path, UNKNOWN_PATH)
    elif (whole := _more_than_lines(file)) is not None:
        yield Finding(Class.PERSON, file.path, f"{rows[0].cls}: {whole}")
    else:
        for hunk in file.hunks:
            yield from _of_hunk(file.path, hunk, rows, inert)


def _special(file: FileChange) -> str | None:
    modes = {file.old_mode, file.new_mode}
    if SYMLINK in modes:
        return "a symbolic link: what it leads to is not looked at"
    return "a submodule: its commits are not here" if SUBMODULE in modes else None


def _more_than_lines(file: FileChange) -> str | None:
    """Why the change of a file is more than its lines say."""
    checks = (
        (file.old_mode == ABSENT, "a new file"),
        (file.new_mode == ABSENT, "a file is gone, and Argo CD prunes what it made"),
        (file.binary, "binary"),
        (not file.is_edit, f"its mode went from {file.old_mode} to {file.new_mode}"),
        (not file.hunks, "it changed, and git shows no line"),
    )
    return next((why for is_so, why in checks if is_so), None)


def _of_hunk(
    path: str, hunk: Hunk, rows: tuple[Row, ...], inert: Inert | None
) -> Iterator[Finding]:
    if rows[0].cls is Class.SCHEMATIC:
        yield from _extensions(path, hunk)
        return
    if len(hunk.removed) != len(hunk.added):
        why = f"{rows[0].cls}: lines came or went, and versions only move"
        for i, (old, new) in enumerate(zip_longest(hunk.removed, hunk.added)):
            yield Finding(Class.PERSON, path, why, hunk.at + i, old, new)
        return
    for i, (old, new) in enumerate(zip(hunk.removed, hunk.added, strict=True)):
        cls, why, step = _of_pair(path, old, new, rows)
        # More than a step may have an effect even there.
        if inert is not None and step is not None and _takes(inert, old, new):
            cls, why = Class.INERT, inert.why
        yield Finding(cls, path, why, hunk.at + i, old, new, step)
        if (human := _human_only(cls, new)) is not None:
            yield Finding(Class.PERSON, path, human, hunk.at + i, old, new)


def _takes(inert: Inert, old: str, new: str) -> bool:
    """Whether both lines are of those that have no effect."""
    return inert.lines is not None and all(inert.lines.fullmatch(line) for line in (old, new))


def _of_pair(
    path: str, old: str, new: str, rows: tuple[Row, ...]
) -> tuple[Class, str, Step | None]:
    doubts: list[str] = []
    for row in rows:
        for test in row.lines:
            step = compare(test, old, new) if test.files.fullmatch(path) else None
            if step is None:
                continue
            doubt = step.doubt or _skips(row.cls, step)
            if doubt is None:
                return row.cls, f"a version of {test.says} goes forward", step
            doubts.append(f"{row.cls}: {doubt}")
    if rows[0].cls is Class.UPGRADE_INTENT and _flips(old, new):
        return Class.UPGRADE_INTENT, "a node's upgrade flag", None
    unknown = f"{', '.join(row.cls for row in rows)}: the table knows no such line"
    return Class.PERSON, next(iter(doubts), unknown), None


def _skips(cls: Class, step: Step) -> str | None:
    if cls not in MACHINES:
        return None
    before, after = (
        tuple(map(int, re.findall(r"\d+", one)[:2])) for one in (step.before, step.after)
    )
    # A major step has its doubt already.
    skipped = after[1:] > (before[1] + 1,) if len(before) > 1 else True
    return f"a minor version is skipped: {step.before} to {step.after}" if skipped else None


def _flips(old: str, new: str) -> bool:
    before, after = FLAG.fullmatch(old), FLAG.fullmatch(new)
    if before is None or after is None:
        return False
    return before[2] != after[2] and before.group(1, 3) == after.group(1, 3)


def _human_only(cls: Class, line: str) -> str | None:
    """Why the table leaves a known line to people."""
    if cls is Class.UPGRADE_INTENT:
        return "upgrade-intent: a flag is a person's: the next `tofu apply` replaces every flagged node"
    if cls in MACHINES and BASE.fullmatch(line):
        return (
            f"{cls}: the base is a person's: the next `tofu apply` may replace every node at once"
        )
    return None


def _extensions(path: str, hunk: Hunk) -> Iterator[Finding]:
    """An extension that comes is known; one that goes may take a disk with it."""
    known = all(EXTENSION.fullmatch(line) for line in (*hunk.removed, *hunk.added))
    for i, (old, new) in enumerate(zip_longest(hunk.removed, hunk.added)):
        at = hunk.at + i
        if known:
            yield Finding(Class.SCHEMATIC, path, "a system extension", at, old, new)
        if not known or old is not None:
            why = (
                "an extension goes, with what needs it" if known else "the table knows no such line"
            )
            yield Finding(Class.PERSON, path, f"schematic: {why}", at, old, new)


def _disagreeing(found: list[Finding]) -> Iterator[Finding]:
    """One target is said in several places: they must say the same."""
    for cls in MACHINES:
        lines = [one for one in found if one.cls is cls and not BASE.fullmatch(one.added or "")]
        said = sorted({one.step.after for one in lines if one.step is not None})
        if len(said) > 1:
            why = f"{cls}: several targets, {' and '.join(said)}"
            yield from (
                Finding(Class.PERSON, one.path, why, one.at, one.removed, one.added)
                for one in lines
            )
