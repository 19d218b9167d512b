"""A YAML document as plain values, with the line of each; stricter than YAML is.

Numbers are plain decimals, booleans are `true` and `false`, keys are text and appear once. Tags,
merge keys, invisible characters and documents that explode with their aliases are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Location = tuple[str | int, ...]
Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

# Room for a thousand nodes written out in full, several times over.
MAX_VALUES = 200_000
MAX_DEPTH = 32
# A file that is not meant as a site at all can have thousands; the first few are enough to see it.
MAX_PROBLEMS = 50

INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,17}")
WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
# Control characters, and those that make text read differently from what it says.
HIDDEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where it is written, the dotted key, and what to do about it."""

    line: int
    key: str
    message: str


@dataclass
class Document:
    """What was read. `lines` maps each location to the line of its key or item, from one."""

    value: Value = None
    lines: dict[Location, int] = field(default_factory=dict[Location, int])
    problems: list[Problem] = field(default_factory=list[Problem])

    def line(self, location: Location) -> int:
        """The line of `location`, or of the nearest thing around it that is written down."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def dotted(location: Location) -> str:
    """`("nodes", 0, "mac")` as a person writes it: `nodes[0].mac`."""
    said = ""
    for part in location:
        said += f"[{part}]" if isinstance(part, int) else f".{part}" if said else part
    return said


def read_document(text: str) -> Document:
    """Everything in `text`, or the problems that keep it from being read."""
    document = Document()
    if hidden := HIDDEN.search(text):
        line = text.count("\n", 0, hidden.start()) + 1
        document.problems.append(
            Problem(line, "", f"hidden character U+{ord(hidden[0]):04X}: remove it")
        )
        return document
    reader = _Reader(document, text)
    try:
        reader.read()
    except _UnreadableError as stop:
        document.problems.append(stop.problem)
    except yaml.MarkedYAMLError as error:
        document.problems.append(_syntax_problem(error, text))
    except yaml.YAMLError as error:
        document.problems.append(Problem(1, "", f"not YAML: {error}"))
    return document


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> Problem:
    line = error.problem_mark.line + 1 if error.problem_mark else 1
    written = text.splitlines()
    if line <= len(written) and "\t" in written[line - 1]:
        return Problem(line, "", "not YAML: a tab; indent with spaces")
    said = " ".join(part for part in (error.context, error.problem) if part)
    return Problem(line, "", f"not YAML: {said}")


class _UnreadableError(Exception):
    def __init__(self, line: int, location: Location, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(line, dotted(location), message)


@dataclass(frozen=True)
class _Anchored:
    value: Value
    weight: int


class _Reader:
    """Consumes parser events; `_weight` counts values as if every alias were written out."""

    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        self._events: Iterator[Any] = yaml.parse(text, Loader=Loader)
        self._anchors: dict[str, _Anchored] = {}
        self._weight = 0

    def read(self) -> None:
        next(self._events)
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            raise _UnreadableError(1, (), "the file is empty")
        self._document.value = self._value(next(self._events), ())
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _UnreadableError(_line(after), (), "a second document: write one site in a file")

    def _value(self, event: Any, location: Location) -> Value:
        line = _line(event)
        self._document.lines.setdefault(location, line)
        if len(location) > MAX_DEPTH:
            raise _UnreadableError(line, location[:4], f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, location)
        before = self._weight
        self._count(1, line)
        if event.tag is not None and not (isinstance(event, yaml.ScalarEvent) and event.tag == "!"):
            raise _UnreadableError(
                line, location, f"tag {event.tag} is not read: write the plain value"
            )
        value = self._untagged(event, location)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, self._weight - before)
        return value

    def _untagged(self, event: Any, location: Location) -> Value:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, location)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(location)
        return self._mapping(location)

    def _alias(self, event: Any, location: Location) -> Value:
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            message = f"alias *{event.anchor} names nothing written before it"
            raise _UnreadableError(_line(event), location, message)
        self._count(anchored.weight, _line(event))
        return anchored.value

    def _count(self, weight: int, line: int) -> None:
        self._weight += weight
        if self._weight > MAX_VALUES:
            message = f"more than {MAX_VALUES} values once its aliases are written out"
            raise _UnreadableError(line, (), message)

    def _sequence(self, location: Location) -> Value:
        items: list[Value] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*location, len(items))))
        return items

    def _mapping(self, location: Location) -> Value:
        mapping: dict[str, Value] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, location)
            here = (*location, key)
            if key in mapping:
                first = self._document.lines[here]
                self._problem(
                    _line(event), here, f"written twice (first on line {first}): keep one"
                )
            self._document.lines.setdefault(here, _line(event))
            mapping[key] = self._value(next(self._events), here)
        return mapping

    def _key(self, event: Any, location: Location) -> str:
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
            raise _UnreadableError(_line(event), location, "a key must be plain text")
        if event.value == "<<" and not event.style:
            message = "merge keys (<<) are not read: write the values out"
            raise _UnreadableError(_line(event), location, message)
        return event.value

    def _scalar(self, event: Any, location: Location) -> Value:
        text: str = event.value
        if not text.replace("\n", "").replace("\t", "").isprintable():
            hidden = next(char for char in text if not char.isprintable() and char not in "\n\t")
            self._problem(
                _line(event), location, f"hidden character U+{ord(hidden):04X}: remove it"
            )
        if event.style:
            return text
        return _plain(text)

    def _problem(self, line: int, location: Location, message: str) -> None:
        if len(self._document.problems) < MAX_PROBLEMS:
            self._document.problems.append(Problem(line, dotted(location), message))


def _plain(text: str) -> Value:
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    if DECIMAL.fullmatch(text):
        return float(text)
    return text


def _line(event: Any) -> int:
    return event.start_mark.line + 1
