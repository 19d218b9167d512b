"""Storages and the volumes in them, with the room they take. Files that were downloaded are real files.

A volume of a local storage is known by its host and volid, one of a shared storage by its volid alone.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from windlass.lab.proxmox.hosts import GIB, THIN, HostSpec, StorageSpec
from windlass.lab.proxmox.refusals import Refusal
from windlass.lab.world import World

# A thin pool gives room when blocks are written; a fresh Talos writes about this share of its disk.
THIN_SHARE = 0.1
_EXTENSION = {"iso": "iso", "import": "raw", "backup": "vma.zst"}


@dataclass(frozen=True)
class Volume:
    """One volume. `size` in bytes; `file` lies in the lab's folder; `owner` is the host, empty when shared.

    `written` says that a guest has run with it: the lab cannot copy what the guest wrote.
    """

    volid: str
    storage: str
    owner: str
    content: str
    size: int
    format: str
    ctime: int
    vmid: int | None = None
    file: str | None = None
    written: bool = False
    parent: str | None = None

    @property
    def name(self) -> str:
        return self.volid.partition(":")[2]


class Storages:
    """All storages of the cluster. `folder` keeps the files."""

    def __init__(self, world: World, hosts: tuple[HostSpec, ...], folder: Path) -> None:
        self._world = world
        self._folder = folder
        self._of_host = {host.name: {s.name: s for s in host.all_storages} for host in hosts}
        self._volumes = world.store.section("proxmox.volumes")
        self.locks: dict[tuple[str, str], asyncio.Lock] = {}

    def names(self) -> list[str]:
        """Storage names of all hosts, each once."""
        return list(dict.fromkeys(name for found in self._of_host.values() for name in found))

    def spec(self, node: str, storage: str) -> StorageSpec:
        """Raises: Refusal when there is no such storage, there or anywhere."""
        found = self._of_host[node].get(storage)
        if found is None:
            anywhere = storage in self.names()
            raise Refusal(
                f"storage '{storage}' is not available on node '{node}'" if anywhere
                else f"storage '{storage}' does not exist"
            )  # fmt: skip
        return found

    def any_spec(self, storage: str) -> StorageSpec | None:
        return next((found[storage] for found in self._of_host.values() if storage in found), None)

    def of_host(self, node: str) -> list[StorageSpec]:
        return list(self._of_host[node].values())

    def is_active(self, node: str, storage: str) -> bool:
        return not self._stands("pve-storage-offline", node, storage)

    def activate(self, node: str, storage: str) -> StorageSpec:
        """Raises: Refusal when it cannot be reached."""
        spec = self.spec(node, storage)
        if not self.is_active(node, storage):
            raise Refusal(
                f"unable to activate storage '{storage}' - directory '{spec.path}' does not exist or is unreachable"
            )
        return spec

    def _stands(self, fault: str, node: str, storage: str) -> bool:
        """Whether a lasting fault is on for this storage; looking does not use it up."""
        return any(
            f.name == fault and f.left != 0
            and str(f.args.get("storage", storage)) == storage and str(f.args.get("node", node)) == node
            for f in self._world.faults.active()
        )  # fmt: skip

    def usage(self, node: str, storage: str) -> tuple[int, int]:
        """Total and used bytes."""
        spec = self.spec(node, storage)
        total = spec.size * GIB
        used = sum(self._room(spec, volume.size) for volume in self.volumes(node, storage))
        return total, total if self._stands("pve-storage-full", node, storage) else min(used, total)

    @staticmethod
    def _room(spec: StorageSpec, size: int) -> int:
        return int(size * THIN_SHARE) if spec.type in THIN else size

    def check_room(self, node: str, storage: str, size: int) -> None:
        """Raises: Refusal in the words of the storage's own tools."""
        spec = self.spec(node, storage)
        total, used = self.usage(node, storage)
        if used + self._room(spec, size) <= total and used < total:
            return
        free = (total - used) // 1024
        texts = {
            "zfspool": f"zfs error: cannot create '{storage}/vm-disk': out of space",
            "lvmthin": f"lvcreate '{storage}' error:   Volume group has insufficient free space ({free} KiB available)",
        }
        raise Refusal(texts.get(spec.type, "unable to create image: No space left on device"))

    # Volumes

    def volumes(self, node: str, storage: str) -> list[Volume]:
        owner = self._owner(node, storage)
        return [v for v in self._all() if v.storage == storage and v.owner == owner]

    def _all(self) -> Iterator[Volume]:
        return iter([Volume(**doc) for doc in self._volumes.values()])

    def _owner(self, node: str, storage: str) -> str:
        return "" if self.spec(node, storage).shared else node

    def find(self, node: str, volid: str) -> Volume | None:
        storage = volid.partition(":")[0]
        if storage not in self._of_host[node]:
            return None
        doc = self._volumes.get(f"{self._owner(node, storage)}/{volid}")
        return Volume(**doc) if doc is not None else None

    def get(self, node: str, volid: str) -> Volume:
        self.spec(node, volid.partition(":")[0])
        found = self.find(node, volid)
        if found is None:
            raise Refusal(f"volume '{volid}' does not exist")
        return found

    def save(self, volume: Volume) -> None:
        self._volumes[f"{volume.owner}/{volume.volid}"] = asdict(volume)

    def remove(self, volume: Volume) -> None:
        del self._volumes[f"{volume.owner}/{volume.volid}"]
        if volume.file:
            Path(volume.file).unlink(missing_ok=True)

    def allocate(
        self, node: str, storage: str, vmid: int, size: int, *, name: str | None = None
    ) -> Volume:
        """A new raw disk image of a VM: the lowest free `vm-<id>-disk-N`, or `name`.

        Raises:
            Refusal: no room, wrong content type, or the name is taken.
        """
        spec = self.activate(node, storage)
        if "images" not in spec.content:
            raise Refusal(f"storage '{storage}' does not support content-type 'images'")
        self.check_room(node, storage, size)
        kind = "qcow2" if spec.is_files else "raw"
        taken = {
            volume.name.rpartition("/")[2].partition(".")[0]
            for volume in self.volumes(node, storage)
        }
        base = name or next(n for i in range(1000) if (n := f"vm-{vmid}-disk-{i}") not in taken)
        if base in taken:
            raise Refusal(f"disk image '{storage}:{base}' already exists")
        path = f"{vmid}/{base}.{kind}" if spec.is_files else base
        volume = Volume(
            f"{storage}:{path}", storage, self._owner(node, storage), "images", size, kind,
            int(self._world.clock.time()), vmid,
        )  # fmt: skip
        self.save(volume)
        return volume

    def add_file(self, node: str, storage: str, content: str, filename: str, size: int) -> Volume:
        """A file that `file_of` names now lies on the storage."""
        volume = Volume(
            f"{storage}:{content}/{filename}", storage, self._owner(node, storage), content, size,
            "iso" if content == "iso" else filename.rpartition(".")[2], int(self._world.clock.time()),
            file=str(self.file_of(node, storage, content, filename)),
        )  # fmt: skip
        self.save(volume)
        return volume

    def file_of(self, node: str, storage: str, content: str, filename: str) -> Path:
        """Where a file of the storage lies in the lab's folder."""
        return (
            self._folder / (self._owner(node, storage) or "shared") / storage / content / filename
        )

    def shown_path(self, node: str, storage: str, content: str, filename: str) -> str:
        """Where the host says that the file lies."""
        folder = {"iso": "template/iso", "vztmpl": "template/cache"}.get(content, content)
        return f"{self.spec(node, storage).path}/{folder}/{filename}"
