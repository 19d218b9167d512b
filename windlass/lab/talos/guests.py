"""All simulated Talos machines of a lab, as the hypervisor under them sees them."""

import asyncio
import logging
from typing import Any

from windlass.lab.controllers import kubelet
from windlass.lab.controllers.argocd import applications
from windlass.lab.kubernetes import faults as kubernetes_faults
from windlass.lab.machine import Hardware, Hypervisor, Medium
from windlass.lab.talos.calls import answered
from windlass.lab.talos.cluster import Cluster
from windlass.lab.talos.disks import Content, Disks
from windlass.lab.talos.etcd import Etcd
from windlass.lab.talos.fleet import Fleet
from windlass.lab.talos.images import extensions
from windlass.lab.talos.lifecycle import go_dark, live
from windlass.lab.talos.machine import Action, Machine
from windlass.lab.world import World

logger = logging.getLogger(__name__)

FAULTS = {
    "talos-impostor": "node=: in maintenance mode another certificate than before answers",
    "talos-apply-rejected": "node=, reason=: ApplyConfiguration is refused",
    "talos-bootstrap-after": "node=: etcd is bootstrapped, then the connection breaks instead of an answer",
    "talos-not-booting": "node=: the next boot hangs in the firmware",
    "talos-other-machine": "node=: what answers at its address has another UUID and another MAC",
    "talos-hang": "node=, method=: a call is taken and never answered",
    "talos-reset-connection": "node=, method=, when=before|after: the connection breaks before or after the call",
    "etcd-learner-stuck": "node=: the learner is not promoted",
    "node-flap": "node=: a running machine reboots by itself",
}


class TalosGuests:
    """Implements `windlass.lab.machine.Guests`. `hypervisor` is told when a machine switches itself off.

    Without `kubernetes` machines stop at etcd: nothing listens on port 6443 and no node has anything to wait for.
    """

    def __init__(self, world: World, *, kubernetes: bool = True) -> None:
        disks, etcd = Disks(world.store.section("talos-disks")), Etcd(world.store.section("etcd"))
        self.fleet = Fleet(world, disks, etcd)
        if kubernetes:
            self.fleet.kubernetes = Cluster(self.fleet)
            # Known before the cluster is: a fault may wait for what does not run yet.
            kubernetes_faults.declare(world.faults)
            for name, does in (kubelet.FAULTS | applications.FAULTS).items():
                world.faults.declare(name, does)
        self._lives: dict[int, asyncio.Task[None]] = {}
        for name, does in FAULTS.items():
            world.faults.declare(name, does)

    @property
    def hypervisor(self) -> Hypervisor | None:
        return self.fleet.hypervisor

    @hypervisor.setter
    def hypervisor(self, hypervisor: Hypervisor) -> None:
        self.fleet.hypervisor = hypervisor

    async def start(self) -> None:
        """Nothing runs yet: machines start when the hypervisor switches them on."""

    async def stop(self) -> None:
        """The lab ends: as if all plugs were pulled, but nothing is recorded."""
        for vmid in list(self._lives):
            await self._pull(vmid)

    # Guests

    async def power_on(self, hardware: Hardware) -> None:
        await self._pull(hardware.vmid)
        machine = Machine(self.fleet, hardware)
        self.fleet.machines[hardware.vmid] = machine
        self._begin(machine)

    async def power_off(self, vmid: int) -> None:
        await self._pull(vmid)

    async def reset(self, vmid: int) -> None:
        machine = self.fleet.machines.get(vmid)
        if machine is None or vmid not in self._lives:
            return
        await self._pull(vmid)
        self._begin(machine)

    async def shutdown(self, vmid: int) -> None:
        machine = self.fleet.machines.get(vmid)
        if machine is not None and machine.is_up:
            machine.ask(Action("shutdown", boots_again=False))

    async def volume_removed(self, volume: str) -> None:
        self.fleet.disks.remove(volume)
        for vmid, machine in list(self.fleet.machines.items()):
            if machine.stage == "off" and volume in {
                disk.volume for disk in machine.hardware.disks
            }:
                del self.fleet.machines[vmid]

    async def volume_imported(self, volume: str, medium: Medium) -> None:
        self.fleet.disks.write(volume, Content(boots=medium))

    def agent_interfaces(self, vmid: int) -> list[dict[str, Any]] | None:
        machine = self.fleet.machines.get(vmid)
        if (
            machine is None
            or machine.boot is None
            or machine.stage not in {"maintenance", "booting", "running"}
        ):
            return None
        if "siderolabs/qemu-guest-agent" not in extensions(
            self.fleet.world, machine.medium.schematic
        ):
            return None
        return _interfaces(machine)

    # Ground truth

    def methods(self) -> list[str]:
        """What a machine's API answers."""
        return answered()

    def state(self) -> dict[str, Any]:
        """What is really so, for the observer: every machine and every etcd cluster."""
        return {
            "machines": [_state(machine) for machine in self.fleet.machines.values()],
            "etcd": self.fleet.etcd.state(),
        }

    # Power

    def _begin(self, machine: Machine) -> None:
        machine.asked = asyncio.Queue()
        life = asyncio.create_task(live(machine), name=f"life of {machine.label}")
        life.add_done_callback(_report)
        self._lives[machine.hardware.vmid] = life

    async def _pull(self, vmid: int) -> None:
        life = self._lives.pop(vmid, None)
        machine = self.fleet.machines.get(vmid)
        # A machine that has just switched itself off is told so by its hypervisor.
        if life is None or machine is None or life is asyncio.current_task():
            return
        life.cancel()
        await asyncio.wait({life})
        await go_dark(machine)
        machine.stage, machine.boot = "off", None


def _report(life: asyncio.Task[None]) -> None:
    """A simulated machine never crashes by itself: if one does, the lab is wrong and says so."""
    if not life.cancelled() and (error := life.exception()) is not None:
        logger.error("%s ended: %r", life.get_name(), error, exc_info=error)


def _interfaces(machine: Machine) -> list[dict[str, Any]]:
    loopback = {
        "name": "lo", "hardware-address": "00:00:00:00:00:00",
        "ip-addresses": [{"ip-address-type": "ipv4", "ip-address": "127.0.0.1", "prefix": 8}],
    }  # fmt: skip
    found: list[dict[str, Any]] = [loopback]
    for number, nic in enumerate(machine.hardware.nics):
        addresses: list[dict[str, Any]] = []
        if number == 0:
            address = machine.interface
            addresses.append(
                {
                    "ip-address-type": "ipv4",
                    "ip-address": str(address.ip),
                    "prefix": address.network.prefixlen,
                }
            )
        found.append(
            {"name": f"ens{18 + number}", "hardware-address": nic.mac, "ip-addresses": addresses}
        )
    return found


def _state(machine: Machine) -> dict[str, Any]:
    content, boot = machine.content, machine.boot
    return {
        "vmid": machine.hardware.vmid,
        "name": machine.label,
        "hostname": machine.hostname,
        "address": str(machine.address),
        "stage": machine.stage,
        "ready": machine.stage in {"running", "maintenance"} and not machine.unmet(),
        "unmet": [list(condition) for condition in machine.unmet()],
        "role": machine.config.role if machine.config else None,
        "boot_id": boot.id if boot else None,
        "runs": boot.medium.version if boot else None,
        "schematic": boot.medium.schematic if boot else None,
        "installed": content.boots.version if content.boots else None,
        "etcd": {"cluster": content.etcd.cluster, "member": f"{content.etcd.member:016x}"}
        if content.etcd
        else None,
        "fingerprint": machine.maintenance_fingerprint or None,
    }
