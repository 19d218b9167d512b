"""The state of the simulated cluster, shared by all calls: hosts, VMs, storages, tasks, users, and what stands in for
the hypervisor's work on its guests.
"""

import asyncio
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

from windlass.lab.factory import medium_of
from windlass.lab.machine import Disk, Guests, Hardware, Medium, Nic
from windlass.lab.proxmox.access import Access
from windlass.lab.proxmox.hosts import BRIDGES, MIB, HostSpec, devices
from windlass.lab.proxmox.options import DRIVE, HOSTPCI, NET, parse
from windlass.lab.proxmox.refusals import Refusal
from windlass.lab.proxmox.storages import Storages
from windlass.lab.proxmox.tasks import Tasks
from windlass.lab.proxmox.vms import Settings, Vm, Vms
from windlass.lab.world import World

VERSION = {"version": "9.1.11", "release": "9.1", "repoid": "7b2f1d0c8a4e5f63"}
# pvestatd tells the cluster this often how its guests are.
BROADCAST_S = 10.0
_BUS_ORDER = ("scsi", "virtio", "sata", "ide")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass
class Datacenter:
    """Everything behind the API."""

    world: World
    guests: Guests
    hosts: tuple[HostSpec, ...]
    vms: Vms = field(init=False)
    storages: Storages = field(init=False)
    tasks: Tasks = field(init=False)
    access: Access = field(init=False)
    down: set[str] = field(default_factory=set[str])
    booted: float = 0
    broadcast: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    gone_down: dict[int, asyncio.Event] = field(default_factory=dict[int, asyncio.Event])
    fingerprints: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self.vms = Vms(self.world)
        self.storages = Storages(self.world, self.hosts, self.folder)
        self.tasks = Tasks(self.world)
        self.access = Access(self.world)
        self.mappings = self.world.store.section("proxmox.mappings")
        if not self.mappings:
            for host in self.hosts:
                for name, device in devices(host).items():
                    entry = (
                        f"id={device.vendor[2:]}:{device.device[2:]},iommugroup={device.iommu_group},"
                        f"node={host.name},path={device.path}"
                    )
                    known = self.mappings.get(name, {"id": name, "map": [], "description": ""})
                    self.mappings[name] = {**known, "map": [*known["map"], entry]}
        self.booted = self.world.clock.time()

    @property
    def folder(self) -> Path:
        return self.world.folder / "proxmox"

    def host(self, name: str) -> HostSpec:
        """Raises: Refusal as for a name that nobody can look up."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise Refusal(
            f"hostname lookup '{name}' failed - failed to get address info for: {name}: Name or service not known"
        )

    # Quorum

    @property
    def quorate(self) -> bool:
        if any(f.name == "pve-no-quorum" and f.left != 0 for f in self.world.faults.active()):
            return False
        return 2 * (len(self.hosts) - len(self.down)) > len(self.hosts)

    def check_quorum(self) -> None:
        if not self.quorate:
            raise Refusal("cluster not ready - no quorum?")

    # Pools

    def check_pool(self, pool: str) -> None:
        if pool and pool not in self.access.pools:
            raise Refusal(f"pool '{pool}' does not exist")

    def add_to_pool(self, pool: str, vmid: int) -> None:
        """Nothing without a pool."""
        if pool:
            self.check_pool(pool)
            doc = self.access.pools[pool]
            self.access.pools[pool] = {**doc, "vms": [*doc["vms"], vmid]}

    # Power

    async def power_on(self, vm: Vm, *, check: bool = True) -> None:
        """The VM runs with its pending changes taken over.

        Raises:
            Refusal: what QEMU or the host says that it cannot.
        """
        vm.config, vm.pending = vm.merged(), {}
        if check:
            self._check_start(vm)
        hardware = self.hardware(vm)
        vm.running, vm.paused, vm.started = True, False, self.world.clock.time()
        vm.pid = 20_000 + vm.vmid
        self.vms.save(vm)
        for disk in hardware.disks:
            self.storages.save(replace(self.storages.get(vm.node, disk.volume), written=True))
        await self.guests.power_on(hardware)

    async def power_off(self, vm: Vm) -> None:
        self.mark_stopped(vm)
        await self.guests.power_off(vm.vmid)

    def mark_stopped(self, vm: Vm) -> None:
        vm.running, vm.paused, vm.pid = False, False, 0
        vm.config, vm.pending = vm.merged(), {}
        self.vms.save(vm)

    def _check_start(self, vm: Vm) -> None:
        host = self.host(vm.node)
        if vm.cores > host.cpus:
            raise Refusal(f"MAX {host.cpus} vcpus allowed per VM on this node")
        others = [
            other
            for other in self.vms
            if other.node == vm.node and other.running and other.vmid != vm.vmid
        ]
        if sum(other.memory for other in others) + vm.memory > host.memory:
            raise Refusal(
                "start failed: QEMU exited with code 1\n"
                f"kvm: cannot set up guest memory 'pc.ram': Cannot allocate memory ({vm.memory} MiB)"
            )
        for key, value in vm.config.items():
            if (
                NET.fullmatch(key)
                and (bridge := parse(key, value).get("bridge"))
                and bridge not in BRIDGES
            ):
                raise Refusal(f"bridge '{bridge}' does not exist")
        taken = {path: other.vmid for other in others for path in self.pci(other)}
        for path in self.pci(vm):
            if path in taken:
                raise Refusal(f"PCI device '{path}' already in use by VMID '{taken[path]}'")

    # Hardware as the guest sees it

    def pci(self, vm: Vm) -> tuple[str, ...]:
        """Paths of the devices that the VM is given. Raises: Refusal for a mapping that is not on its host."""
        found: list[str] = []
        for key, value in sorted(vm.config.items()):
            if HOSTPCI.fullmatch(key):
                parts = parse(key, value)
                found.append(parts.get("host") or self._mapped(vm.node, parts.get("mapping", "")))
        return tuple(found)

    def _mapped(self, node: str, mapping: str) -> str:
        doc = self.mappings.get(mapping)
        if doc is None:
            raise Refusal(f"PCI device mapping not found for '{mapping}'")
        for entry in doc["map"]:
            parts = dict(part.split("=", 1) for part in entry.split(","))
            if parts["node"] == node:
                return parts["path"]
        raise Refusal(f"PCI device mapping not found for '{mapping}' on node '{node}'")

    def hardware(self, vm: Vm) -> Hardware:
        """The VM at the moment it is switched on. Raises: Refusal when a volume is gone."""
        drives = self._drives(vm)
        disks = [
            (key, self.storages.get(vm.node, file)) for key, file, cdrom in drives if not cdrom
        ]
        media = [(key, file) for key, file, cdrom in drives if cdrom and file != "none"]
        smbios = parse_plain(vm.config.get("smbios1", ""))
        address, gateway = _static(vm.config)
        return Hardware(
            vmid=vm.vmid, name=vm.name, host=vm.node, uuid=smbios.get("uuid", ""), cores=vm.cores, memory=vm.memory,
            nics=_nics(vm.config),
            disks=tuple(
                Disk(f"/dev/{_device(key, n)}", volume.size, volume.volid) for n, (key, volume) in enumerate(disks)
            ),
            cdrom=next((m for _, file in media if (m := self._medium(vm.node, file))), None),
            boot_order=self._boot_order(vm, {key: file for key, file, _ in drives}),
            address=address, gateway=gateway, pci=self.pci(vm),
        )  # fmt: skip

    def _drives(self, vm: Vm) -> list[tuple[str, str, bool]]:
        """Device, volume and whether it is a CD-ROM, in the order of the buses; EFI and TPM state left out."""
        found: list[tuple[str, str, bool]] = []
        for key, value in vm.config.items():
            if DRIVE.fullmatch(key) and not key.startswith(("efidisk", "tpmstate")):
                parts = parse(key, value)
                found.append((key, parts["file"], parts.get("media") == "cdrom"))
        return sorted(
            found,
            key=lambda d: (_BUS_ORDER.index(d[0].rstrip("0123456789")), int(d[0].lstrip(_LETTERS))),
        )

    def _boot_order(self, vm: Vm, files: dict[str, str]) -> tuple[str, ...]:
        order = parse_plain(vm.config.get("boot", "")).get("order", "")
        devices_ = [device for device in order.split(";") if device] or list(files)
        return tuple(files[device] for device in devices_ if device in files)

    def _medium(self, node: str, volid: str) -> Medium | None:
        if "cloudinit" in volid or ":" not in volid:
            return None
        volume = self.storages.get(node, volid)
        return medium_of(Path(volume.file)) if volume.file else None

    def status(self, vm: Vm) -> dict[str, Any]:
        """The figures of a VM as lists and `status/current` show them."""
        disk = next((v for v in self._disk_volumes(vm)), None)
        found: dict[str, Any] = {
            "vmid": vm.vmid, "name": vm.name, "status": "running" if vm.running else "stopped",
            "cpus": vm.cores, "maxmem": vm.memory * MIB, "mem": vm.memory * MIB // 2 if vm.running else 0,
            "cpu": 0.05 if vm.running else 0, "maxdisk": disk.size if disk else 0, "disk": 0,
            "uptime": int(self.world.clock.since(vm.started)) if vm.running else 0,
            "netin": 0, "netout": 0, "diskread": 0, "diskwrite": 0,
        }  # fmt: skip
        if vm.running:
            found["pid"] = vm.pid
        if vm.tags:
            found["tags"] = vm.tags
        if vm.config.get("template") == "1":
            found["template"] = 1
        if lock := self.vms.shown_lock(vm):
            found["lock"] = lock
        return found

    def _disk_volumes(self, vm: Vm) -> list[Any]:
        found = (
            self.storages.find(vm.node, file) for _, file, cdrom in self._drives(vm) if not cdrom
        )
        return [volume for volume in found if volume is not None]


def parse_plain(text: str) -> dict[str, str]:
    """`a=1,b=2` without looking at the keys."""
    return {
        key: value for key, _, value in (part.partition("=") for part in text.split(",") if part)
    }


def _device(key: str, number: int) -> str:
    return f"{'vd' if key.startswith('virtio') else 'sd'}{_LETTERS[number]}"


def _nics(config: Settings) -> tuple[Nic, ...]:
    nets = sorted((int(key[3:]), value) for key, value in config.items() if NET.fullmatch(key))
    parsed = [parse("net0", value) for _, value in nets]
    return tuple(
        Nic(p["macaddr"].lower(), p.get("bridge", ""), int(p["tag"]) if "tag" in p else None)
        for p in parsed
    )


def _static(config: Settings) -> tuple[IPv4Interface | None, IPv4Address | None]:
    """Address and gateway of the cloud-init drive, if there is one and it has them."""
    has_drive = any("cloudinit" in value for key, value in config.items() if DRIVE.fullmatch(key))
    given = parse_plain(config.get("ipconfig0", "")) if has_drive else {}
    address = given.get("ip", "dhcp")
    if address == "dhcp":
        return None, None
    return IPv4Interface(address), IPv4Address(given["gw"]) if "gw" in given else None
