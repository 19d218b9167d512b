"""One commit of a local repository beside its first parent, through the `git` program: files, modes, lines.

Only the repository's objects are read, from a repository of our own beside them: its configuration,
hooks, attributes, replacements and remotes are never looked at, and nothing is written to it.
"""

import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, cast

from windlass.clients.git_commit.patch import entries, with_lines
from windlass.errors import BadInputError, UnreachableError
from windlass.models.merges import Commit

FORMATS = {40: "sha1", 64: "sha256"}
# What git calls the tree without files; every repository has it.
NO_FILES = {
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
# A year of merges is smaller than this; what is larger is no merge to decide about.
MOST_BYTES = 32 * 1024 * 1024
MOST_FILES = 20_000
CHUNK = 1 << 16
LONGEST = 600


class CommitReader:
    """Reads one commit. All of its calls share one deadline."""

    def __init__(self, repo: Path, git_dir: Path, commit: str, until: float) -> None:
        self._repo = repo
        self._git_dir = git_dir
        self._commit = commit
        self._until = until

    def read(self) -> Commit:
        """The commit beside its first parent, whatever other parents it has.

        Raises:
            BadInputError: it is not here, is no commit, or is too large. UnreachableError: no answer in time.
        """
        parent = self._first_parent()
        before = parent or NO_FILES[FORMATS[len(self._commit)]]
        between = ("-r", "--no-renames", before, self._commit)
        changed = entries(self._git("diff-tree", "--raw", "-z", "--no-abbrev", *between))
        if len(changed) > MOST_FILES:
            raise self._too_large(f"{len(changed)} files, and {MOST_FILES} are the most")
        options = ("--patch", "--unified=0", "--full-index", "--no-ext-diff", "--no-textconv")
        patch = self._git("diff-tree", *options, *between) if changed else b""
        return Commit(self._commit, parent, with_lines(changed, patch))

    def texts(self, wanted: Callable[[str], bool]) -> dict[str, str]:
        """The files of the commit whose path is wanted. Raises as `read` does."""
        listed = self._git("ls-tree", "-r", "-z", "--full-tree", self._commit).split(b"\0")
        found: dict[str, bytes] = {}
        for line in filter(None, listed):
            about, _, path = line.partition(b"\t")
            name = path.decode(errors="backslashreplace")
            if about.startswith(b"100") and wanted(name):
                found[name] = about.split(b" ")[2]
        if not found:
            return {}
        blobs = self._git("cat-file", "--batch", asked=b"\n".join(found.values()) + b"\n")
        return dict(zip(found, _contents(blobs), strict=True))

    def _first_parent(self) -> str | None:
        self._need(self._commit, "fetch the branch it was merged to")
        kind = self._git("cat-file", "-t", self._commit).decode().strip()
        if kind != "commit":
            raise BadInputError(f"{self._commit} is a {kind} and no commit")
        headers = self._git("cat-file", "commit", self._commit).partition(b"\n\n")[0]
        parents = re.findall(rb"(?m)^parent ([0-9a-f]+)$", headers)
        if not parents:
            return None
        parent = parents[0].decode()
        self._need(parent, "the clone is shallow; fetch more of its history")
        return parent

    def _need(self, commit: str, hint: str) -> None:
        answer = self._git("cat-file", "--batch-check", asked=f"{commit}\n".encode())
        if answer.rstrip().endswith(b" missing"):
            raise BadInputError(f"{self._repo} has no commit {commit}: {hint}")

    def _too_large(self, what: str) -> BadInputError:
        return BadInputError(f"the change of {self._commit} is too large to classify: {what}")

    def _git(self, *argv: str, asked: bytes = b"") -> bytes:
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
            stdin.write(asked)
            stdin.seek(0)
            process = _start(argv, self._git_dir, stdin, stderr)
            try:
                said = self._collect(cast(IO[bytes], process.stdout))
            finally:
                _end(process)
            stderr.seek(0)
            complaint = stderr.read(LONGEST).decode(errors="replace").strip()
        if process.returncode != 0:
            raise BadInputError(f"{self._repo} cannot be read, or not in full: {complaint}")
        return said

    def _collect(self, stdout: IO[bytes]) -> bytes:
        """What git says until it closes its mouth; too much or too late is an error."""
        said = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0, self._until - time.monotonic())):
                    raise UnreachableError(f"git did not read {self._repo} in time")
                chunk = os.read(stdout.fileno(), CHUNK)
                if not chunk:
                    return bytes(said)
                said += chunk
                if len(said) > MOST_BYTES:
                    raise self._too_large(f"more than {MOST_BYTES // 1024 // 1024} MiB")


