"""A Git repository for a test: files are written, commits are made, and nobody's settings count."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{
        f"GIT_{who}_{what}": "someone@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
}


@dataclass(frozen=True)
class Repository:
    """A Git repository of the test's own."""

    folder: Path

    @classmethod
    def init(cls, folder: Path, *options: str) -> Self:
        folder.mkdir()
        made = cls(folder)
        made.git("init", "--quiet", "--initial-branch=main", *options)
        return made

    def git(self, *argv: str, said: str | None = None) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.folder), *argv],
            env=ENVIRONMENT, input=said, text=True, capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout.strip()

    def write(self, path: str, text: str | bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def commit(self, **files: str | bytes) -> str:
        for path, text in files.items():
            self.write(path, text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "a title that says nothing")
        return self.git("rev-parse", "HEAD")
