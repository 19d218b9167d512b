"""Reading commits of real Git repositories: revisions, folders, files. Nothing is ever written to one."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from windlass.lab.faults import Faults


class GitError(Exception):
    """The repository or the revision cannot be had; the message is what Argo CD would show."""


class Repositories:
    """Repositories by the URL that manifests use, with or without `.git`; `file://` needs no entry.

    Holds checkouts in a folder of its own: use as a context manager.
    """

    def __init__(self, known: Mapping[str, Path], faults: Faults | None = None) -> None:
        self._known = known
        self._faults = faults
        self._trees = tempfile.TemporaryDirectory(prefix="windlass-lab-git-")
        self._making = asyncio.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._trees.cleanup()

    async def resolve(self, url: str, revision: str) -> str:
        """The commit that a branch, tag, HEAD or commit id names now."""
        folder = self._folder(url)
        wanted = revision or "HEAD"
        try:
            said = await _git(folder, "rev-parse", "--verify", "--quiet", f"{wanted}^{{commit}}")
        except GitError as error:
            raise GitError(f"unable to resolve '{wanted}' to a commit SHA in {url}") from error
        return said.strip()

    async def folders(self, url: str, commit: str) -> list[str]:
        """Every folder of the commit, sorted."""
        said = await _git(self._folder(url), "ls-tree", "-r", "-d", "-z", "--name-only", commit)
        return sorted(name for name in said.split("\0") if name)

    async def checkout(self, url: str, commit: str) -> Path:
        """A folder with the commit's files; made once, to be read only."""
        folder = Path(self._trees.name) / commit
        async with self._making:
            if not folder.exists():
                fresh = Path(tempfile.mkdtemp(dir=self._trees.name))
                archive = fresh / "commit.tar"
                await _git(self._folder(url), "archive", "--output", str(archive), commit)
                (fresh / "tree").mkdir()
                await _run("tar", "-xf", str(archive), "-C", str(fresh / "tree"))
                (fresh / "tree").rename(folder)
        return folder

    def _folder(self, url: str) -> Path:
        if self._faults is not None and self._faults.fires("git-unreachable", url=url):
            raise GitError(f"failed to list refs: {url}: dial tcp: connect: connection refused")
        if url.startswith("file://"):
            return Path(url.removeprefix("file://"))
        for known, folder in self._known.items():
            if known.removesuffix(".git") == url.removesuffix(".git"):
                return folder
        raise GitError(f"failed to list refs: {url} is no repository of this lab")


async def _git(folder: Path, *args: str) -> str:
    return await _run("git", "-c", "safe.directory=*", "-C", str(folder), *args)


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise GitError(f"{command[0]} failed: {err.decode(errors='replace').strip()}")
    return out.decode()
