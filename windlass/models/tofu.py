"""An OpenTofu folder as plain values: what its files say, before anybody decides what it means."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Expression:
    """A value that only OpenTofu can work out; its text is kept for the person who must."""

    text: str


TofuValue = (
    None | bool | int | float | str | Expression | list["TofuValue"] | dict[str, "TofuValue"]
)
TofuObject = dict[str, TofuValue]


@dataclass(frozen=True)
class Assignment:
    """One file that sets a variable, in the order in which OpenTofu reads them: the last one wins."""

    file: str
    value: TofuValue


@dataclass(frozen=True)
class CommentedFlag:
    """A switch that is commented out: one character away from being armed."""

    file: str
    line: int
    text: str


@dataclass(frozen=True)
class RootSet:
    """An ApplicationSet at the root of the Git tree: its folder, and the Applications it makes, by folder.

    `starts` are the files that bring it up: its project, where there is one, and itself.
    """

    folder: str
    starts: tuple[str, ...]
    repo: str
    revision: str
    apps: dict[str, str]


@dataclass(frozen=True)
class GitTree:
    """The Git tree beside an OpenTofu folder, as far as a bootstrap needs it. Paths are from the repository's root."""

    sets: tuple[RootSet, ...]
    argocd: str | None
    cilium: str | None


@dataclass(frozen=True)
class TofuFolder:
    """What a folder sets and declares.

    `declared` are the attributes that the type of a variable names, for variables that are objects or
    maps of objects: OpenTofu drops all others without a word.
    """

    assignments: dict[str, tuple[Assignment, ...]]
    defaults: TofuObject
    modules: dict[str, TofuObject]
    declared: dict[str, frozenset[str]]
    commented_flags: tuple[CommentedFlag, ...]
    extensions: tuple[str, ...]

    def value(self, name: str) -> TofuValue:
        """The value of a variable: what the last file says, as a whole, or its default."""
        if given := self.assignments.get(name):
            return given[-1].value
        return self.defaults.get(name)
