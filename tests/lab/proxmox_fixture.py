"""A simulated Proxmox VE with an image factory, in a thread of its own, over guests that only keep count."""

import asyncio
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, TypeVar

import orjson
import requests
from proxmoxer import ProxmoxAPI  # pyright: ignore[reportMissingTypeStubs]

from windlass.lab.factory import ImageFactory
from windlass.lab.machine import Hardware, Hypervisor, Medium
from windlass.lab.proxmox import HostSpec, ProxmoxCluster
from windlass.lab.proxmox.hosts import DEFAULT_HOSTS
from windlass.lab.world import World

T = TypeVar("T")
SPEED = 100.0
VERSION, SCHEMATIC = "v1.13.9", "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
ISO_URL = f"https://factory.talos.dev/image/{SCHEMATIC}/{VERSION}/nocloud-amd64.iso"


@dataclass
class CountingGuests:
    """Guests that run when they are told to. `obeys` says whether the power button works."""

    obeys: bool = True
    on: dict[int, Hardware] = field(default_factory=dict[int, Hardware])
    resets: list[int] = field(default_factory=list[int])
    removed: list[str] = field(default_factory=list[str])
    imported: dict[str, Medium] = field(default_factory=dict[str, Medium])
    interfaces: list[dict[str, Any]] | None = None
    hypervisor: Hypervisor | None = None

    async def power_on(self, hardware: Hardware) -> None:
        self.on[hardware.vmid] = hardware

    async def power_off(self, vmid: int) -> None:
        self.on.pop(vmid, None)

    async def reset(self, vmid: int) -> None:
        self.resets.append(vmid)

    async def shutdown(self, vmid: int) -> None:
        if self.obeys and self.hypervisor is not None:
            self.on.pop(vmid, None)
            await self.hypervisor.guest_stopped(vmid)

    async def volume_removed(self, volume: str) -> None:
        self.removed.append(volume)

    async def volume_imported(self, volume: str, medium: Medium) -> None:
        self.imported[volume] = medium

    def agent_interfaces(self, vmid: int) -> list[dict[str, Any]] | None:
        return self.interfaces if vmid in self.on else None


@dataclass
class Pve:
    """A running simulated cluster and ways to talk to it."""

    world: World
    cluster: ProxmoxCluster
    guests: CountingGuests
    loop: asyncio.AbstractEventLoop
    credentials: dict[str, Any]

    @property
    def url(self) -> str:
        return f"https://{self.world.network.host(1)}:8006/api2/json"

    @property
    def ca(self) -> str:
        return str(self.world.authority.ca_file)

    @property
    def token(self) -> dict[str, str]:
        return {
            "Authorization": f"PVEAPIToken=windlass@pve!windlass={self.credentials['token_secret']}"
        }

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def state(self) -> dict[str, Any]:
        """Ground truth, read where it lives: in the lab's own loop."""

        async def read() -> dict[str, Any]:
            return self.cluster.state()

        return self.run(read())

    def fault(self, name: str, *, times: int | None = None, **args: Any) -> None:
        async def put() -> None:
            self.world.faults.set(name, times=times, **args)

        self.run(put())

    def clear(self, *names: str) -> None:
        async def put() -> None:
            self.world.faults.clear(names)

        self.run(put())

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        given: dict[str, Any] = {"headers": self.token, "verify": self.ca, "timeout": 30} | more
        return requests.request(method, self.url + path, **given)

    def data(self, method: str, path: str, **more: Any) -> Any:
        response = self.call(method, path, **more)
        assert response.status_code == 200, (response.status_code, response.reason, response.text)
        return response.json()["data"]

    def finish(self, upid: str) -> str:
        """The exit text of a task, once it has ended."""
        node = upid.split(":")[1]
        status: dict[str, Any] = {"status": "running"}
        while status["status"] == "running":
            status = self.data("GET", f"/nodes/{node}/tasks/{upid}/status")
        return status["exitstatus"]

    def do(self, method: str, path: str, **more: Any) -> str:
        """Start a task and wait for its exit text."""
        return self.finish(self.data(method, path, **more))

    def proxmoxer(self) -> Any:
        given = self.credentials
        return ProxmoxAPI(
            str(self.world.network.host(1)), user="windlass@pve", token_name="windlass",
            token_value=given["token_secret"], verify_ssl=self.ca, timeout=30,
        )  # fmt: skip

    def as_root(self) -> Any:
        """proxmoxer, which is untyped, logged in with root's password."""
        return ProxmoxAPI(
            str(self.world.network.host(1)),
            user="root@pam",
            password=self.credentials["password"],
            verify_ssl=self.ca,
            timeout=30,
        )

    def oplog(self) -> list[dict[str, Any]]:
        lines = (self.world.folder / "oplog.jsonl").read_bytes().splitlines()
        return [orjson.loads(line) for line in lines]

    def requests(self) -> list[dict[str, Any]]:
        lines = (self.world.folder / "proxmox-requests.jsonl").read_bytes().splitlines()
        return [orjson.loads(line) for line in lines]


@contextmanager
def running_pve(
    folder: Path, network: str, hosts: tuple[HostSpec, ...] = DEFAULT_HOSTS, speed: float = SPEED
) -> Generator[Pve]:
    """A cluster with its factory, up until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    pve, factory = run(_open(folder, network, hosts, speed))
    try:
        yield pve
    finally:
        run(_close(pve, factory))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _open(
    folder: Path, network: str, hosts: tuple[HostSpec, ...], speed: float
) -> tuple[Pve, ImageFactory]:
    world = World.open(
        folder, speed=speed, site=IPv4Network("10.25.150.0/24"), loopback=IPv4Network(network)
    )
    guests = CountingGuests()
    cluster = ProxmoxCluster(world, guests, hosts)
    guests.hypervisor = cluster
    factory = ImageFactory(world)
    await factory.start()
    await cluster.start()
    return Pve(world, cluster, guests, asyncio.get_running_loop(), cluster.credentials()), factory


async def _close(pve: Pve, factory: ImageFactory) -> None:
    await pve.cluster.stop()
    await factory.stop()
    pve.world.close()


VM = {
    "vmid": 8101, "name": "ctrl-00", "cores": 4, "memory": 2480, "ostype": "l26", "scsihw": "virtio-scsi-pci",
    "scsi0": "local-lvm:20,discard=on,ssd=1", "ide0": "local-lvm:cloudinit", "ide2": "local:iso/talos.iso,media=cdrom",
    "boot": "order=scsi0;ide2", "net0": "virtio=BC:24:11:25:00:0B,bridge=vmbr0,tag=150", "agent": "enabled=1",
    "ipconfig0": "ip=10.25.150.11/24,gw=10.25.150.1", "tags": "windlass-lab;controlplane", "onboot": 1,
}  # fmt: skip


def with_image(pve: Pve, node: str = "pve1") -> None:
    """The Talos ISO lies on the host."""
    wanted = {"content": "iso", "filename": "talos.iso", "url": ISO_URL}
    assert pve.do("POST", f"/nodes/{node}/storage/local/download-url", data=wanted) == "OK"


def with_vm(pve: Pve, **more: Any) -> None:
    """VM 8101 exists on pve1."""
    with_image(pve)
    assert pve.do("POST", "/nodes/pve1/qemu", data=VM | more) == "OK"
