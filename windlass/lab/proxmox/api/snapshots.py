"""Snapshots of VMs: configuration and disks, never memory. What a guest wrote since cannot be taken back here."""

from typing import Any

from windlass.lab.proxmox.api.qemu import VM
from windlass.lab.proxmox.checks import perm_any, vm
from windlass.lab.proxmox.datacenter import Datacenter
from windlass.lab.proxmox.options import DRIVE, parse
from windlass.lab.proxmox.refusals import Refusal
from windlass.lab.proxmox.routing import Call, serves
from windlass.lab.proxmox.storages import Volume
from windlass.lab.proxmox.tasks import Say
from windlass.lab.proxmox.vms import Vm

SNAPSHOT = f"{VM}/snapshot"


@serves("GET", SNAPSHOT, vm("VM.Audit"))
async def snapshots(call: Call) -> Any:
    found = call.dc.vms.get(call.node, call.vmid)
    rows: list[dict[str, Any]] = [
        {"name": name, "description": doc["description"], "snaptime": doc["snaptime"], "vmstate": 0}
        | ({"parent": doc["parent"]} if doc["parent"] else {})
        for name, doc in sorted(found.snapshots.items(), key=lambda item: item[1]["snaptime"])
    ]
    current: dict[str, Any] = {
        "name": "current", "description": "You are here!", "running": int(found.running), "digest": found.digest,
    }  # fmt: skip
    return [*rows, current | ({"parent": found.parent} if found.parent else {})]


def _disks(dc: Datacenter, found: Vm) -> list[Volume]:
    files = [parse(key, value) for key, value in found.config.items() if DRIVE.fullmatch(key)]
    return [
        dc.storages.get(found.node, p["file"])
        for p in files
        if p.get("media") != "cdrom" and ":" in p["file"]
    ]


@serves("GET", f"{VM}/feature", vm("VM.Audit"), "feature:{snapshot|clone|copy} snapname?:snapname")
async def feature(call: Call) -> Any:
    found = call.dc.vms.get(call.node, call.vmid)
    able = call.text("feature") != "snapshot" or _can_snapshot(call.dc, found)
    return {"hasFeature": int(able), "nodes": [call.node] if able else []}


def _can_snapshot(dc: Datacenter, found: Vm) -> bool:
    return all(
        dc.storages.spec(found.node, v.storage).type in ("zfspool", "lvmthin")
        or v.format == "qcow2"
        for v in _disks(dc, found)
    )


@serves("POST", SNAPSHOT, vm("VM.Snapshot"), "snapname:snapname description?:s vmstate?:b")
async def create(call: Call) -> Any:
    dc, name = call.dc, call.text("snapname")
    dc.check_quorum()
    found = dc.vms.get(call.node, call.vmid)
    if name in ("current", "pending"):
        raise Refusal(f"unable to use snapshot name '{name}' (reserved name)")
    if call.flag("vmstate"):
        raise Refusal("the lab does not keep a guest's memory", status=501)
    if found.config.get("template") == "1":
        raise Refusal("you can't take a snapshot if it's a template")

    async def work(say: Say) -> None:
        async with dc.vms.flock(call.vmid):
            vm_ = dc.vms.get(call.node, call.vmid)
            dc.vms.check_lock(vm_)
            if name in vm_.snapshots:
                raise Refusal(f"snapshot name '{name}' already used")
            if not _can_snapshot(dc, vm_):
                raise Refusal("snapshot feature is not available")
            vm_.snapshots[name] = {
                "config": vm_.config, "snaptime": int(dc.world.clock.time()), "parent": vm_.parent,
                "description": call.text("description"),
                "written": [v.volid for v in _disks(dc, vm_) if v.written],
            }  # fmt: skip
            vm_.parent = name
            dc.vms.save(vm_)
            for volume in _disks(dc, vm_):
                say(f"snapshotting '{volume.volid}'")
        dc.world.oplog.append(
            "vm_snapshot", f"vm/{call.vmid}", before=None, after=name, actor=call.actor
        )

    return dc.tasks.spawn(call.node, "qmsnapshot", str(call.vmid), call.identity, work)


def _get(found: Vm, name: str) -> dict[str, Any]:
    if name not in found.snapshots:
        raise Refusal(f"snapshot '{name}' does not exist")
    return found.snapshots[name]


@serves(
    "GET",
    f"{SNAPSHOT}/{{snapname}}/config",
    perm_any("/vms/{vmid}", "VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit"),
)
async def snapshot_config(call: Call) -> Any:
    doc = _get(call.dc.vms.get(call.node, call.vmid), call.text("snapname"))
    return {
        "name": call.text("snapname"),
        "description": doc["description"],
        "snaptime": doc["snaptime"],
    } | doc["config"]


@serves("DELETE", f"{SNAPSHOT}/{{snapname}}", vm("VM.Snapshot"), "force?:b")
async def delete(call: Call) -> Any:
    dc, name = call.dc, call.text("snapname")
    dc.vms.get(call.node, call.vmid)

    async def work(_say: Say) -> None:
        async with dc.vms.flock(call.vmid):
            found = dc.vms.get(call.node, call.vmid)
            dc.vms.check_lock(found)
            gone = _get(found, name)
            del found.snapshots[name]
            for doc in found.snapshots.values():
                doc["parent"] = gone["parent"] if doc["parent"] == name else doc["parent"]
            found.parent = gone["parent"] if found.parent == name else found.parent
            dc.vms.save(found)
        dc.world.oplog.append(
            "vm_snapshot_delete", f"vm/{call.vmid}", before=name, after=None, actor=call.actor
        )

    return dc.tasks.spawn(call.node, "qmdelsnapshot", str(call.vmid), call.identity, work)


@serves(
    "POST",
    f"{SNAPSHOT}/{{snapname}}/rollback",
    perm_any("/vms/{vmid}", "VM.Snapshot", "VM.Snapshot.Rollback"),
    "start?:b",
)
async def rollback(call: Call) -> Any:
    dc, name = call.dc, call.text("snapname")
    dc.check_quorum()
    doc = _get(dc.vms.get(call.node, call.vmid), name)
    if any(v.written for v in _disks(dc, dc.vms.get(call.node, call.vmid))) or doc["written"]:
        raise Refusal("the lab cannot take back what a guest wrote to its disks", status=501)

    async def work(_say: Say) -> None:
        async with dc.vms.flock(call.vmid):
            found = dc.vms.get(call.node, call.vmid)
            dc.vms.check_lock(found)
            newest = max(found.snapshots, key=lambda one: found.snapshots[one]["snaptime"])
            if newest != name:
                raise Refusal(
                    f"can't rollback, '{newest}' is not most recent snapshot on '{found.vmid}'"
                )
            found.config, found.pending, found.parent = dict(doc["config"]), {}, name
            dc.vms.save(found)
            if call.flag("start"):
                await dc.power_on(found)
        dc.world.oplog.append(
            "vm_rollback", f"vm/{call.vmid}", before=None, after=name, actor=call.actor
        )

    return dc.tasks.spawn(call.node, "qmrollback", str(call.vmid), call.identity, work)
