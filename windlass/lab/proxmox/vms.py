"""VMs as the hypervisor keeps them: configuration, snapshots and power, durable, behind two layers of locks."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from windlass.lab.proxmox.refusals import Refusal
from windlass.lab.world import World

# How long Proxmox VE waits for a VM's lock file, in seconds.
FLOCK_WAIT_S = 10.0

Settings = dict[str, str]


@dataclass
class Vm:
    """One VM. `pending` are changes that wait for its next start (None: the option goes away).

    `started` is lab time. A snapshot is a document: config, snaptime, description, parent.
    """

    vmid: int
    node: str
    config: Settings = field(default_factory=Settings)
    pending: dict[str, str | None] = field(default_factory=dict[str, str | None])
    snapshots: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    parent: str | None = None
    running: bool = False
    paused: bool = False
    started: float = 0
    pid: int = 0

    @property
    def name(self) -> str:
        return self.config.get("name", f"VM{self.vmid}")

    @property
    def memory(self) -> int:
        """MiB."""
        return int(self.config.get("memory", "512").split(",")[0].removeprefix("current="))

    @property
    def cores(self) -> int:
        return int(self.config.get("cores", "1")) * int(self.config.get("sockets", "1"))

    @property
    def tags(self) -> str:
        return self.config.get("tags", "")

    @property
    def pool(self) -> str:
        return self.config.get("pool", "")

    def merged(self) -> Settings:
        """The configuration as it will be after the next start."""
        found = dict(self.config)
        for key, value in self.pending.items():
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value
        return found

    @property
    def digest(self) -> str:
        lines = "\n".join(f"{key}: {value}" for key, value in sorted(self.merged().items()))
        return hashlib.sha1(lines.encode(), usedforsecurity=False).hexdigest()


class Vms:
    """All VMs of the cluster. What is read is a copy: change it, then save it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._section = world.store.section("proxmox.vms")
        self._flocks: dict[int, asyncio.Lock] = {}

    def __iter__(self) -> Iterator[Vm]:
        return iter([Vm(**doc) for doc in self._section.values()])

    def __contains__(self, vmid: int) -> bool:
        return str(vmid) in self._section

    def find(self, vmid: int) -> Vm | None:
        doc = self._section.get(str(vmid))
        return Vm(**doc) if doc is not None else None

    def get(self, node: str, vmid: int) -> Vm:
        """The VM on that host.

        Raises:
            Refusal: 500, as Proxmox VE has no 404.
        """
        found = self.find(vmid)
        if found is None or found.node != node:
            raise Refusal(
                f"Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist"
            )
        return found

    def save(self, vm: Vm) -> None:
        self._section[str(vm.vmid)] = asdict(vm)

    def remove(self, vmid: int) -> None:
        del self._section[str(vmid)]

    @asynccontextmanager
    async def flock(self, vmid: int, wait: float = FLOCK_WAIT_S) -> AsyncGenerator[None]:
        """The lock file of a VM: held while its configuration or power changes.

        Raises:
            Refusal: somebody else held it for `wait` lab seconds.
        """
        lock = self._flocks.setdefault(vmid, asyncio.Lock())
        timeout = Refusal(f"can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout")
        if self._world.faults.fires("pve-flock", vmid=vmid):
            await self._world.clock.sleep(wait)
            raise timeout
        try:
            await asyncio.wait_for(lock.acquire(), max(self._world.clock.real(wait), 0.05))
        except TimeoutError as late:
            raise timeout from late
        try:
            yield
        finally:
            lock.release()

    def check_lock(self, vm: Vm, *, skip: bool = False) -> None:
        """Raise Refusal when the configuration carries a lock."""
        held = vm.config.get("lock")
        if held is None and (fault := self._world.faults.fires("pve-lock", vmid=vm.vmid)):
            held = str(fault.args.get("lock", "backup"))
        if held and not skip:
            raise Refusal(f"VM is locked ({held})")

    def shown_lock(self, vm: Vm) -> str | None:
        """The lock as the status shows it, faults included."""
        for fault in self._world.faults.active():
            of_vm = str(fault.args.get("vmid", vm.vmid)) == str(vm.vmid)
            if fault.name == "pve-lock" and fault.left != 0 and of_vm:
                return str(fault.args.get("lock", "backup"))
        return vm.config.get("lock")
