"""The site's Git repository, through the `git` program: what a revision is, and its files.

git runs with a configuration of its own: no prompts, no hooks, no protocol but file, https and ssh,
and none of the user's settings. Credentials never stand on a command line.
"""

import base64
import os
import re
import shutil
import signal
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from windlass.errors import BadInputError, RefusedError, UnreachableError

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
SPEAKS = re.compile(r"(https://|ssh://|file://|/|[\w.-]+@[\w.-]+:)\S*")
# What git says when the repository answered, and the answer is no.
REFUSED = re.compile(
    r"(?i)authentication failed|permission denied|could not read username|access denied|not found"
    r"|does not exist|does not appear to be a git repository|not our ref|repository .* is empty"
    r"|certificate|host key verification|not allowed"
)
LONGEST = 600


class GitClient:
    """One repository. Every call runs git once or twice, within one deadline each."""

    def __init__(self, repo: str, *, credentials: SecretStr | None, deadline: timedelta) -> None:
        """`credentials` are `user:password` (or a token) for https.

        Raises:
            BadInputError: the URL is of no protocol that is spoken, or carries credentials itself.
        """
        if SPEAKS.fullmatch(repo) is None or repo.startswith("-"):
            raise BadInputError(f"Git repository {repo}: write https://, ssh:// or file://")
        if re.match(r"\w+://[^/]*:[^/]*@", repo):
            raise BadInputError("the Git URL carries a password: name it in gitops.credentials")
        self._repo = repo
        self._credentials = credentials
        self._deadline = deadline

    def resolve(self, revision: str) -> str:
        """Return the commit a branch, a tag or a full commit id names now.

        Raises:
            UnreachableError: no answer. RefusedError: the repository says no.
            BadInputError: it has no such revision.
        """
        if COMMIT.fullmatch(revision):
            return revision
        if not re.fullmatch(r"[\w./+-]+", revision) or revision.startswith("-"):
            raise BadInputError(f"{revision!r} is no Git revision")
        lines = self._git("ls-remote", "--", self._repo, revision, f"{revision}^{{}}").splitlines()
        found = {ref: commit for commit, _, ref in (line.partition("\t") for line in lines)}
        wanted = (
            revision,
            f"refs/heads/{revision}",
            f"refs/tags/{revision}^{{}}",
            f"refs/tags/{revision}",
        )
        for ref in wanted:
            if ref in found:
                return found[ref]
        raise BadInputError(f"{self._repo} has no revision {revision}")

    def checkout(self, commit: str, into: Path) -> None:
        """Put the files of a commit into an empty folder; it is no repository afterwards.

        Raises as `resolve` does, and BadInputError when the folder is not empty.
        """
        if COMMIT.fullmatch(commit) is None:
            raise BadInputError(f"{commit!r} is no Git commit")
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(into.iterdir()):
            raise BadInputError(f"{into} is not empty: a checkout would mix with it")
        self._git("init", "--quiet", "--template=", "--", str(into))
        self._git(
            "-C", str(into), "fetch", "--quiet", "--depth=1", "--no-tags", "--", self._repo, commit
        )
        self._git("-C", str(into), "checkout", "--quiet", "--detach", "FETCH_HEAD")
        shutil.rmtree(into / ".git")

    def _git(self, *argv: str) -> str:
        with tempfile.TemporaryDirectory(prefix="windlass-git-") as home:
            try:
                process = subprocess.Popen(
                    ["git", *argv],
                    env=_environment(home) | self._identity(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise BadInputError("there is no program called git on this machine") from error
            with process:
                stdout, stderr = self._finish(process)
        if process.returncode == 0:
            return stdout
        said = stderr.strip()[-LONGEST:]
        kind = RefusedError if REFUSED.search(said) else UnreachableError
        raise kind(f"Git, {self._repo}: {said}")

    def _finish(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        try:
            return process.communicate(timeout=self._deadline.total_seconds())
        except subprocess.TimeoutExpired as error:
            # git leaves the network to a child of its own, which must end with it.
            os.killpg(process.pid, signal.SIGKILL)
            raise UnreachableError(
                f"Git got no answer from {self._repo} within {self._deadline}"
            ) from error

    def _identity(self) -> dict[str, str]:
        """Hand the credentials over in the environment, as a header for this repository only."""
        if self._credentials is None:
            return {}
        basic = base64.b64encode(self._credentials.get_secret_value().encode()).decode()
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{self._repo}.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
        }


def _environment(home: str) -> dict[str, str]:
    kept = ("PATH", "GIT_SSL_CAINFO", "SSH_AUTH_SOCK", "https_proxy", "HTTPS_PROXY")
    return {key: os.environ[key] for key in kept if key in os.environ} | {
        "HOME": home,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_ALLOW_PROTOCOL": "file:https:ssh",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes",
        "LC_ALL": "C",
    }
