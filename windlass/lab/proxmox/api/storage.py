"""Storages: figures, content, and downloads that really fetch."""

import asyncio
import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from windlass.lab.proxmox.checks import NETWORK, STORAGE_READ, both, everybody, perm
from windlass.lab.proxmox.fetch import fetched
from windlass.lab.proxmox.hosts import StorageSpec
from windlass.lab.proxmox.refusals import Refusal, bad_parameter, forbidden
from windlass.lab.proxmox.routing import Call, serves
from windlass.lab.proxmox.storages import Volume
from windlass.lab.proxmox.tasks import Say

STORAGE = "/nodes/{node}/storage/{storage}"
_SUFFIXES = {
    "iso": (".iso", ".img"),
    "vztmpl": (".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2"),
    "import": (".ova", ".qcow2", ".raw", ".vmdk"),
}
_TYPES = "{btrfs|cephfs|cifs|dir|esxi|iscsi|iscsidirect|lvm|lvmthin|nfs|pbs|rbd|zfs|zfspool}"
_ALGORITHMS = "{md5|sha1|sha224|sha256|sha384|sha512}"
DOWNLOAD = both(perm("/storage/{storage}", "Datastore.AllocateTemplate"), NETWORK)


@serves("GET", "/storage", everybody, f"type?:{_TYPES}")
async def datacenter_storages(call: Call) -> Any:
    dc = call.dc
    specs = [
        spec
        for name in dc.storages.names()
        if (spec := dc.storages.any_spec(name)) and _may_see(call, name)
    ]
    return [_definition(spec) for spec in specs if call.text("type") in ("", spec.type)]


@serves("GET", "/storage/{storage}", perm("/storage/{storage}", "Datastore.Allocate"))
async def datacenter_storage(call: Call) -> Any:
    spec = call.dc.storages.any_spec(call.text("storage"))
    if spec is None:
        raise Refusal(f"storage '{call.text('storage')}' does not exist")
    return _definition(spec)


def _definition(spec: StorageSpec) -> dict[str, Any]:
    found: dict[str, Any] = {
        "storage": spec.name,
        "type": spec.type,
        "content": ",".join(spec.content),
    }
    return (
        found
        | ({"path": spec.path} if spec.is_files else {})
        | ({"shared": 1} if spec.shared else {})
    )


def _may_see(call: Call, storage: str) -> bool:
    return call.dc.access.may_any(
        call.identity, f"/storage/{storage}", "Datastore.Audit", "Datastore.AllocateSpace"
    )


@serves(
    "GET",
    "/nodes/{node}/storage",
    everybody,
    "content?:s enabled?:b format?:b storage?:storage target?:node",
    lacks=("target",),
)
async def storages(call: Call) -> Any:
    wanted, content = call.text("storage"), call.text("content")
    rows = [
        {"storage": spec.name, **_status(call, spec)}
        for spec in call.dc.storages.of_host(call.node)
        if wanted in ("", spec.name) and _may_see(call, spec.name)
        and (not content or set(content.split(",")) & set(spec.content))
    ]  # fmt: skip
    if call.flag("format"):
        for row in rows:
            files = row["type"] in ("dir", "nfs")
            row["formats"] = {
                "default": "raw",
                "supported": ["raw", "qcow2", "vmdk"] if files else ["raw"],
            }
    return rows


@serves("GET", f"{STORAGE}/status", STORAGE_READ)
async def storage_status(call: Call) -> Any:
    return _status(call, call.dc.storages.spec(call.node, call.text("storage")))


def _status(call: Call, spec: StorageSpec) -> dict[str, Any]:
    active = call.dc.storages.is_active(call.node, spec.name)
    total, used = call.dc.storages.usage(call.node, spec.name) if active else (0, 0)
    row: dict[str, Any] = {
        "type": spec.type, "content": ",".join(spec.content), "shared": int(spec.shared), "enabled": 1,
        "active": int(active), "total": total, "used": used, "avail": total - used,
    }  # fmt: skip
    return row | ({"used_fraction": used / total} if total else {})


@serves("GET", f"{STORAGE}/content", STORAGE_READ, "content?:s vmid?:vmid")
async def content(call: Call) -> Any:
    call.dc.storages.activate(call.node, call.text("storage"))
    return [
        _entry(volume)
        for volume in call.dc.storages.volumes(call.node, call.text("storage"))
        if call.text("content") in ("", volume.content)
        and ("vmid" not in call.given or volume.vmid == call.vmid)
    ]


