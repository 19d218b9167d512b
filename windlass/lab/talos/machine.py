"""One simulated machine: what it is at this moment, and what can be asked of it.

What it does by itself (booting, installing, going down) is in `lifecycle.py`.
"""

import asyncio
import hashlib
import logging
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Literal

from windlass.lab.machine import Disk, Hardware, Medium
from windlass.lab.oplog import LAB, Actor
from windlass.lab.talos.apid import Api
from windlass.lab.talos.configuration import MachineConfig, minor
from windlass.lab.talos.decoding import decode
from windlass.lab.talos.disks import Content
from windlass.lab.talos.events import Events
from windlass.lab.talos.fleet import Fleet
from windlass.lab.talos.latency import LATENCY, Latency
from windlass.lab.talos.services import (
    CONTROL_PLANE,
    REQUIRED,
    REQUIRED_ON_CONTROL_PLANE,
    WORKER,
    Services,
)
from windlass.protos.talosapi import machine_pb2 as pb

logger = logging.getLogger(__name__)

Stage = Literal[
    "off", "firmware", "halted", "booting", "installing", "maintenance", "running", "rebooting", "shutting down",
    "resetting", "upgrading",
]  # fmt: skip
# Stages that the API has numbers for.
STAGES: dict[str, int] = {
    "unknown": 0, "booting": 1, "installing": 2, "maintenance": 3, "running": 4, "rebooting": 5, "shutting down": 6,
    "resetting": 7, "upgrading": 8,
}  # fmt: skip
KERNEL_LOG = 2000


@dataclass(frozen=True)
class Action:
    """Something that ends what the machine does now. `id` is the actor id that its events carry."""

    kind: Literal["install", "reboot", "shutdown", "reset"]
    actor: Actor = LAB
    id: str = ""
    # Reset: labels of the partitions to wipe; none means the whole disk.
    wipe: frozenset[str] = frozenset()
    is_graceful: bool = False
    boots_again: bool = True
    is_powercycle: bool = False


@dataclass(eq=False)
class Boot:
    """What lasts from one boot to the next."""

    id: str
    time: float
    medium: Medium
    is_from_disk: bool
    # Its config is what it runs, not what it was just given.
    is_configured: bool = False
    kernel_log: deque[str] = field(default_factory=lambda: deque[str](maxlen=KERNEL_LOG))


