"""Proxmox on a bad day, by the fault's name: what Windlass does to the site, and what it says."""

from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from tests.lab.faulty import PLANE, WORKER, FaultyLab, faulty_lab
from windlass.cli import exits
from windlass.errors import NotReadyError
from windlass.waiting import Pace, wait_for

NETWORK = "127.56.0.0/16"
VM = f"vm/{PLANE}"
LOCAL = "/nodes/pve1/storage/local/content"
VMS = ("--until", "vms")
BEFORE_START = {"WINDLASS_FAILPOINT": "proxmox.start-vm/plane:pre_intent=term"}


@pytest.fixture
def lab(tmp_path: Path) -> Generator[FaultyLab]:
    with faulty_lab(tmp_path, NETWORK) as found:
        yield found


def stands_before_the_start(lab: FaultyLab) -> str:
    """An operation that made its VMs and was asked to stop; its id."""
    parked = lab.boot(*VMS, env=BEFORE_START)
    assert (parked.code, parked.reason) == (exits.STOPPED, "PARKED")
    assert lab.count("vm_create", VM) == 1
    assert lab.count("vm_start", VM) == 0
    return parked.operation


def test_x1_a_locked_vm_is_waited_for_and_never_unlocked(lab: FaultyLab):
    operation = stands_before_the_start(lab)
    lab.hurry(vm=1, call=1)
    lab.fault("pve-lock", f"vmid={PLANE}", "lock=backup")

    stuck = lab.resume(operation)
    asked = [r for r in lab.requests() if f"/{PLANE}/" in r["path"]]
    lab.heal()
    done = lab.resume(operation)

    assert (stuck.code, stuck.state, stuck.reason) == (exits.FAILED, "failed", "FAILED")
    assert f"VM {PLANE} on pve1 is locked (backup)" in stuck.message
    assert asked == []
    assert (done.code, done.state) == (exits.DONE, "done")
    assert lab.count("vm_start", VM) == 1
    assert [task["exitstatus"] for task in lab.tasks("qmstart") if task["id"] == str(PLANE)] == [
        "OK"
    ]


def test_x2_a_task_that_ends_badly_fails_its_step_with_the_end_of_its_log(lab: FaultyLab):
    lab.fault("pve-task-fail", "type=qmcreate", f"vmid={PLANE}", "text=no such logical volume")

    failed = lab.boot(*VMS)

    assert lab.fired("pve-task-fail") == 1
    assert (failed.code, failed.state, failed.reason) == (exits.FAILED, "failed", "FAILED")
    assert f"qmcreate {PLANE} on pve1 failed: no such logical volume" in failed.message
    assert "TASK ERROR: no such logical volume" in failed.message
    assert len([task for task in lab.tasks("qmcreate") if task["id"] == str(PLANE)]) == 1
    assert lab.count("vm_start") == 0


def test_x2_warnings_are_no_failure(lab: FaultyLab):
    lab.fault("pve-task-warnings", "type=qmcreate", "count=2")

    done = lab.boot(*VMS)

    ends = {task["exitstatus"] for task in lab.tasks("qmcreate")}
    assert lab.fired("pve-task-warnings") == len(lab.tasks("qmcreate")) == 2
    assert ends == {"WARNINGS: 2"}
    assert (done.code, done.state) == (exits.DONE, "done")


def test_x3_a_create_whose_answer_is_lost_is_found_by_its_task(lab: FaultyLab):
    lab.hurry(call=1)
    lab.fault("pve-lost-answer", "method=POST", "path=/nodes/pve1/qemu", times=1)

    done = lab.boot(*VMS)

    assert lab.fired("pve-lost-answer") == 1
    assert (done.code, done.state) == (exits.DONE, "done")
    assert lab.count("vm_create", VM) == 1
    assert len([r for r in lab.requests("POST") if r["path"] == "/nodes/pve1/qemu"]) == 1


def test_x6_without_quorum_nothing_is_planned_to_be_done_and_the_plan_says_why(
    untouched: FaultyLab,
):
    lab = untouched
    lab.fault("pve-no-quorum")

    refused = lab.boot(*VMS)

    assert refused.code == exits.REFUSED
    assert refused.operation == ""
    assert "the Proxmox cluster has no quorum" in refused.said


