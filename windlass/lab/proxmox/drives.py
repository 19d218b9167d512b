"""Drives of a VM: from what a request asks for to volumes that exist, and back."""

from dataclasses import replace
from pathlib import Path

from windlass.lab.factory import medium_of
from windlass.lab.proxmox.datacenter import Datacenter
from windlass.lab.proxmox.hosts import GIB, MIB
from windlass.lab.proxmox.options import parse, show
from windlass.lab.proxmox.refusals import Refusal, bad_parameter
from windlass.lab.proxmox.storages import Volume

CLOUDINIT_BYTES = 4 * MIB
_SMALL = {"efidisk0": 528 * 1024, "tpmstate0": 4 * MIB}


def is_new(file: str) -> bool:
    """Whether `file` asks for a new volume: `STORAGE:GiB` or `STORAGE:cloudinit`."""
    volume = file.partition(":")[2]
    return volume == "cloudinit" or volume.replace(".", "", 1).isdigit()


def storage_of(file: str) -> str | None:
    """The storage that a drive uses; None for an empty or physical CD-ROM."""
    return file.partition(":")[0] if ":" in file else None


def check_syntax(option: str, text: str) -> None:
    """What is refused before a task starts. Raises: Refusal 400."""
    parts = parse(option, text)
    file = parts["file"]
    if ":" in file and ":iso/" in file and parts.get("media") != "cdrom":
        raise bad_parameter(option, "explicit 'media=cdrom' is required for iso images")
    if "import-from" in parts and not file.endswith(":0"):
        raise bad_parameter(
            option,
            "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>",
        )
    if ":" not in file and file not in ("none", "cdrom"):
        raise bad_parameter(
            option,
            f"invalid format - format error\n{option}.file: unable to parse volume ID '{file}'",
        )


async def create(
    dc: Datacenter, node: str, vmid: int, option: str, text: str, made: list[Volume]
) -> str:
    """The drive's configuration value once its volume exists; new volumes are added to `made`.

    Raises:
        Refusal: no room, no such volume.
    """
    parts = parse(option, text)
    file = parts["file"]
    if file in ("none", "cdrom"):
        return show(parts, "file")
    storage, _, wanted = file.partition(":")
    if not is_new(file):
        return show(parts | _size(dc.storages.get(node, file)), "file")
    # One allocation at a time on a storage, as its lock has it.
    if wanted == "cloudinit":
        volume = dc.storages.allocate(
            node, storage, vmid, CLOUDINIT_BYTES, name=f"vm-{vmid}-cloudinit"
        )
        parts["media"] = "cdrom"
    elif source := parts.pop("import-from", None):
        volume = await _import(dc, node, vmid, storage, source)
    else:
        size = _SMALL.get(option) or int(float(wanted) * GIB)
        volume = dc.storages.allocate(node, storage, vmid, size)
    made.append(volume)
    for gone in ("format", "size"):
        parts.pop(gone, None)
    parts["file"] = volume.volid
    return show(parts | _size(volume), "file")


async def _import(dc: Datacenter, node: str, vmid: int, storage: str, source: str) -> Volume:
    image = dc.storages.get(node, source)
    medium = medium_of(Path(image.file)) if image.file else None
    if medium is None:
        raise Refusal(
            f"the lab cannot import '{source}': it is not an image of the lab's factory", status=501
        )
    volume = dc.storages.allocate(node, storage, vmid, image.size)
    await dc.guests.volume_imported(volume.volid, medium)
    return volume


def _size(volume: Volume) -> dict[str, str]:
    return {"size": shown_size(volume.size)}


def shown_size(size: int) -> str:
    """`40G`, `528K`: the largest unit without a remainder."""
    for unit, factor in (("T", 1024**4), ("G", GIB), ("M", MIB)):
        if size % factor == 0 and size:
            return f"{size // factor}{unit}"
    return f"{size // 1024}K"


async def resize(dc: Datacenter, node: str, text: str, option: str, size: int) -> str:
    """The drive's value after its volume has grown to `size` bytes."""
    parts = parse(option, text)
    volume = dc.storages.get(node, parts["file"])
    if size < volume.size:
        raise Refusal("shrinking disks is not supported")
    dc.storages.check_room(node, volume.storage, size - volume.size)
    grown = replace(volume, size=size)
    dc.storages.save(grown)
    return show(parts | _size(grown), "file")


async def remove(dc: Datacenter, volume: Volume) -> None:
    """The volume and what was on it are gone."""
    dc.storages.remove(volume)
    if volume.content == "images":
        await dc.guests.volume_removed(volume.volid)
