"""Whether two lines differ in a version alone, and whether that version went forward within its major.

A line is a skeleton with versions in it. Everything that is not the number of a version (the name,
the registry, the variant, the comment) belongs to the skeleton and must stay what it was.
"""

import re
from dataclasses import dataclass, replace

# No line that sets a version is longer; patterns are not tried on what is.
LONGEST = 1000
# Nine digits hold a date; what comes after five numbers is the name of a variant.
VERSION = re.compile(r"(v?)(\d{1,9}(?:\.\d{1,9}){0,4})([\w.+-]*)", re.ASCII)
WORDS = {
    "TAG": r"(v?\d[\w.+-]*)",
    "IMAGE": r"(?:[\w.-]+(?::\d+)?/)?[\w./-]+",
    "DIGEST": r"(?:@(sha256:[0-9a-f]{64}))?",
    "TAIL": r"""["']?\s*(?:\s#.*)?""",
}


@dataclass(frozen=True)
class LineTest:
    """A kind of line that sets a version: `pattern` has a group for each version and each digest.

    With `free_v` the letter before the number may come and go, as it does in tags of images. With
    `twice` the rest of the line may say the version again, as the name of a downloaded file does.
    """

    says: str
    files: re.Pattern[str]
    pattern: re.Pattern[str]
    free_v: bool = False
    twice: bool = False


@dataclass(frozen=True)
class Version:
    """A version as it is written, and what its parts are."""

    text: str
    prefix: str
    numbers: tuple[int, ...]
    variant: str
    digest: str | None = None


@dataclass(frozen=True)
class Line:
    """A line of a kind: what stays, and its versions."""

    skeleton: str
    versions: tuple[Version, ...]


@dataclass(frozen=True)
class Step:
    """A version that goes from one to another; `doubt` says why that is not a plain step forward."""

    before: str
    after: str
    doubt: str | None = None


def line_test(
    says: str, files: str, pattern: str, *, free_v: bool = False, twice: bool = False
) -> LineTest:
    """A kind of line; the upper-case words of WORDS stand for their patterns."""
    for word, meaning in WORDS.items():
        pattern = pattern.replace(word, meaning)
    whole = re.compile(pattern, re.ASCII)
    return LineTest(says, re.compile(files, re.ASCII), whole, free_v=free_v, twice=twice)


def compare(test: LineTest, removed: str, added: str) -> Step | None:
    """The step that a pair of lines makes; None where one of them is not of this kind."""
    before, after = _parse(test, removed), _parse(test, added)
    if before is None or after is None:
        return None
    pairs = list(zip(before.versions, after.versions, strict=False))
    # An end of a range may stay where it was; something must move.
    moved = [(old, new) for old, new in pairs if old != new] or pairs[:1]
    step = Step(moved[0][0].text, moved[0][1].text)
    if before.skeleton != after.skeleton:
        return replace(step, doubt=f"more than the version of {test.says} changed")
    doubts = (_doubt(old, new, free_v=test.free_v) for old, new in moved)
    return replace(step, doubt=next(filter(None, doubts), None))


def _parse(test: LineTest, line: str) -> Line | None:
    found = test.pattern.fullmatch(line) if len(line) <= LONGEST else None
    if found is None:
        return None
    versions: list[Version] = []
    skeleton, end = "", 0
    for group, text in enumerate(found.groups(), start=1):
        if text is None:
            continue
        skeleton, end = f"{skeleton}{line[end : found.start(group)]}\0", found.end(group)
        if text.startswith("sha256:"):
            versions[-1] = replace(versions[-1], digest=text)
        else:
            versions.append(_version(text))
    rest = line[end:]
    return Line(skeleton + _said_twice(rest, versions[0], twice=test.twice), tuple(versions))


def _version(text: str) -> Version:
    found = VERSION.match(text)
    if found is None:
        raise ValueError(f"{text} is no version: a pattern lets through what it should not")
    return Version(text, found[1], tuple(map(int, found[2].split("."))), found[3])


def _said_twice(rest: str, version: Version, *, twice: bool) -> str:
    if not twice or len(version.numbers) < 2:  # noqa: PLR2004 - a single number occurs by chance
        return rest
    return rest.replace(version.text.removeprefix("v"), "\0")


def _doubt(old: Version, new: Version, *, free_v: bool) -> str | None:
    common = min(len(old.numbers), len(new.numbers))
    before, after = old.numbers[:common], new.numbers[:common]
    checks = (
        (old.variant != new.variant, "another variant"),
        (old.prefix != new.prefix and not free_v, "another spelling"),
        (before == after, "which one is newer cannot be told"),
        (after < before, "a downgrade"),
        (before[0] != after[0], "a major version"),
        (
            old.digest is not None and old.digest == new.digest,
            "the tag moved and the digest, which decides, did not",
        ),
    )
    said = next((what for is_so, what in checks if is_so), None)
    return None if said is None else f"{said}: {old.text} to {new.text}"