def test_x6_a_quorum_lost_on_the_way_ends_the_operation_before_the_next_write(lab: FaultyLab):
    operation = stands_before_the_start(lab)
    lab.fault("pve-no-quorum")

    failed = lab.resume(operation)

    assert (failed.code, failed.state) == (exits.FAILED, "failed")
    assert "no quorum" in failed.message
    assert lab.count("vm_start", VM) == 0


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("pve-storage-full", "storage local-lvm on host pve1 has 0 MiB free"),
        ("pve-storage-offline", "storage local-lvm on host pve1 is not active"),
    ],
)
def test_x7_a_storage_without_room_blocks_the_plan(untouched: FaultyLab, fault: str, says: str):
    lab = untouched
    lab.fault(fault, "storage=local-lvm", "node=pve1")

    refused = lab.boot(*VMS)

    assert refused.code == exits.REFUSED
    assert says in refused.said


def test_x7_a_storage_that_does_not_exist_blocks_the_plan(untouched: FaultyLab):
    lab = untouched
    lab.describe(proxmox__storage="nowhere")

    refused = lab.boot(*VMS)

    assert refused.code == exits.REFUSED
    assert "host pve1 has no storage nowhere" in refused.said


def test_x8_a_stranger_who_takes_the_vmid_is_neither_adopted_nor_touched(lab: FaultyLab):
    lab.fault("pve-foreign-vm", f"vmid={PLANE}", times=1)

    stopped = lab.boot(*VMS)

    assert lab.fired("pve-foreign-vm") == 1
    assert (stopped.code, stopped.state) == (exits.FAILED, "failed")
    assert f"VM {PLANE} on pve1 is not this site's plane" in stopped.message
    assert lab.vms()[str(PLANE)]["config"] == {"name": "stranger", "memory": "512"}
    assert [r for r in lab.requests() if f"/qemu/{PLANE}" in r["path"]] == []


def test_x8_a_stranger_who_came_while_the_operation_stood_still_ends_it_as_refused(lab: FaultyLab):
    parked = lab.boot(*VMS, env={"WINDLASS_FAILPOINT": "proxmox.create-vm/plane:pre_intent=term"})
    lab.stranger("POST", "/nodes/pve2/qemu", vmid=PLANE, name="stranger")

    refused = lab.resume(parked.operation)

    assert (refused.code, refused.state, refused.reason) == (exits.REFUSED, "refused", "REFUSED")
    assert f"VM {PLANE} is on host pve2, not on pve1" in refused.message
    assert lab.vms()[str(PLANE)]["name"] == "stranger"
    assert lab.count("vm_create", VM) == 1


def test_x9_a_vm_that_was_made_without_answer_or_task_is_known_by_its_own_marks(lab: FaultyLab):
    lab.hurry(call=1)
    lab.fault("pve-lost-answer", "method=POST", "path=/nodes/pve1/qemu", times=1)
    lab.fault("pve-lost-upid", "type=qmcreate", f"vmid={PLANE}")

    done = lab.boot(*VMS)

    assert (lab.fired("pve-lost-answer"), lab.fired("pve-lost-upid")) == (1, 1)
    assert (done.code, done.state) == (exits.DONE, "done")
    assert lab.count("vm_create", VM) == 1
    assert len([r for r in lab.requests("POST") if r["path"] == "/nodes/pve1/qemu"]) == 1


def test_x10_a_revoked_token_ends_the_operation_at_once_and_says_what_to_look_at(lab: FaultyLab):
    operation = stands_before_the_start(lab)
    before = len(lab.requests("GET", "POST"))
    lab.fault("pve-token-revoked")

    failed = lab.resume(operation)

    refused = [r for r in lab.requests("GET", "POST")[before:] if r["status"] == 401]
    assert (failed.code, failed.state) == (exits.FAILED, "failed")
    assert "Is token windlass@pve!windlass deleted or expired?" in failed.message
    assert lab.fired("pve-token-revoked") == len(refused)
    assert 1 <= len(refused) <= 2  # one a step that was under way, none again
    assert lab.count("vm_start", VM) == 0


@pytest.mark.parametrize(("status", "executed"), [(595, 0), (595, 1), (596, 0), (599, 1)])
def test_x11_whatever_the_proxy_says_a_write_is_looked_for_and_takes_place_once(
    lab: FaultyLab, status: int, executed: int
):
    lab.hurry(call=1)
    where = ("method=POST", "path=/nodes/pve1/qemu", f"status={status}", f"executed={executed}")
    lab.fault("pve-proxy-error", *where, times=1)

    done = lab.boot(*VMS)

    assert lab.fired("pve-proxy-error") == 1
    assert (done.code, done.state) == (exits.DONE, "done")
    assert lab.count("vm_create", VM) == 1
    sent = [r for r in lab.requests("POST") if r["path"] == "/nodes/pve1/qemu"]
    assert len(sent) == 1


