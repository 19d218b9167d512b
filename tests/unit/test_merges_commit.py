"""Reading a commit with git: every kind of change, odd repositories, and nothing of the repository obeyed."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.repositories import Repository
from windlass.clients.git_commit import open_commit
from windlass.errors import BadInputError, UnreachableError
from windlass.models.merges import Commit, FileChange, Hunk
from windlass.plans.merges import classify
from windlass.plans.merges_table import Class

SOON = timedelta(seconds=30)
APP = "k8s/applications/web/notes/deployment.yaml"
OLD, NEW = "image: owner/notes:1.4.2\n", "image: owner/notes:1.5.0\n"


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository.init(tmp_path / "repo")


def read(folder: Path, commit: str) -> Commit:
    with open_commit(folder, commit, deadline=SOON) as one:
        return one.read()


def classes(commit: Commit) -> tuple[Class, ...]:
    return classify(commit, {}).classes


def test_an_edit_is_its_lines(repo: Repository):
    parent = repo.commit(**{APP: f"kind: Deployment\n{OLD}"})
    commit = repo.commit(**{APP: f"kind: Deployment\n{NEW}"})

    hunk = Hunk(2, (OLD.rstrip(),), (NEW.rstrip(),))
    assert read(repo.folder, commit) == Commit(
        commit, parent, (FileChange(APP, "100644", "100644", (hunk,)),)
    )


def test_a_bare_repository_a_worktree_and_a_clone_that_borrows_say_the_same(
    repo: Repository, tmp_path: Path
):
    repo.commit(**{APP: OLD})
    commit = repo.commit(**{APP: NEW})
    repo.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    repo.git("clone", "--quiet", "--shared", ".", str(tmp_path / "borrows"))
    repo.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "worktree"))

    said = {read(tmp_path / name, commit) for name in ("repo", "bare.git", "borrows", "worktree")}

    assert len(said) == 1
    assert classes(said.pop()) == (Class.APP,)


def test_a_merge_is_beside_its_first_parent(repo: Repository):
    repo.commit(**{APP: OLD})
    repo.git("checkout", "--quiet", "-b", "side")
    repo.commit(**{"renovate.json": "{}\n"})
    repo.git("checkout", "--quiet", "main")
    first = repo.commit(**{"tofu/main.tf": "# of the main branch\n"})
    repo.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")

    merged = read(repo.folder, repo.git("rev-parse", "HEAD"))

    assert merged.parent == first
    assert [file.path for file in merged.files] == ["renovate.json"]


def test_a_merge_that_brings_nothing_holds_nothing(repo: Repository):
    parent = repo.commit(**{APP: OLD})
    commit = repo.commit()

    assert read(repo.folder, commit) == Commit(commit, parent, ())


def test_in_a_root_commit_everything_has_come(repo: Repository):
    commit = repo.commit(**{APP: NEW, "website/index.md": "hello\n"})

    found = read(repo.folder, commit)

    assert found.parent is None
    assert {file.old_mode for file in found.files} == {"000000"}
    assert classes(found) == (Class.DOCS, Class.PERSON)


def renamed(repo: Repository) -> None:
    repo.git("mv", APP, "k8s/applications/web/notes/statefulset.yaml")


def mode_changed(repo: Repository) -> None:
    (repo.folder / APP).chmod(0o755)
    repo.write(APP, NEW)


def binary(repo: Repository) -> None:
    repo.write(APP, NEW.encode() + b"\0")


def gone(repo: Repository) -> None:
    (repo.folder / APP).unlink()


def link(repo: Repository) -> None:
    gone(repo)
    (repo.folder / APP).symlink_to("/etc/passwd")


def link_of_the_website(repo: Repository) -> None:
    repo.write("website/x", "")
    (repo.folder / "website/link").symlink_to("../k8s")


def submodule(repo: Repository) -> None:
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},website/theme")


def without_a_line_break(repo: Repository) -> None:
    repo.write(APP, OLD.rstrip())


def other_line_ends(repo: Repository) -> None:
    repo.write(APP, NEW.replace("\n", "\r\n"))


def beside_it(repo: Repository) -> None:
    repo.write(APP, NEW + "privileged: true\n")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (renamed, "a file is gone"),
        (renamed, "a new file"),
        (mode_changed, "its mode went from 100644 to 100755"),
        (binary, "binary"),
        (gone, "a file is gone"),
        (link, "a symbolic link"),
        (link_of_the_website, "a symbolic link"),
        (without_a_line_break, "which one is newer cannot be told"),
        (other_line_ends, "more than the version"),
        (beside_it, "lines came or went"),
    ],
)
def test_what_is_more_than_a_version_needs_a_person(
    repo: Repository, change: Callable[[Repository], None], why: str
):
    repo.commit(**{APP: OLD})
    change(repo)

    found = classify(read(repo.folder, repo.commit()), {})

    assert any(why in one.why for one in found.findings if one.cls is Class.PERSON)
    assert Class.APP not in found.classes


def test_a_file_that_ended_without_a_line_break_is_read(repo: Repository):
    repo.commit(**{APP: OLD.rstrip()})
    commit = repo.commit(**{APP: NEW})

    assert read(repo.folder, commit).files[0].hunks == (Hunk(1, (OLD.rstrip(),), (NEW.rstrip(),)),)


def test_a_submodule_needs_a_person_even_where_every_line_is_known(repo: Repository):
    repo.commit(**{"website/index.md": "hello\n"})
    submodule(repo)
    repo.git("commit", "--quiet", "-m", "a theme")

    found = read(repo.folder, repo.git("rev-parse", "HEAD"))

    assert [(file.path, file.new_mode) for file in found.files] == [("website/theme", "160000")]
    assert classes(found) == (Class.PERSON,)


@pytest.mark.parametrize(
    "name",
    [
        "two words.yaml",
        'quo"te.yaml',
        "back\\slash.yaml",
        "tab\t.yaml",
        "line\nbreak.yaml",
        "ü.yaml",
        "-p",
        " -> x",
    ],
)
def test_a_path_is_read_as_it_is(repo: Repository, name: str):
    path = f"k8s/applications/web/notes/{name}"
    repo.commit(**{path: OLD, APP: OLD})
    commit = repo.commit(**{path: NEW, APP: NEW})

    found = {file.path: file for file in read(repo.folder, commit).files}

    assert set(found) == {path, APP}
    assert all(
        file.hunks == (Hunk(1, (OLD.rstrip(),), (NEW.rstrip(),)),) for file in found.values()
    )


def test_a_path_that_is_no_text_is_written_out_and_needs_a_person(repo: Repository):
    repo.commit()
    (Path(os.fsdecode(os.fsencode(repo.folder) + b"/odd\xff"))).write_text("x")

    found = read(repo.folder, repo.commit())

    assert [file.path for file in found.files] == ["odd\\xff"]
    assert classes(found) == (Class.PERSON,)


def test_lines_that_look_like_a_patch_are_lines(repo: Repository):
    odd = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\nBinary files a and b differ\n\\ No newline\n"
    repo.commit(**{APP: f"{odd}{OLD}", "website/z": odd})
    commit = repo.commit(**{APP: f"{NEW}{odd}", "website/z": odd + odd})

    first, second = read(repo.folder, commit).files

    assert (first.path, second.path, first.binary) == (APP, "website/z", False)
    assert [hunk.added for hunk in second.hunks] == [tuple(odd.splitlines())]


@pytest.mark.parametrize(
    "short", ["HEAD", "main", "", "-p", "--output=x", "0" * 39, "A" * 40, "0" * 41]
)
def test_only_a_whole_id_names_a_commit(repo: Repository, short: str):
    commit = repo.commit(**{APP: NEW})

    for given in (short, commit[:12], f"{commit}^"):
        with pytest.raises(BadInputError, match="no whole commit id"):
            read(repo.folder, given)


def test_what_is_not_here_is_said(repo: Repository):
    commit = repo.commit(**{APP: NEW})
    tree = repo.git("rev-parse", f"{commit}^{{tree}}")
    repo.git("tag", "-a", "-m", "a tag", "v1")

    with pytest.raises(BadInputError, match="has no commit 000"):
        read(repo.folder, "0" * 40)
    with pytest.raises(BadInputError, match="is a tree and no commit"):
        read(repo.folder, tree)
    with pytest.raises(BadInputError, match="is a tag and no commit"):
        read(repo.folder, repo.git("rev-parse", "v1"))
    for folder in (repo.folder / "k8s", repo.folder / "absent", repo.folder / APP):
        with pytest.raises(BadInputError, match="Git repository"):
            read(folder, commit)


def test_a_shallow_clone_does_not_pass_for_a_root_commit(repo: Repository, tmp_path: Path):
    repo.commit(**{APP: OLD})
    commit = repo.commit(**{APP: NEW})
    repo.git("clone", "--quiet", "--depth=1", f"file://{repo.folder}", str(tmp_path / "shallow"))

    with pytest.raises(BadInputError, match="the clone is shallow"):
        read(tmp_path / "shallow", commit)


def test_a_partial_clone_is_refused_and_fetches_nothing(repo: Repository, tmp_path: Path):
    repo.commit(**{APP: OLD})
    commit = repo.commit(**{APP: NEW})
    repo.git("config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial.git"
    repo.git(
        "clone", "--quiet", "--bare", "--filter=blob:none", f"file://{repo.folder}", str(partial)
    )

    with pytest.raises(BadInputError, match="cannot be read, or not in full"):
        read(partial, commit)


def test_nothing_of_the_repository_is_obeyed(repo: Repository, tmp_path: Path):
    parent = repo.commit(**{APP: OLD})
    commit = repo.commit(**{APP: NEW, ".gitattributes": "*.yaml binary diff=mine\n"})
    plain = read(repo.folder, commit)
    fired = tmp_path / "fired"
    program = f"touch {fired}; false"
    for key in (
        "diff.external",
        "diff.mine.command",
        "diff.mine.textconv",
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
    ):
        repo.git("config", key, program)
    for key in ("diff.noprefix", "diff.mnemonicPrefix", "diff.renames", "color.ui"):
        repo.git("config", key, "true" if key != "color.ui" else "always")
    (repo.folder / ".git/info/attributes").write_text("*.yaml binary diff=mine\n")
    repo.git("replace", commit, parent)
    repo.write(
        ".git/config", (repo.folder / ".git/config").read_text() + "[include]\n\tpath = /absent\n["
    )

    assert read(repo.folder, commit) == plain
    assert classes(plain) == (Class.APP, Class.PERSON)
    assert not fired.exists()


def test_the_repository_is_left_as_it_was(repo: Repository):
    repo.commit(**{APP: OLD})
    commit = repo.commit(**{APP: NEW})

    def files() -> set[tuple[Path, int]]:
        return {(path, path.stat().st_mtime_ns) for path in repo.folder.rglob("*")}

    before = files()
    read(repo.folder, commit)
    assert files() == before


def test_a_repository_of_sha256_is_read_alike(tmp_path: Path):
    repo = Repository.init(tmp_path / "new", "--object-format=sha256")
    root = repo.commit(**{APP: OLD})
    commit = repo.commit(**{APP: NEW})

    assert classes(read(repo.folder, commit)) == (Class.APP,)
    assert read(repo.folder, root).files[0].old_mode == "000000"


def test_a_diff_of_50_megabytes_is_one_error(repo: Repository):
    repo.commit()
    commit = repo.commit(**{"website/large": "a line of thirty-two characters.\n" * 1_600_000})

    with pytest.raises(BadInputError, match="too large to classify: more than 32 MiB"):
        read(repo.folder, commit)


def test_a_diff_of_100000_files_is_one_error(repo: Repository):
    repo.commit()
    blob = repo.git("hash-object", "-w", "--stdin", said="x\n")
    folder = repo.git("mktree", said="".join(f"100644 blob {blob}\t{i}\n" for i in range(1000)))
    tree = repo.git("mktree", said="".join(f"040000 tree {folder}\t{i}\n" for i in range(100)))
    commit = repo.git("commit-tree", "-m", "many", "-p", "HEAD", tree)

    with pytest.raises(BadInputError, match="too large to classify: 100000 files"):
        read(repo.folder, commit)


def test_a_git_that_hangs_ends_with_the_deadline(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    commit = repo.commit(**{APP: NEW})
    slow = tmp_path / "bin/git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nwhile :; do echo x; sleep 0.1; done\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")

    began = time.monotonic()
    with (
        pytest.raises(UnreachableError, match="in time"),
        open_commit(repo.folder, commit, deadline=timedelta(seconds=0.5)) as one,
    ):
        one.read()

    assert time.monotonic() - began < 10


def test_no_git_is_said(repo: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    commit = repo.commit(**{APP: NEW})
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BadInputError, match="no program called git"):
        read(repo.folder, commit)


def test_the_files_that_were_asked_for_are_those_of_the_commit(repo: Repository):
    kustomization = "k8s/infrastructure/controllers/kustomization.yaml"
    commit = repo.commit(**{kustomization: "resources: [a]\n", APP: NEW})
    repo.commit(**{kustomization: "resources: [b]\n"})

    with open_commit(repo.folder, commit, deadline=SOON) as one:
        assert one.texts(lambda path: path == kustomization) == {kustomization: "resources: [a]\n"}
        assert one.texts(lambda _: False) == {}
