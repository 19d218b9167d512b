"""What was approved is what is built: a site file that changed since then is noticed before anything is sent."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.faulty import FaultyLab, faulty_lab
from windlass.cli import exits

NETWORK = "127.43.0.0/16"


@pytest.fixture
def lab(tmp_path: Path) -> Generator[FaultyLab]:
    with faulty_lab(tmp_path, NETWORK) as found:
        yield found


def approved(lab: FaultyLab) -> str:
    """A planned bootstrap that somebody said yes to, and that has not begun."""
    lab.windlass("bootstrap", str(lab.site_file), "--apply", "--local")
    (operation, *_) = lab.json("history")
    done = lab.windlass("approve", operation["id"], "--hash", operation["plan_hash"])
    assert done.returncode == exits.DONE, done.stderr
    return operation["id"]


def with_nodes(lab: FaultyLab, **changes: Any) -> None:
    site = lab.document
    for node in site["nodes"]:
        node.update(changes)
    lab.rewrite(site)


def test_a_vm_of_another_size_than_approved_is_not_created(lab: FaultyLab):
    operation = approved(lab)
    with_nodes(lab, memory=3072)

    ended = lab.resume(operation)

    assert (ended.code, ended.state) == (exits.REFUSED, "refused"), ended.said
    assert "changed after this plan was made" in ended.message
    assert "memory is 3072, was " in ended.message
    assert "vm_create" not in lab.verbs()


def test_another_config_than_approved_is_not_applied(lab: FaultyLab):
    operation = approved(lab)
    before = lab.document
    with_nodes(lab, labels={"example.org/rack": "north"})

    ended = lab.resume(operation)

    assert (ended.code, ended.state) == (exits.REFUSED, "refused"), ended.said
    assert "changed after this plan was made" in ended.message
    assert lab.verbs().count("vm_create") == 2
    assert "apply_config" not in lab.verbs()

    lab.rewrite(before)
    again = lab.boot("--until", "machines")
    assert (again.code, again.state) == (exits.DONE, "done"), again.said
    assert lab.verbs().count("vm_create") == 2


def test_a_kubeconfig_that_is_not_ours_holds_the_plan_and_stays(lab: FaultyLab):
    theirs = lab.folder / "kubeconfig"
    theirs.write_text("clusters: []\n")

    done = lab.windlass("bootstrap", str(lab.site_file), "--apply", "--local", "--yes")

    assert done.returncode == exits.REFUSED, done.stderr
    assert (
        f"{theirs} is there, the secrets it should be signed with are not"
        in done.stdout + done.stderr
    )
    assert theirs.read_text() == "clusters: []\n"
    assert lab.verbs() == []