def _entry(volume: Volume) -> dict[str, Any]:
    row: dict[str, Any] = {
        "volid": volume.volid, "content": volume.content, "format": volume.format, "size": volume.size, "ctime": volume.ctime,
    }  # fmt: skip
    return (
        row
        | ({"vmid": volume.vmid} if volume.vmid else {})
        | ({"parent": volume.parent} if volume.parent else {})
    )


def _volume(call: Call) -> Volume:
    name = call.text("volume")
    volid = name if ":" in name else f"{call.text('storage')}:{name}"
    if volid.partition(":")[0] != call.text("storage"):
        raise bad_parameter(
            "volume", f"storage ID missmatch ({volid.partition(':')[0]} != {call.text('storage')})"
        )
    call.dc.storages.activate(call.node, call.text("storage"))
    return call.dc.storages.get(call.node, volid)


@serves("GET", f"{STORAGE}/content/{{volume}}", STORAGE_READ)
async def volume_info(call: Call) -> Any:
    volume = _volume(call)
    spec = call.dc.storages.spec(call.node, volume.storage)
    path = f"{spec.path}/{volume.name}" if spec.is_files else f"/dev/{volume.storage}/{volume.name}"
    return {"path": path, "size": volume.size, "used": volume.size, "format": volume.format}


@serves("POST", f"{STORAGE}/content", perm("/storage/{storage}", "Datastore.AllocateSpace"),
        "filename:s size:disk-size vmid:vmid format?:{raw|qcow2|subvol|vmdk}")  # fmt: skip
async def allocate(call: Call) -> Any:
    size = size_of(call.text("size"), default="K")
    spec = call.dc.storages.spec(call.node, call.text("storage"))
    made = "qcow2" if spec.is_files else "raw"
    if call.text("format", made) != made:
        raise Refusal(f"the lab makes {made} images only on '{spec.name}'", status=501)
    name = call.text("filename").rpartition("/")[2].partition(".")[0]
    volume = call.dc.storages.allocate(call.node, call.text("storage"), call.vmid, size, name=name)
    call.dc.world.oplog.append(
        "volume_create", volume.volid, before=None, after={"size": size}, actor=call.actor
    )
    return volume.volid


@serves("DELETE", f"{STORAGE}/content/{{volume}}", everybody, "delay?:i(1..30)")
async def delete(call: Call) -> Any:
    if not call.dc.access.may(
        call.identity, f"/storage/{call.text('storage')}", "Datastore.Allocate"
    ):
        raise forbidden(f"/storage/{call.text('storage')}, Datastore.Allocate")
    volume, dc, actor = _volume(call), call.dc, call.actor

    async def work(say: Say) -> None:
        dc.storages.remove(volume)
        if volume.content == "images":
            await dc.guests.volume_removed(volume.volid)
        dc.world.oplog.append(
            "volume_delete", volume.volid, before={"size": volume.size}, after=None, actor=actor
        )
        say(f"Removed volume '{volume.volid}'")

    subject = f"{volume.vmid or ''}@{volume.storage}" if volume.vmid else volume.storage
    upid = dc.tasks.spawn(call.node, "imgdel", subject, call.identity, work)
    return await dc.tasks.unless_ended(upid, call.number("delay"), "")


def size_of(text: str, *, default: str = "") -> int:
    """Bytes of `40G`; without a suffix in units of `default`."""
    units = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
    unit = text[-1] if text[-1] in "KMGT" else ""
    return int(float(text.removesuffix(unit)) * units[unit or default])


# Fetching


@serves("GET", "/nodes/{node}/query-url-metadata", NETWORK, "url:url verify-certificates?:b")
async def url_metadata(call: Call) -> Any:
    verify = call.flag("verify-certificates", default=True)
    try:
        async with fetched(call.dc.world, "HEAD", call.text("url"), verify=verify) as response:
            if response.status != 200:
                raise Refusal(f"invalid server response: '{response.status} {response.reason}'")
            named = re.search(
                r'filename="?([^";]+)', response.headers.get("Content-Disposition", "")
            )
            name = named[1] if named else call.text("url").rpartition("/")[2]
            return {
                "filename": name,
                "mimetype": response.content_type,
                "size": int(response.headers["Content-Length"]),
            }
    except Refusal as refusal:
        if refusal.text.startswith("wget: "):
            raise Refusal(
                f"invalid server response: '500 {refusal.text.removeprefix('wget: ')}'"
            ) from refusal
        raise