@contextmanager
def open_commit(repo: Path, commit: str, *, deadline: timedelta) -> Generator[CommitReader]:
    """Look at a commit of the repository in a folder, bare or not, by its whole id.

    Raises:
        BadInputError: the id is none or not whole, or the folder holds no repository.
    """
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        raise BadInputError(
            f"{commit!r} is no whole commit id: write all its 40 (or 64) digits, in lower case; "
            "git rev-parse shows them"
        )
    until = time.monotonic() + deadline.total_seconds()
    objects = _objects(repo)
    with tempfile.TemporaryDirectory(prefix="windlass-git-") as home:
        git_dir = Path(home) / "beside.git"
        _lay_beside(git_dir, objects, FORMATS[len(commit)])
        yield CommitReader(repo, git_dir, commit, until)


def _lay_beside(git_dir: Path, objects: Path, object_format: str) -> None:
    """A repository with a configuration of ours and with the objects of the other."""
    for folder in ("objects/info", "refs"):
        (git_dir / folder).mkdir(mode=0o700, parents=True)
    (git_dir / "HEAD").write_text("ref: refs/heads/none\n")
    (git_dir / "config").write_text(
        "[core]\n\trepositoryformatversion = 1\n\tbare = true\n"
        f"[extensions]\n\tobjectformat = {object_format}\n"
    )
    (git_dir / "objects/info/alternates").write_bytes(os.fsencode(objects) + b"\n")


def _objects(repo: Path) -> Path:
    try:
        git_dir = _git_dir(repo.resolve())
        common = git_dir / "commondir"
        if common.is_file():
            git_dir = git_dir / common.read_text().strip()
        objects = (git_dir / "objects").resolve()
    except (OSError, ValueError) as error:
        raise BadInputError(f"{repo} cannot be read as a Git repository: {error}") from error
    if not objects.is_dir() or not (git_dir / "HEAD").exists():
        raise BadInputError(f"{repo} is no Git repository: name its top folder, or a bare one")
    if "\n" in str(objects):
        raise BadInputError(f"{str(repo)!r} has a line break in its name")
    return objects


def _git_dir(repo: Path) -> Path:
    """A folder's `.git`, where it is a folder or leads to one (a worktree, a submodule); or itself."""
    inside = repo / ".git"
    if inside.is_file():
        return repo / inside.read_text().removeprefix("gitdir:").strip()
    return inside if inside.is_dir() else repo


def _start(
    argv: tuple[str, ...], git_dir: Path, stdin: IO[bytes], stderr: IO[bytes]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            ["git", *argv],
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(git_dir.parent),
                "GIT_DIR": str(git_dir),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_ATTR_NOSYSTEM": "1",
                "GIT_ALLOW_PROTOCOL": "",
                "GIT_TERMINAL_PROMPT": "0",
                "LC_ALL": "C",
            },
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=git_dir,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise BadInputError("there is no program called git on this machine") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no git behind: it has closed its output, or it is not wanted any more."""
    if process.stdout is not None:
        process.stdout.close()
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _contents(blobs: bytes) -> Generator[str]:
    """The files in the answer of `cat-file --batch`: a line that ends with the size, then so many bytes."""
    at = 0
    while at < len(blobs):
        end = blobs.index(b"\n", at)
        size = int(blobs[at:end].rsplit(b" ", 1)[1])
        at = end + 1
        yield blobs[at : at + size].decode(errors="backslashreplace")
        at += size + 1
