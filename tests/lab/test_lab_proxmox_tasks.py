"""A task ends, whatever happens to its worker, and leaves what the real Proxmox VE leaves."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.lab.proxmox_fixture import VM, Pve, running_pve, with_image, with_vm
from windlass.lab.machine import Hardware
from windlass.lab.proxmox.access import Identity

NETWORK = "127.15.0.0/16"
QEMU = "/nodes/pve1/qemu"


@pytest.fixture
def pve(tmp_path: Path) -> Iterator[Pve]:
    with running_pve(tmp_path, NETWORK) as running:
        yield running


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Pve]:
    """Workers take about a second here."""
    with running_pve(tmp_path, NETWORK, speed=4.0) as running:
        yield running


def interrupt(pve: Pve, upid: str) -> str:
    pve.data("DELETE", f"/nodes/pve1/tasks/{upid}")
    return pve.finish(upid)


def small(vmid: int = 8102, **more: Any) -> dict[str, Any]:
    return {"vmid": vmid, "memory": 512, "scsi0": "local-lvm:1", **more}


def test_a_worker_that_crashes_ends_its_task_and_lets_go_of_the_vm(pve: Pve):
    with_vm(pve)
    working = pve.guests.power_on

    async def crash(hardware: Hardware) -> None:
        raise KeyError(hardware.name)

    pve.guests.power_on = crash
    upid = pve.data("POST", f"{QEMU}/8101/status/start")
    ended = pve.finish(upid)
    pve.guests.power_on = working

    assert ended == "the lab's worker crashed: KeyError('ctrl-00')"
    log = [line["t"] for line in pve.data("GET", f"/nodes/pve1/tasks/{upid}/log")]
    assert log[-1] == f"TASK ERROR: {ended}"
    assert pve.data("GET", "/nodes/pve1/tasks?source=active") == []
    assert pve.do("POST", f"{QEMU}/8101/status/stop") == "OK"


def test_an_interrupted_create_leaves_nothing(slow: Pve):
    upid = slow.data("POST", QEMU, data=small())

    ended = interrupt(slow, upid)

    assert ended == "received interrupt"
    assert slow.state()["vms"] == {}
    assert slow.state()["volumes"] == []
    slow.data("POST", QEMU, data=small())


def test_a_task_that_is_interrupted_before_it_began_ends_too(pve: Pve):
    async def spawn_and_interrupt() -> str:
        tasks = pve.cluster.datacenter.tasks

        async def work(_say: object) -> None:
            raise AssertionError("it was stopped before")

        upid = tasks.spawn("pve1", "qmstart", "8101", Identity("root@pam"), work)
        tasks.interrupt(upid)
        return upid

    upid = pve.run(spawn_and_interrupt())
    Event().wait(0.5)
    status = pve.data("GET", f"/nodes/pve1/tasks/{upid}/status")
    assert status.get("exitstatus") == "received interrupt"


def test_a_task_that_has_ended_stays_as_it_ended(pve: Pve):
    upid = pve.data("POST", QEMU, data=small())
    assert pve.finish(upid) == "OK"

    assert interrupt(pve, upid) == "OK"
    assert "8102" in pve.state()["vms"]


def test_an_interrupted_shutdown_lets_go_of_the_vm(slow: Pve):
    with_vm(slow)
    slow.do("POST", f"{QEMU}/8101/status/start")
    slow.guests.obeys = False
    upid = slow.data("POST", f"{QEMU}/8101/status/shutdown")

    assert interrupt(slow, upid) == "received interrupt"
    assert slow.do("POST", f"{QEMU}/8101/status/stop") == "OK"


def test_a_host_without_power_leaves_its_tasks_without_a_last_word_and_its_locks(slow: Pve):
    upid = slow.data("POST", QEMU, data=small())

    async def cut() -> None:
        slow.cluster.datacenter.tasks.kill_host("pve1")

    slow.run(cut())

    assert slow.finish(upid) == "unexpected status"
    assert slow.data("GET", f"{QEMU}/8102/config")["lock"] == "create"


def test_a_clone_that_fails_leaves_nothing(pve: Pve):
    with_vm(pve)
    before = pve.state()
    pve.fault("pve-storage-full", storage="tank")

    ended = pve.do("POST", f"{QEMU}/8101/clone", data={"newid": 8102, "storage": "tank"})

    assert ended.startswith("clone failed: zfs error: cannot create")
    assert pve.state()["vms"].keys() == before["vms"].keys()
    assert pve.state()["volumes"] == before["volumes"]


def test_an_effect_that_a_failing_task_had_stays(pve: Pve):
    with_image(pve)
    pve.fault("pve-task-fail", type="qmcreate", executed=1, text="too late")

    assert pve.do("POST", QEMU, data=VM) == "too late"
    assert "8101" in pve.state()["vms"]
