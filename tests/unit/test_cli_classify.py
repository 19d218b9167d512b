"""`windlass classify`: what a person and a program are told, and the exit codes."""

import json
from pathlib import Path

import pytest

from tests.unit.repositories import Repository
from windlass.cli import main
from windlass.cli.exits import BAD_INPUT, DONE, NEEDS_HUMAN

APP = "k8s/applications/web/notes/deployment.yaml"
OLD, NEW = "image: owner/notes:1.4.2\n", "image: owner/notes:1.5.0\n"
EVIL = "x\n\x1b[2J\u202e"


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository.init(tmp_path / "repo")


def classify(folder: Path, commit: str, *more: str) -> int:
    return main(["classify", "--repo", str(folder), "--commit", commit, *more])


def test_a_program_gets_everything(repo: Repository, capsys: pytest.CaptureFixture[str]):
    parent = repo.commit(**{APP: OLD, "website/x.md": "a\n"})
    commit = repo.commit(**{APP: NEW, "website/x.md": "b\n"})

    assert classify(repo.folder, commit, "--json") == DONE

    assert json.loads(capsys.readouterr().out) == {
        "commit": commit,
        "parent": parent,
        "classes": [
            {
                "class": "app",
                "files": [APP],
                "lines": [{"file": APP, "line": 1, "removed": OLD.rstrip(), "added": NEW.rstrip()}],
                "why": "a version of an image goes forward",
            },
            {
                "class": "docs",
                "files": ["website/x.md"],
                "lines": [],
                "why": "by its path, whatever the line",
            },
        ],
        "request": {
            "verb": "upgrade",
            "commit": commit,
            "talos": None,
            "kubernetes": None,
            "extensions": [],
            "stages": [{"class": "app", "targets": ["apps-web/notes"]}],
            "left_alone": ["docs"],
            "needs_person": False,
        },
        "needs_person": False,
        "consequence": "applications restart with the merge: Argo CD syncs them by itself",
    }


def test_a_person_reads_what_it_means(repo: Repository, capsys: pytest.CaptureFixture[str]):
    repo.commit(**{APP: OLD})
    commit = repo.commit(**{APP: NEW, "renovate.json": "{}\n"})

    assert classify(repo.folder, commit) == NEEDS_HUMAN

    said = capsys.readouterr().out
    assert f"{commit} holds: app, needs a person" in said
    assert f"  {APP}:1: 1.4.2 to 1.5.0" in said
    assert "the table has no row for this path\n  renovate.json" in said
    assert "app: apps-web/notes" in said
    assert "A person is needed" in said


def test_a_root_commit_has_no_parent(repo: Repository, capsys: pytest.CaptureFixture[str]):
    commit = repo.commit(**{"website/x.md": "a\n"})

    assert classify(repo.folder, commit) == DONE
    assert "(none: a root commit)" in capsys.readouterr().out
    assert classify(repo.folder, commit, "--json") == DONE
    assert json.loads(capsys.readouterr().out)["parent"] is None


def test_a_first_line_that_goes_is_told(repo: Repository, capsys: pytest.CaptureFixture[str]):
    repo.commit(**{APP: f"first: 1\n{OLD}"})
    commit = repo.commit(**{APP: OLD})

    assert classify(repo.folder, commit, "--json") == NEEDS_HUMAN

    (held,) = json.loads(capsys.readouterr().out)["classes"]
    assert held["lines"] == [{"file": APP, "line": 0, "removed": "first: 1", "added": None}]


@pytest.mark.parametrize("commit", ["HEAD", "0" * 40, "1234567"])
def test_bad_input_ends_with_its_code(
    repo: Repository, capsys: pytest.CaptureFixture[str], commit: str
):
    repo.commit()

    assert classify(repo.folder, commit) == BAD_INPUT
    assert capsys.readouterr().err.startswith("windlass: ")
    assert classify(repo.folder / "absent", "0" * 40, "--json") == BAD_INPUT
    assert json.loads(capsys.readouterr().out)["exit"] == BAD_INPUT


def test_what_a_commit_holds_does_not_speak_to_the_terminal(
    repo: Repository, capsys: pytest.CaptureFixture[str]
):
    repo.commit(**{APP: OLD})
    commit = repo.commit(**{APP: f"image: {EVIL}\n".replace("\n", " ", 1), f"k8s/{EVIL}": "x\n"})

    assert classify(repo.folder, commit) == NEEDS_HUMAN

    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "k8s/x\\x0a\\x1b[2J\\u202e" in said


def test_many_lines_of_one_reason_are_cut_for_a_person_only(
    repo: Repository, capsys: pytest.CaptureFixture[str]
):
    repo.commit()
    commit = repo.commit(**{f"notes/{i}": "x\n" for i in range(9)})

    classify(repo.folder, commit)
    assert "... and 4 more; --json has them all" in capsys.readouterr().out
    classify(repo.folder, commit, "--json")
    assert len(json.loads(capsys.readouterr().out)["classes"][0]["files"]) == 9


def test_the_tree_of_the_commit_proves_what_is_inert(
    repo: Repository, capsys: pytest.CaptureFixture[str]
):
    folder = "k8s/infrastructure/controllers"
    chart = f"{folder}/node-feature-discovery/kustomization.yaml"
    repo.commit(
        **{chart: "version: 0.17.3\n", f"{folder}/kustomization.yaml": "resources: [argocd]\n"}
    )
    commit = repo.commit(**{chart: "version: 0.17.4\n"})
    # Wired later: it was inert when it was merged.
    repo.commit(**{f"{folder}/kustomization.yaml": "resources: [argocd, node-feature-discovery]\n"})

    assert classify(repo.folder, commit, "--json") == DONE

    (held,) = json.loads(capsys.readouterr().out)["classes"]
    assert held["class"] == "inert"
