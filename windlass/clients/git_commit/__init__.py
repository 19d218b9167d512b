"""One commit of a local Git repository: its files and its changed lines. Reads, and obeys nothing of it."""

from windlass.clients.git_commit.reader import open_commit

__all__ = ["open_commit"]
