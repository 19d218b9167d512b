"""What a commit changed, as its reader hands it over: files, modes and lines, and nothing of its author."""

from dataclasses import dataclass

REGULAR = frozenset({"100644", "100755"})
SYMLINK = "120000"
SUBMODULE = "160000"
ABSENT = "000000"


@dataclass(frozen=True)
class Hunk:
    """Lines that were taken out and put in at one place; `at` is the first line's number afterwards."""

    at: int
    removed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass(frozen=True)
class FileChange:
    """One path; a rename is the file that went and the file that came.

    A mode is git's: ABSENT before a file came and after it went.
    """

    path: str
    old_mode: str
    new_mode: str
    hunks: tuple[Hunk, ...] = ()
    binary: bool = False

    @property
    def is_edit(self) -> bool:
        """Whether a regular text file was edited in place, and nothing but its lines."""
        return self.old_mode == self.new_mode and self.new_mode in REGULAR and not self.binary


@dataclass(frozen=True)
class Commit:
    """A commit beside its first parent; without one (a root commit) everything has come."""

    id: str
    parent: str | None
    files: tuple[FileChange, ...]