class Machine:
    """A VM that runs, or could run, Talos."""

    def __init__(self, fleet: Fleet, hardware: Hardware) -> None:
        self.fleet = fleet
        self.hardware = hardware
        self.latency: Latency = LATENCY
        self.api = Api(self)
        self.events = Events()
        self.stage: Stage = "off"
        self.boot: Boot | None = None
        self.config: MachineConfig | None = None
        # Set between an apply that reboots and the reboot.
        self.is_applied = False
        self.maintenance_fingerprint = ""
        self.services = self._new_services()
        self.asked: asyncio.Queue[Action] = asyncio.Queue()
        self.acquired = asyncio.Event()
        self.bootstrapped = asyncio.Event()
        self._watchers: set[Callable[[], None]] = set()
        self._told: tuple[object, ...] = ()

    # Identity

    @property
    def label(self) -> str:
        """What the machine is called in the oplog and in faults: the name of its VM."""
        return self.hardware.name

    @property
    def hostname(self) -> str:
        if self.config is not None and self.config.hostname:
            return self.config.hostname
        digest = hashlib.sha256(self.hardware.uuid.encode()).hexdigest()
        return f"talos-{digest[:3]}-{digest[3:6]}"

    @property
    def interface(self) -> IPv4Interface:
        """The address in the site: from the config, else from cloud-init, else leased."""
        static = self.config.addresses() if self.config is not None else ()
        if static:
            return static[0]
        return self.hardware.address or self._lease()

    @property
    def address(self) -> IPv4Address:
        return self.interface.ip

    @property
    def loopback(self) -> IPv4Address:
        """Where the machine is reached. An address outside the site is itself, which nobody here can listen on."""
        if self.address not in self.fleet.world.network.site:
            return self.address
        return self.fleet.world.network.of(self.address)

    def names(self) -> tuple[str, ...]:
        """Everything that means this machine to a client of the Talos API."""
        return (str(self.address), str(self.loopback), self.hostname)

    def _lease(self) -> IPv4Interface:
        """DHCP: addresses from the top of the network downwards, one for each MAC, for ever."""
        leases, site = self.fleet.world.store.section("dhcp"), self.fleet.world.network.site
        mac = self.hardware.nics[0].mac if self.hardware.nics else self.hardware.uuid
        if mac not in leases:
            leases[mac] = {"host": site.num_addresses - 2 - len(leases)}
        return IPv4Interface((site.network_address + leases[mac]["host"], site.prefixlen))

    # Disks

    @property
    def system_disk(self) -> Disk | None:
        """The first disk that Talos is installed on."""
        return next((d for d in self.hardware.disks if self.fleet.disks.read(d.volume).boots), None)

    @property
    def content(self) -> Content:
        disk = self.system_disk
        return self.fleet.disks.read(disk.volume) if disk is not None else Content()

    def write(self, **fields: object) -> None:
        """Change what is on the system disk; a machine without one has nothing to change."""
        if (disk := self.system_disk) is not None:
            self.fleet.disks.change(disk.volume, **fields)

    def load_config(self) -> None:
        text = self.content.config
        self.config = decode(text.encode(), self.medium.version) if text is not None else None

    # State

    @property
    def is_up(self) -> bool:
        """Something on this machine answers packets."""
        return self.stage not in {"off", "firmware", "halted"}

    @property
    def medium(self) -> Medium:
        """The Talos that runs."""
        if self.boot is None:
            raise RuntimeError(f"{self.label} has not booted")
        return self.boot.medium

    @property
    def stage_number(self) -> int:
        return STAGES.get(self.stage, 0)

    @property
    def boot_id(self) -> str:
        return self.boot.id if self.boot is not None else ""

    @property
    def version(self) -> tuple[int, int]:
        return minor(self.medium.version)

    @property
    def is_control_plane(self) -> bool:
        return self.config is not None and self.config.is_control_plane

    @property
    def may_forward(self) -> bool:
        """Only control planes have a client certificate for the APIs of others."""
        return self.is_control_plane

    @property
    def group(self) -> str:
        """Which etcd this machine could be a member of: the digest of the authority it would trust."""
        ca = self.config.etcd_ca if self.config is not None else b""
        return hashlib.sha256(ca).hexdigest()[:16]

    def unmet(self) -> list[tuple[str, str]]:
        """Names and reasons of the conditions that keep the machine from being ready."""
        if self.stage not in {"booting", "running"} or self.config is None:
            return []
        required = REQUIRED_ON_CONTROL_PLANE if self.is_control_plane else REQUIRED
        down = [
            f"{name} not {'healthy' if self.services[name].state == 'Running' else 'running'}"
            for name in required
            if not self.services[name].is_ok
        ]
        conditions = [("services", ", ".join(down))] if down else []
        return conditions + (self.fleet.kubernetes.unmet(self) if self.fleet.kubernetes else [])

    def set_stage(self, stage: Stage) -> None:
        self.stage = stage
        self.changed()

    def changed(self) -> None:
        """Tell those who watch the machine, and say its status if that is new."""
        unmet = self.unmet()
        status = (self.stage, tuple(unmet))
        if self.stage in STAGES and status != self._told:
            self._told = status
            conditions = [pb.UnmetCondition(name=name, reason=reason) for name, reason in unmet]
            stage = pb.MachineStatusEvent.Stage.Name(self.stage_number)
            state = pb.MachineStatus(ready=not unmet, unmet_conditions=conditions)
            self.events.publish(pb.MachineStatusEvent(stage=stage, status=state))
        for watcher in list(self._watchers):
            watcher()

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Calls `watcher` after each change until what is returned is called."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def begin(self, medium: Medium, *, is_from_disk: bool) -> None:
        """A kernel starts: nothing that was in memory is left."""
        world = self.fleet.world
        self.boot = Boot(str(uuid.uuid4()), world.clock.time(), medium, is_from_disk)
        self.events = Events()
        self.is_applied = False
        self.acquired.clear()
        self.bootstrapped.clear()
        self._told = ()
        self.load_config()
        self.services = self._new_services()
        self.log(f"Linux version 6.18.44-talos, Talos {medium.version}")
        self.set_stage("booting")

    def reload_services(self) -> None:
        self.services = self._new_services()

    def _new_services(self) -> Services:
        names = CONTROL_PLANE if self.is_control_plane else WORKER
        return Services(names, self.fleet.world.clock, self.events, self.changed)

    # What is said and asked

    def log(self, text: str) -> None:
        """One line on the console and in the kernel's log."""
        if self.boot is not None:
            when = self.fleet.world.clock.now().isoformat().replace("+00:00", "Z")
            self.boot.kernel_log.append(f"user: warning: [{when}]: [talos] {text}\n")

    def record(
        self, verb: str, actor: Actor, *, before: object = None, after: object = None
    ) -> None:
        """An effect that took place on this machine."""
        self.fleet.world.oplog.append(verb, self.label, before=before, after=after, actor=actor)

    def ask(self, action: Action) -> str:
        """Have the machine carry out `action`; returns its actor id."""
        named = action if action.id else replace(action, id=str(uuid.uuid4()))
        self.asked.put_nowait(named)
        return named.id

    def fault(self, name: str, **about: object) -> bool:
        """Whether the fault strikes this machine now."""
        return self.fleet.world.faults.fires(name, node=self.label, **about) is not None
