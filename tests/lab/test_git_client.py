"""The Git client against real repositories: revisions, checkouts, and what is never run or said."""

import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.lab.wire_peer import Drip, Peer, Request, Says, answer, self_signed
from windlass.clients.git import GitClient
from windlass.errors import BadInputError, RefusedError, UnreachableError

SOON = timedelta(seconds=10)
SECRET = "bot:canary-pass-51"


def git(folder: Path, *argv: str) -> str:
    who = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t"}
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_COMMITTER_EMAIL": "t@t"} | who
    done = subprocess.run(
        ["git", *argv], cwd=folder, env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        git(folder, "init", "-q", "-b", "main")
        self.first = self.commit("one.yaml", "first")
        git(folder, "tag", "-a", "-m", "v1", "v1")
        git(folder, "tag", "light")
        self.last = self.commit("one.yaml", "second")

    def commit(self, name: str, text: str) -> str:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-qm", text)
        return git(self.folder, "rev-parse", "HEAD")

    def client(self) -> GitClient:
        return GitClient(f"file://{self.folder}", credentials=None, deadline=SOON)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def test_a_branch_a_tag_and_a_commit_name_a_commit(repository: Repository):
    client = repository.client()

    assert client.resolve("main") == repository.last
    assert client.resolve("HEAD") == repository.last
    assert client.resolve("v1") == repository.first
    assert client.resolve("light") == repository.first
    assert client.resolve(repository.first) == repository.first


def test_a_revision_that_is_not_there_is_bad_input(repository: Repository):
    with pytest.raises(BadInputError, match="no revision nowhere"):
        repository.client().resolve("nowhere")


def test_a_name_that_only_ends_alike_is_another(repository: Repository):
    git(repository.folder, "branch", "feature/other")

    with pytest.raises(BadInputError, match="no revision other"):
        repository.client().resolve("other")


@pytest.mark.parametrize("revision", ["--upload-pack=touch x", "-x", "a b", "$(id)", "a..b:c"])
def test_a_revision_is_never_an_option(repository: Repository, revision: str):
    with pytest.raises(BadInputError, match="no Git revision"):
        repository.client().resolve(revision)


def test_a_checkout_is_the_commits_files_and_no_repository(repository: Repository, tmp_path: Path):
    into = tmp_path / "out"

    repository.client().checkout(repository.first, into)

    assert (into / "one.yaml").read_text() == "first"
    assert not (into / ".git").exists()
    assert into.stat().st_mode & 0o077 == 0


def test_a_checkout_does_not_mix_with_what_is_there(repository: Repository, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()

    with pytest.raises(BadInputError, match="not empty"):
        repository.client().checkout(repository.first, tmp_path / "out")


def test_a_commit_that_is_not_there_is_refused(repository: Repository, tmp_path: Path):
    with pytest.raises(RefusedError):
        repository.client().checkout("0" * 39 + "1", tmp_path / "out")


def test_a_repository_that_is_not_there_is_refused(tmp_path: Path):
    client = GitClient(f"file://{tmp_path}/absent", credentials=None, deadline=SOON)

    with pytest.raises(RefusedError, match="absent"):
        client.resolve("main")


def test_settings_and_hooks_of_the_user_are_not_read(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home = tmp_path / "home"
    hooks = home / "hooks"
    hooks.mkdir(parents=True)
    hook = hooks / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o700)
    (home / ".gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))

    repository.client().checkout(repository.last, tmp_path / "out")

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "url",
    ["ext::sh -c id", "http://git.test/x", "git://git.test/x", "-oProxyCommand=x", "ftp://x/y", ""],
)
def test_only_file_https_and_ssh_are_spoken(url: str):
    with pytest.raises(BadInputError, match="write https://"):
        GitClient(url, credentials=None, deadline=SOON)


def test_a_url_with_a_password_is_refused_without_repeating_it():
    with pytest.raises(BadInputError) as raised:
        GitClient("https://u:canary@git.test/x.git", credentials=None, deadline=SOON)

    assert "canary" not in str(raised.value)


class Forge:
    """A web server that is asked for a repository; git is told to trust it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says: Says = answer(404, "Not Found")
        crt, key = self_signed(folder, ["127.18.0.4"])
        monkeypatch.setenv("GIT_SSL_CAINFO", str(crt))
        self.peer = Peer("127.18.0.4", crt, key, self._answer)

    def _answer(self, _request: Request) -> Says:
        return self.says

    def client(self, credentials: str | None = SECRET, limit: timedelta = SOON) -> GitClient:
        secret = SecretStr(credentials) if credentials else None
        url = f"https://127.18.0.4:{self.peer.port}/x.git"
        return GitClient(url, credentials=secret, deadline=limit)


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    one = Forge(tmp_path, monkeypatch)
    with one.peer:
        yield one


def test_credentials_go_in_a_header_and_never_into_an_error(forge: Forge):
    forge.says = answer(403, "Forbidden", b"no", "text/plain")

    with pytest.raises((RefusedError, UnreachableError)) as raised:
        forge.client().resolve("main")

    assert forge.peer.requests[0].headers["authorization"].startswith("Basic ")
    assert "canary" not in str(raised.value)


def test_a_forge_that_asks_who_we_are_is_not_answered_by_a_prompt(forge: Forge):
    forge.says = (
        b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
    )

    with pytest.raises(RefusedError):
        forge.client(None).resolve("main")


def test_a_forge_that_drips_meets_the_deadline(forge: Forge):
    forge.says = Drip(answer(200, "OK", b"x" * 1000), pause_s=0.05)

    with pytest.raises(UnreachableError, match="got no answer"):
        forge.client(limit=timedelta(seconds=1)).resolve("main")


def test_a_forge_that_is_not_trusted_gets_not_one_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = Forge(tmp_path, monkeypatch)
    trusted, _ = self_signed(tmp_path, ["127.18.0.4"])
    monkeypatch.setenv("GIT_SSL_CAINFO", str(trusted))

    with other.peer:
        with pytest.raises(RefusedError, match="certificate"):
            other.client().resolve("main")

        assert other.peer.received == 0