@serves(
    "POST", f"{STORAGE}/download-url", DOWNLOAD,
    "content:{iso|vztmpl|import} filename:s(255) url:url checksum?:s>checksum-algorithm"
    f" checksum-algorithm?:{_ALGORITHMS}>checksum compression?:s verify-certificates?:b",
)  # fmt: skip
async def download(call: Call) -> Any:
    dc, storage, kind = call.dc, call.text("storage"), call.text("content")
    spec = dc.storages.activate(call.node, storage)
    if kind not in spec.content:
        raise Refusal(f"storage '{storage}' is not configured for content-type '{kind}'")
    name = re.sub(r"[^-a-zA-Z0-9_.+]", "_", call.text("filename").rpartition("/")[2])
    if not name.endswith(_SUFFIXES[kind]):
        raise bad_parameter("filename", "wrong file extension")
    if call.text("compression"):
        raise Refusal("the lab does not decompress downloads", status=501)

    async def work(say: Say) -> None:
        await _download(call, storage, kind, name, say)

    return dc.tasks.spawn(
        call.node, "download", quote(name, safe="").replace("%", "-"), call.identity, work
    )


async def _download(call: Call, storage: str, kind: str, name: str, say: Say) -> None:
    storages_ = call.dc.storages
    target = storages_.file_of(call.node, storage, kind, name)
    shown = storages_.shown_path(call.node, storage, kind, name)
    if storages_.find(call.node, f"{storage}:{kind}/{name}") is not None:
        return _already_there(call, target, shown, say)
    say(f"downloading {call.text('url')} to {shown}")
    partial = target.with_name(f"{name}.tmp_dwnl")
    try:
        await asyncio.to_thread(partial.parent.mkdir, parents=True, exist_ok=True)
        size = await _fetch(call, partial, storage)
        _check_sum(call, partial, say)
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    storages_.add_file(call.node, storage, kind, name, size)
    say("download of '{}' to '{}' finished".format(call.text("url"), shown))
    call.dc.world.oplog.append(
        "download",
        f"{call.node}/{storage}:{kind}/{name}",
        before=None,
        after={"size": size},
        actor=call.actor,
    )
    return None


def _already_there(call: Call, target: Path, shown: str, say: Say) -> None:
    wanted = call.text("checksum").lower()
    if not wanted:
        raise Refusal(f"refusing to override existing file '{shown}'")
    got = _digest(call, target)
    if got != wanted:
        raise Refusal(
            f"mismatch: got '{got}' != expect '{wanted}' - file '{shown}' already exists, aborting"
        )
    say(f"OK, got correct file already, no need to download: {shown}")


async def _fetch(call: Call, partial: Path, storage: str) -> int:
    verify = call.flag("verify-certificates", default=True)
    try:
        async with fetched(call.dc.world, "GET", call.text("url"), verify=verify) as response:
            if response.status != 200:
                raise Refusal(f"wget: ERROR {response.status}: {response.reason}.")
            body = await response.read()
    except Refusal as refusal:
        raise Refusal(f"download failed: {refusal.text}") from refusal
    except aiohttp.ClientPayloadError as cut:
        raise Refusal(f"download failed: wget: Read error: {cut}") from cut
    if call.dc.world.faults.fires("download-truncated", node=call.node):
        body = body[: len(body) // 2]
    call.dc.storages.check_room(call.node, storage, len(body))
    partial.write_bytes(body)
    return len(body)


def _digest(call: Call, file: Path) -> str:
    return hashlib.new(call.text("checksum-algorithm"), file.read_bytes()).hexdigest()


def _check_sum(call: Call, file: Path, say: Say) -> None:
    wanted = call.text("checksum").lower()
    if not wanted:
        return
    say("calculating checksum...")
    got = _digest(call, file)
    if got != wanted:
        raise Refusal(f"checksum mismatch: got '{got}' != expect '{wanted}'")
    say("OK, checksum verified")
