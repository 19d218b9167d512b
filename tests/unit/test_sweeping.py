"""The crash sweep's own judgement: which points there are, and that a doubled effect is not overlooked."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.labs import RunningLab
from tests.sweeping import Chain, Point, points_of, sample_of, small_site, wrong_effects
from windlass.engine.failpoints import PHASES

PLAN: dict[str, Any] = {
    "steps": [
        {"key": "site.preflight/buoy", "risk": "read"},
        {"key": "proxmox.create-vm/cp", "risk": "safe"},
        {"key": "proxmox.create-vm/w", "risk": "safe"},
        {"key": "talos.bootstrap-etcd/cp", "risk": "disruptive"},
    ]
}


@pytest.fixture
def lab(tmp_path: Path) -> RunningLab:
    """The files of a lab in which a small site was built, each effect once."""
    small_site(tmp_path).rename(tmp_path / "site.yaml")
    lab = RunningLab(tmp_path, tmp_path / "home")
    for epoch, verb in enumerate(("vm_create", "vm_start", "apply_config", "install"), start=1):
        for node in ("cp", "w"):
            did(lab, verb, node, epoch)
    did(lab, "bootstrap", "cp", 5)
    return lab


def did(lab: RunningLab, verb: str, target: str, epoch: int | None) -> None:
    with (lab.folder / "oplog.jsonl").open("a") as oplog:
        oplog.write(json.dumps({"verb": verb, "target": target, "epoch": epoch}) + "\n")


def test_a_step_with_an_effect_has_five_points_and_a_gate_none():
    points = points_of(PLAN)

    assert len(points) == 15
    assert {point.phase for point in points if point.key == "proxmox.create-vm/w"} == set(PHASES)


def test_a_sample_has_every_action_and_is_the_same_every_time():
    points = points_of(PLAN)

    sample = sample_of(points)

    assert {point.key.partition("/")[0] for point in sample} == {
        "proxmox.create-vm",
        "talos.bootstrap-etcd",
    }
    assert sample == sample_of(points)


def test_a_point_at_which_nothing_was_killed_is_unhit():
    hit, missed = Point("make/a", "mid_effect"), Point("make/b", "mid_effect")

    assert Chain("chain", (hit, missed), hit=[hit]).unhit == [missed]


def test_each_effect_once_is_right(lab: RunningLab):
    did(lab, "kubernetes.patch", "Node/cp", None)
    did(lab, "kubernetes.patch", "Node/cp", None)

    assert list(wrong_effects(lab)) == []


@pytest.mark.parametrize(
    ("verb", "target", "epoch", "says"),
    [
        ("vm_create", "cp", 6, "vm_create cp 2 times"),
        ("vm_create", "another", 6, "vm_create: 3 for 2 nodes"),
        ("bootstrap", "w", 6, "not bootstrapped exactly once"),
        ("kubernetes.patch", "Pod/proof", 1, "earlier epoch"),
        ("vm_destroy", "cp", 6, "nobody counts"),
    ],
)
def test_what_should_not_have_happened_is_a_violation(
    lab: RunningLab, verb: str, target: str, epoch: int, says: str
):
    did(lab, verb, target, epoch)

    assert any(says in violation for violation in wrong_effects(lab))


def test_a_vm_that_was_never_created_is_a_violation(tmp_path: Path):
    small_site(tmp_path).rename(tmp_path / "site.yaml")
    lab = RunningLab(tmp_path, tmp_path / "home")
    did(lab, "bootstrap", "cp", 1)

    assert "vm_create: 0 for 2 nodes" in list(wrong_effects(lab))
