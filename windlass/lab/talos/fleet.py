"""What all machines of a lab share, and how they find one another."""

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from windlass.lab.machine import Hypervisor
from windlass.lab.talos.disks import Disks
from windlass.lab.talos.etcd import Etcd
from windlass.lab.world import World

if TYPE_CHECKING:
    from windlass.lab.talos.machine import Machine

logger = logging.getLogger(__name__)


class Kubernetes(Protocol):
    """What machines run of Kubernetes. A lab without one leaves its nodes with nothing to wait for."""

    async def kubelet_up(self, machine: "Machine") -> None:
        """The kubelet of this machine starts; it registers the node when an API server answers."""
        ...

    async def control_plane_up(self, machine: "Machine") -> None:
        """Etcd is well on this machine: its API server and controllers start."""
        ...

    def config_changed(self, machine: "Machine") -> None:
        """The running machine has another config: what its kubelet says about the node follows."""
        ...

    async def machine_down(self, machine: "Machine") -> None:
        """Whatever ran here is gone."""
        ...

    def unmet(self, machine: "Machine") -> list[tuple[str, str]]:
        """Names and reasons of the machine's conditions that Kubernetes does not meet yet."""
        ...

    def static_pods(self, machine: "Machine") -> list[dict[str, object]]:
        """Static pods of this machine as the API server's mirror of them, or as they will be."""
        ...


@dataclass
class Fleet:
    """All machines by VM id, running or not."""

    world: World
    disks: Disks
    etcd: Etcd
    machines: dict[int, "Machine"] = field(default_factory=dict[int, "Machine"])
    hypervisor: Hypervisor | None = None
    kubernetes: Kubernetes | None = None

    def find(self, target: str) -> "Machine | None":
        """The machine that answers at this address or hostname, whatever state it is in."""
        found = [machine for machine in self.machines.values() if target in machine.names()]
        return max(found, key=lambda machine: machine.api.is_open) if found else None

    def peers(self, machine: "Machine") -> list["Machine"]:
        """Other machines of the same Talos cluster that have booted with their config."""
        return [
            other
            for other in self.kin(machine)
            if other.boot is not None and other.boot.is_configured
        ]

    def kin(self, machine: "Machine") -> list["Machine"]:
        """Other machines that have, or are being given, a config of the same Talos cluster."""
        return [
            other
            for other in self.machines.values()
            if other is not machine
            and other.config is not None
            and machine.config is not None
            and other.config.os_ca == machine.config.os_ca
        ]

    async def stopped(self, vmid: int) -> None:
        """The machine switched itself off."""
        if self.hypervisor is None:
            logger.warning("VM %s switched itself off and no hypervisor is there to notice", vmid)
            return
        await self.hypervisor.guest_stopped(vmid)