def test_x11_an_empty_success_is_no_success(lab: FaultyLab):
    lab.fault(
        "pve-empty-200", "method=POST", f"path=/nodes/pve1/qemu/{PLANE}/status/start", times=1
    )

    done = lab.boot(*VMS)

    assert lab.fired("pve-empty-200") == 1
    assert (done.code, done.state) == (exits.DONE, "done")
    assert lab.count("vm_start", VM) == 1


def test_x13_half_an_image_is_never_booted(lab: FaultyLab):
    lab.fault("download-truncated", "node=pve1")

    failed = lab.boot(*VMS)

    assert lab.fired("download-truncated") == 1
    assert (failed.code, failed.state) == (exits.FAILED, "failed")
    assert "no machine boots from it" in failed.message
    assert lab.count("vm_create", VM) == 0


def test_x13_half_an_image_that_lies_there_blocks_the_next_plan_until_it_is_removed(
    lab: FaultyLab,
):
    lab.fault("download-truncated", "node=pve1", times=1)
    lab.boot(*VMS)
    (image,) = [c["volid"] for c in lab.stranger("GET", f"{LOCAL}?content=iso")]

    refused = lab.boot(*VMS)
    lab.stranger("DELETE", f"{LOCAL}/{image}")
    done = lab.boot(*VMS)

    assert lab.fired("download-truncated") == 1
    assert refused.code == exits.REFUSED
    assert f"{image.partition('/')[2]} on host pve1 has" in refused.said
    assert "remove it: no machine boots from half an image" in refused.said
    assert (done.code, done.state) == (exits.DONE, "done")


def test_x13_an_image_with_another_checksum_is_never_booted(lab: FaultyLab):
    lab.describe(cluster__image={**lab.document["cluster"]["image"], "sha256": "0" * 64})

    failed = lab.boot(*VMS)

    assert (failed.code, failed.state) == (exits.FAILED, "failed")
    assert "checksum" in failed.message
    assert lab.count("vm_create") == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "something-else"}, "name is 'something-else' instead of 'plane'"),
        ({"cores": 2}, "cores 2 instead of 4"),
    ],
)
def test_x14_a_vm_that_somebody_edits_is_not_started(
    lab: FaultyLab, change: dict[str, str | int], says: str
):
    operation = stands_before_the_start(lab)
    lab.stranger("PUT", f"/nodes/pve1/qemu/{PLANE}/config", **change)

    refused = lab.resume(operation)

    assert (refused.code, refused.state, refused.reason) == (exits.REFUSED, "refused", "REFUSED")
    assert says in refused.message
    assert lab.count("vm_start", VM) == 0


def test_x14_a_vm_that_somebody_deletes_is_not_made_again(lab: FaultyLab):
    operation = stands_before_the_start(lab)
    lab.stranger("DELETE", f"/nodes/pve1/qemu/{PLANE}")

    refused = lab.resume(operation)

    assert (refused.code, refused.state) == (exits.REFUSED, "refused")
    assert "does not exist" in refused.message
    assert lab.count("vm_create", VM) == 1
    assert lab.vms().keys() == {str(WORKER)}


def test_p11_a_second_copy_is_refused_and_told_who_holds_the_site(lab: FaultyLab):
    lab.fault("pve-lock", f"vmid={PLANE}", "lock=backup")
    command = ("bootstrap", str(lab.site_file), "--apply", "--local", "--yes", *VMS)
    first = lab.start(*command)
    try:
        holder = wait_for(
            "the first copy", lambda: held_by(lab), timeout=timedelta(seconds=30), pace=Pace(), stop=Event()
        )  # fmt: skip

        second = lab.boot(*VMS)
    finally:
        lab.heal()
        said, _ = first.communicate(timeout=60)

    assert (second.code, second.state, second.reason) == (exits.STOPPED, "parked", "BUSY")
    assert f"is held by operation {holder} (process {first.pid} on " in second.message
    assert first.returncode == exits.DONE, said
    assert lab.count("vm_create", VM) == lab.count("vm_start", VM) == 1


def held_by(lab: FaultyLab) -> str:
    """The operation that is on the way and has made its VM."""
    if lab.count("vm_create", VM) == 0:
        raise NotReadyError("it has not made its VM yet")
    return str(lab.json("history")[0]["id"])
