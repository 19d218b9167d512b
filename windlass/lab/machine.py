"""Where a hypervisor and its guests meet: what Proxmox gives a VM, and what a VM does to Proxmox.

The simulated Proxmox implements `Hypervisor`, the simulated Talos implements `Guests`; neither imports the other.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, Protocol


@dataclass(frozen=True)
class Medium:
    """A bootable Talos image: what it boots, whether from a CD-ROM or as the content of a disk."""

    version: str
    schematic: str
    platform: str


@dataclass(frozen=True)
class Nic:
    """`mac` is lower case with colons."""

    mac: str
    bridge: str
    vlan: int | None


@dataclass(frozen=True)
class Disk:
    """One disk as the guest sees it. `volume` is the Proxmox volid and names its content for as long as it exists."""

    device: str
    size: int
    volume: str


@dataclass(frozen=True)
class Hardware:
    """A VM at the moment it is switched on. Sizes: `memory` in MiB, disk size in bytes.

    `address` and `gateway` come from the cloud-init drive (`ipconfig0`), the only way a nocloud Talos learns a static
    address before it has a machine config; None means DHCP, which the lab answers from `mac`.
    `boot` lists bootable devices in order: a volid of a disk or the medium of a CD-ROM.
    """

    vmid: int
    name: str
    host: str
    uuid: str
    cores: int
    memory: int
    nics: tuple[Nic, ...]
    disks: tuple[Disk, ...]
    cdrom: Medium | None
    boot_order: tuple[str, ...]
    address: IPv4Interface | None
    gateway: IPv4Address | None
    pci: tuple[str, ...]


class Hypervisor(Protocol):
    """What a guest can do to the machine it runs on."""

    async def guest_stopped(self, vmid: int) -> None:
        """The guest switched itself off."""
        ...


class Guests(Protocol):
    """What a hypervisor can do to its guests. Every call returns at once; the guest takes its time by itself."""

    async def power_on(self, hardware: Hardware) -> None: ...

    async def power_off(self, vmid: int) -> None:
        """The plug is pulled."""
        ...

    async def reset(self, vmid: int) -> None: ...

    async def shutdown(self, vmid: int) -> None:
        """ACPI power button; the guest calls `Hypervisor.guest_stopped` when it is down, if it ever is."""
        ...

    async def volume_removed(self, volume: str) -> None:
        """The content of this disk is gone for good."""
        ...

    async def volume_imported(self, volume: str, medium: Medium) -> None:
        """A new disk holds this image, not yet booted."""
        ...

    def agent_interfaces(self, vmid: int) -> list[dict[str, Any]] | None:
        """The guest agent's network-get-interfaces result, or None while no agent answers."""
        ...
