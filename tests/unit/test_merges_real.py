"""Real merges of a real repository, each against the classes that a person read out of it."""

import csv
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.peers import missing
from windlass.models.merges import Commit, FileChange, Hunk
from windlass.plans.merges import Classification, classify
from windlass.plans.merges_inert import proves
from windlass.plans.merges_table import Class

NAMED = "WINDLASS_REFERENCE_DATA"
DATA = Path(os.environ.get(NAMED, Path(__file__).parents[3] / "shared/data")) / "reference-homelab"
EXPECTED = Path(__file__).parent / "merges_expected.tsv"
# The data keeps 40 lines a side at most, and no modes.
MOST_LINES = 40
COUNTED = {
    Class.APP: 62,
    Class.INFRA: 45,
    Class.DOCS: 8,
    Class.TOFU_PROVIDER: 6,
    Class.IMAGE: 3,
    Class.INERT: 2,
    Class.KUBERNETES: 1,
    Class.CI: 1,
    Class.PERSON: 20,
}


@pytest.fixture(scope="module")
def merges() -> dict[str, Classification]:
    if not DATA.is_dir():
        missing(
            f"{DATA} is not there: put the reference data beside the repository, or name its folder in {NAMED}"
        )
    rows = [json.loads(line) for line in (DATA / "merges.jsonl").read_text().splitlines()]
    tree = _tree()
    return {row["commit"]: classify(_commit(row), tree) for row in rows}


def _tree() -> dict[str, str]:
    """What proves that a place is inert, as the repository has it today."""
    today = DATA / "today"
    files = {path.relative_to(today).as_posix(): path for path in today.glob("k8s/**/*.y*ml")}
    return {name: path.read_text() for name, path in files.items() if proves(name)}


def _commit(row: dict[str, Any]) -> Commit:
    files = tuple(_file(one["path"], one["removed"], one["added"]) for one in row["files"])
    return Commit(row["commit"], "0" * 40, files)


def _file(path: str, removed: list[str], added: list[str]) -> FileChange:
    is_cut = max(len(removed), len(added)) >= MOST_LINES
    came, gone = not removed and is_cut, not added and is_cut
    hunk = Hunk(1, tuple(removed), tuple(added))
    return FileChange(path, "000000" if came else "100644", "000000" if gone else "100644", (hunk,))


def _expected() -> dict[str, tuple[str, ...]]:
    with EXPECTED.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {row["commit"]: tuple(filter(None, row["classes"].split(","))) for row in rows}


def test_every_merge_holds_the_classes_that_a_person_read_out_of_it(
    merges: dict[str, Classification],
):
    found = {commit: tuple(map(str, one.classes)) for commit, one in merges.items()}

    assert found == _expected()


def test_what_is_unknown_is_counted_and_each_has_its_reason(merges: dict[str, Classification]):
    reasons = {
        commit[:8]: sorted(
            {f"{of.path}: {of.why}" for of in one.findings if of.cls is Class.PERSON}
        )
        for commit, one in merges.items()
        if one.needs_person
    }

    listed = json.dumps(reasons, indent=1)
    counted = Counter(cls for one in merges.values() for cls in one.classes)
    assert len(reasons) == counted[Class.PERSON] == 20, listed
    assert dict(counted) == COUNTED, listed


def test_a_row_of_the_table_is_cited_for_each():
    with EXPECTED.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))

    known = {*map(str, Class)}
    assert len({row["commit"] for row in rows}) == len(rows) == 124
    assert all(row["row of the table"] for row in rows)
    assert all(set(filter(None, row["classes"].split(","))) <= known for row in rows)
