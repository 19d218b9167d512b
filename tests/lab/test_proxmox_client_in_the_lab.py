"""The Proxmox client against the lab's Proxmox: a VM's whole life, and what goes wrong in it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pydantic import SecretStr

from tests.lab.in_thread import Loop
from windlass.clients.proxmox import ProxmoxClient
from windlass.errors import AmbiguousError, NotReadyError, RefusedError, UnreachableError
from windlass.lab.machine import Hardware, Medium
from windlass.lab.proxmox import HostSpec, ProxmoxCluster
from windlass.lab.world import World
from windlass.models.proxmox import TaskStatus, Upid
from windlass.waiting import Pace, wait_for

NETWORK = IPv4Network("127.28.0.0/16")
SETTINGS: dict[str, str | int | bool] = {
    "name": "cp-1",
    "tags": "windlass-test;controlplane",
    "cores": 4,
    "memory": 2480,
    "scsihw": "virtio-scsi-single",
    "scsi0": "local-lvm:20",
    "net0": "virtio=BC:24:11:25:00:0B,bridge=vmbr0",
    "onboot": True,
}


class Dark:
    """Guests without a system: they run while they have power."""

    async def power_on(self, hardware: Hardware) -> None: ...

    async def power_off(self, vmid: int) -> None: ...

    async def reset(self, vmid: int) -> None: ...

    async def shutdown(self, vmid: int) -> None: ...

    async def volume_removed(self, volume: str) -> None: ...

    async def volume_imported(self, volume: str, medium: Medium) -> None: ...

    def agent_interfaces(self, vmid: int) -> list[dict[str, Any]] | None:  # noqa: ARG002 - the lab's own contract
        return None


class Lab:
    def __init__(self, world: World, cluster: ProxmoxCluster, loop: Loop) -> None:
        self.world = world
        self.cluster = cluster
        self._loop = loop
        self._credentials = cluster.credentials()

    def client(self, secret: str | None = None) -> ProxmoxClient:
        credentials = self._credentials
        return ProxmoxClient(
            ("https://pve1.lab:8006", "https://pve2.lab:8006"),
            credentials["token_id"],
            SecretStr(secret or credentials["token_secret"]),
            ca_file=self.world.authority.ca_file,
            fingerprints=(),
            reach=self._reach,
            agent="windlass/0.1 (operation pve; epoch 5)",
            probe=timedelta(seconds=3),
            call=timedelta(seconds=3),
        )

    def _reach(self, host: str, port: int) -> tuple[str, int]:
        return str(self.world.names[host]), port

    def fault(self, name: str, **args: Any) -> None:
        async def switch() -> None:
            self.world.faults.set(name, **args)

        self._loop.run(switch())

    def fired(self, name: str) -> int:
        async def look() -> int:
            return next(fault.fired for fault in self.world.faults.active() if fault.name == name)

        return self._loop.run(look())


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Loop() as loop:

        async def start() -> Lab:
            site = IPv4Network("10.25.150.0/24")
            world = World.open(tmp_path / "lab", speed=50, site=site, loopback=NETWORK)
            cluster = ProxmoxCluster(
                world, Dark(), (HostSpec("pve1"), HostSpec("pve2", mappings=("gpu",)))
            )
            await cluster.start()
            return Lab(world, cluster, loop)

        async def stop() -> None:
            await lab.cluster.stop()
            lab.world.close()

        lab = loop.run(start())
        yield lab
        loop.run(stop())


def finish(pve: ProxmoxClient, upid: Upid) -> TaskStatus:
    return wait_for(
        upid,
        lambda: pve.check_task(upid),
        timeout=timedelta(seconds=20),
        pace=Pace(first=timedelta(seconds=0.1)),
        stop=Event(),
    )


def test_a_cluster_is_read(lab: Lab):
    with lab.client() as pve:
        assert pve.version().startswith("9.")
        cluster = pve.cluster()
        host = pve.host("pve1")
        storages = {storage.name: storage for storage in pve.storages("pve1")}
        mappings = pve.pci_mappings()

        assert (cluster.quorate, [h.name for h in cluster.hosts]) == (True, ["pve1", "pve2"])
        assert host.memory_free <= host.memory_total == 64 * 1024**3
        assert "iso" in storages["local"].content
        assert "vmbr0" in pve.bridges("pve1")
        assert [(m.name, m.hosts) for m in mappings] == [("gpu", frozenset({"pve2"}))]
        assert "VM.Allocate" in pve.permissions()["/"]
        assert abs(pve.host_time("pve1") - datetime.now(UTC)) < timedelta(hours=1)
        assert pve.vms() == ()


def test_a_vm_lives_and_ends(lab: Lab):
    began = datetime.now(UTC) - timedelta(seconds=5)
    with lab.client() as pve:
        finish(pve, pve.create_vm("pve1", 9001, SETTINGS))
        config = pve.vm_config("pve1", 9001)
        finish(pve, pve.start_vm("pve1", 9001))
        running = pve.vm_status("pve1", 9001)
        found = pve.find_vm(9001)
        finish(pve, pve.stop_vm("pve1", 9001))
        pve.update_config("pve1", 9001, {"cores": 2}, config.digest)
        with pytest.raises(RefusedError, match="checksum mismatch"):
            pve.update_config("pve1", 9001, {"cores": 1}, config.digest)
        created = pve.tasks("pve1", 9001, "qmcreate", began)
        finish(pve, pve.destroy_vm("pve1", 9001))

        assert (config.name, config.cores, config.memory) == ("cp-1", 4, 2480)
        assert config.macs == {"bc:24:11:25:00:0b"}
        assert config.tags == {"windlass-test", "controlplane"}
        assert config.smbios_uuid
        assert list(config.disks) == ["scsi0"]
        assert running.is_running
        assert found is not None
        assert found.host == "pve1"
        assert len(created) == 1
        assert pve.find_vm(9001) is None
        with pytest.raises(RefusedError, match="does not exist"):
            pve.vm_config("pve1", 9001)


def test_a_taken_id_is_refused_before_any_task(lab: Lab):
    with lab.client() as pve:
        finish(pve, pve.create_vm("pve1", 9001, SETTINGS))

        with pytest.raises(RefusedError, match="already exists"):
            pve.create_vm("pve2", 9001, SETTINGS)


def test_a_lost_answer_is_ambiguous_and_the_effect_is_found(lab: Lab):
    began = datetime.now(UTC) - timedelta(seconds=5)
    lab.fault("pve-lost-answer", times=1, method="POST")

    with lab.client() as pve:
        with pytest.raises(AmbiguousError):
            pve.create_vm("pve1", 9001, SETTINGS)
        (task,) = pve.tasks("pve1", 9001, "qmcreate", began)
        finish(pve, Upid(task.upid))

        assert pve.vm_config("pve1", 9001).name == "cp-1"


def test_a_token_that_was_revoked_is_refused(lab: Lab):
    with (
        lab.client("00000000-0000-0000-0000-000000000000") as pve,
        pytest.raises(RefusedError, match="pveum user token list"),
    ):
        pve.version()


def start(pve: ProxmoxClient) -> object:
    return pve.start_vm("pve1", 9001)


def start_to_its_end(pve: ProxmoxClient) -> object:
    """The lock is looked at inside the task, not before it."""
    return finish(pve, pve.start_vm("pve1", 9001))


def configure(pve: ProxmoxClient) -> object:
    digest = pve.vm_config("pve1", 9001).digest
    return pve.update_config("pve1", 9001, {"cores": 2}, digest)


def read(pve: ProxmoxClient) -> object:
    return pve.vm_config("pve1", 9001)


@pytest.mark.parametrize(
    ("fault", "args", "call", "error"),
    [
        ("pve-lock", {"vmid": 9001}, configure, NotReadyError),
        ("pve-lock", {"vmid": 9001}, start_to_its_end, RefusedError),
        ("pve-no-quorum", {}, start, RefusedError),
        ("pve-proxy-error", {"status": 596}, start, AmbiguousError),
        ("pve-proxy-error", {"status": 596}, read, UnreachableError),
        ("pve-proxy-error", {"status": 595}, start, UnreachableError),
        ("pve-empty-200", {}, start, AmbiguousError),
        ("pve-empty-200", {}, read, UnreachableError),
        ("pve-slow", {}, read, UnreachableError),
    ],
)
def test_what_goes_wrong_is_what_it_is(
    lab: Lab,
    fault: str,
    args: dict[str, Any],
    call: Callable[[ProxmoxClient], object],
    error: type[Exception],
):
    with lab.client() as pve:
        finish(pve, pve.create_vm("pve1", 9001, SETTINGS))
        lab.fault(fault, **args)

        with pytest.raises(error) as raised:
            call(pve)

    assert type(raised.value) is error


def test_a_task_that_fails_is_refused_with_its_log(lab: Lab):
    with lab.client() as pve:
        lab.fault("pve-task-fail", times=1)

        with pytest.raises(RefusedError, match="qmcreate 9001 on pve1 failed"):
            finish(pve, pve.create_vm("pve1", 9001, SETTINGS))


@pytest.mark.parametrize("kind", ["expired", "wrong-name", "self-signed"])
def test_a_cluster_of_wrong_certificates_is_refused(lab: Lab, kind: str):
    lab.fault("tls-wrong-certificate", kind=kind)

    with lab.client() as pve, pytest.raises(RefusedError, match="nothing was sent"):
        pve.version()

    assert (lab.world.folder / "proxmox-requests.jsonl").read_bytes() == b""


def test_the_second_host_answers_while_the_first_shows_a_wrong_certificate(lab: Lab):
    lab.fault("tls-wrong-certificate", kind="expired", node="pve1")

    with lab.client() as pve:
        assert pve.version().startswith("9.")

    assert lab.fired("tls-wrong-certificate") == 1


def test_the_second_host_answers_while_the_first_has_no_power(lab: Lab):
    lab.fault("pve-host-offline", node="pve1")

    with lab.client() as pve:
        hosts = wait_for(
            "pve1 to be seen offline",
            lambda: _offline(pve),
            timeout=timedelta(seconds=10),
            pace=Pace(first=timedelta(seconds=0.1)),
            stop=Event(),
        )

        assert hosts == {"pve1": False, "pve2": True}
        with pytest.raises(UnreachableError):
            pve.host("pve1")


def _offline(pve: ProxmoxClient) -> dict[str, bool]:
    hosts = {host.name: host.online for host in pve.cluster().hosts}
    if hosts["pve1"]:
        raise NotReadyError("pve1 is still online")
    return hosts
