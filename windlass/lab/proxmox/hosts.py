"""What the simulated hosts are made of: memory, cores, storages, bridge and PCI devices.

By default every host has `local` (directory: iso, vztmpl, import, backup, snippets), `local-lvm` (thin LVM) and
`tank` (ZFS), and all share `nas` (NFS). `vmbr0` is VLAN-aware.
"""

from dataclasses import dataclass

GIB = 1024**3
MIB = 1024**2
BRIDGES = ("vmbr0",)

# What each storage type calls itself when it has no room, and whether space is taken when it is written or at once.
THIN = frozenset({"lvmthin"})
FILES = frozenset({"dir", "nfs"})


@dataclass(frozen=True)
class StorageSpec:
    """One storage. `size` in GiB; a shared one is the same on every host."""

    name: str
    type: str = "dir"
    content: tuple[str, ...] = (
        "images",
        "iso",
        "vztmpl",
        "import",
        "backup",
        "snippets",
        "rootdir",
    )
    size: int = 4096
    shared: bool = False

    @property
    def is_files(self) -> bool:
        return self.type in FILES

    @property
    def path(self) -> str:
        """Where the files of a directory storage lie on the host."""
        if self.name == "local":
            return "/var/lib/vz"
        return f"/mnt/pve/{self.name}"


DEFAULT_STORAGES = (
    StorageSpec("local", content=("iso", "vztmpl", "import", "backup", "snippets"), size=100),
    StorageSpec("local-lvm", "lvmthin", ("images", "rootdir"), 500),
    StorageSpec("tank", "zfspool", ("images", "rootdir"), 1000),
    StorageSpec("nas", "nfs", ("images", "iso", "import", "backup"), 2000, shared=True),
)


@dataclass(frozen=True)
class HostSpec:
    """One host. `memory` in MiB; `mappings` name PCI mappings with a device here.

    `storages` come beside the default ones; a bare name is a directory storage that takes every content.
    """

    name: str
    memory: int = 64 * 1024
    cpus: int = 16
    mappings: tuple[str, ...] = ()
    storages: tuple[str | StorageSpec, ...] = ()

    @property
    def all_storages(self) -> tuple[StorageSpec, ...]:
        # A storage given as a whole replaces the default of that name; a bare name of a default adds nothing.
        storages = {storage.name: storage for storage in DEFAULT_STORAGES}
        for given in self.storages:
            if isinstance(given, StorageSpec):
                storages[given.name] = given
            elif given not in storages:
                storages[given] = StorageSpec(given)
        return tuple(storages.values())


DEFAULT_HOSTS = (HostSpec("pve1"), HostSpec("pve2"), HostSpec("pve3", mappings=("gpu",)))


@dataclass(frozen=True)
class PciDevice:
    """One device that can be passed through."""

    path: str
    vendor: str = "0x10de"
    device: str = "0x13ba"
    iommu_group: int = 50
    name: str = "GM107GL [Quadro K2200]"


def devices(host: HostSpec) -> dict[str, PciDevice]:
    """Mapping name to the device it stands for on this host: one slot each."""
    return {
        name: PciDevice(path=f"0000:{slot:02x}:00.0", iommu_group=49 + slot)
        for slot, name in enumerate(host.mappings, start=1)
    }
