"""VMs: lists, creation, configuration, disks, clones, destruction."""

from typing import Any

from windlass.lab.proxmox import drives
from windlass.lab.proxmox.api.storage import size_of
from windlass.lab.proxmox.checks import AGENT, either, everybody, perm, vm
from windlass.lab.proxmox.datacenter import Datacenter
from windlass.lab.proxmox.options import DRIVE, LACKING, OPTIONS, parse, typed
from windlass.lab.proxmox.parameters import split_list, table
from windlass.lab.proxmox.refusals import Refusal, bad_parameter
from windlass.lab.proxmox.routing import Call, serves
from windlass.lab.proxmox.settings import (
    MAY_CONFIGURE,
    check_boot,
    check_options,
    check_skiplock,
    default_boot,
    normalised,
    options_in,
    stamped,
)
from windlass.lab.proxmox.storages import Volume
from windlass.lab.proxmox.tasks import Say
from windlass.lab.proxmox.vms import Settings, Vm

QEMU = "/nodes/{node}/qemu"
VM = f"{QEMU}/{{vmid}}"
_CREATE = table(
    "vmid:vmid archive?:s(255) bwlimit?:i(0..) force?:b>archive ha-managed?:b import-working-storage?:storage"
    " live-restore?:b pool?:poolid start?:b storage?:storage unique?:b>archive"
)
_UPDATE = table("delete?:s digest?:s(64) force?:b>delete revert?:config-id-list skiplock?:b")
_IN_BACKGROUND = table("background_delay?:i(1..30) import-working-storage?:storage")
_ALLOCATE = either(vm("VM.Allocate"), perm("/pool/{pool}", "VM.Allocate", needs="pool"))


@serves("GET", QEMU, everybody, "full?:b")
async def vms(call: Call) -> Any:
    dc = call.dc
    return [
        dc.status(found) for found in dc.vms
        if found.node == call.node and dc.access.may(call.identity, f"/vms/{found.vmid}", "VM.Audit")
    ]  # fmt: skip


@serves("GET", VM, everybody)
async def index(_call: Call) -> Any:
    return [
        {"subdir": name}
        for name in ("config", "pending", "status", "resize", "clone", "snapshot", "agent")
    ]


# Create


@serves(
    "POST", QEMU, everybody, OPTIONS | LACKING | _CREATE,
    lacks=(*LACKING, "archive", "bwlimit", "ha-managed", "import-working-storage", "live-restore", "storage"),
)  # fmt: skip
async def create(call: Call) -> Any:
    dc, node, vmid = call.dc, call.node, call.vmid
    dc.check_quorum()
    dc.check_pool(call.text("pool"))
    _ALLOCATE(dc.access, call.identity, call.given)
    asked = options_in(call.given)
    check_options(call, asked, asked, vmid)
    config = normalised(dc, asked, node)
    if fault := dc.world.faults.fires("pve-foreign-vm", vmid=vmid):
        stranger = Vm(
            vmid, str(fault.args.get("node", node)), {"name": "stranger", "memory": "512"}
        )
        dc.vms.save(stranger)
        dc.world.oplog.append("vm_create", f"vm/{vmid}", before=None, after={"name": "stranger"})
    if (taken := dc.vms.find(vmid)) is not None:
        raise Refusal(
            f"unable to create VM {vmid} - VM {vmid} already exists on node '{taken.node}'"
        )
    dc.vms.save(Vm(vmid, node, {"lock": "create"}))
    made = list[Volume]()

    async def work(say: Say) -> None:
        await _create(call, config, made, say)

    async def undo(why: str) -> str:
        await take_back(dc, vmid, "create", made)
        return why

    try:
        return dc.tasks.spawn(node, "qmcreate", str(vmid), call.identity, work, undo)
    except Refusal:
        dc.vms.remove(vmid)
        raise


async def take_back(dc: Datacenter, vmid: int, lock: str, made: list[Volume]) -> None:
    """What was made for a VM that is still under this lock goes, and its id is free again."""
    found = dc.vms.find(vmid)
    if found is not None and found.config.get("lock") == lock:
        for volume in made:
            await drives.remove(dc, volume)
        dc.vms.remove(vmid)


async def _create(call: Call, config: Settings, made: list[Volume], say: Say) -> None:
    dc, vmid = call.dc, call.vmid
    async with dc.vms.flock(vmid):
        config = await _with_drives(dc, call.node, vmid, config, made, say)
        config = stamped(config, dc.world.clock.time())
        config.setdefault("boot", default_boot(config))
        found = Vm(vmid, call.node, config)
        dc.vms.save(found)
        dc.add_to_pool(call.text("pool"), vmid)
        dc.world.oplog.append(
            "vm_create", f"vm/{vmid}", before=None, after=brief_of(found), actor=call.actor
        )
        if call.flag("start"):
            await _start_after_create(call, found, say)


async def _start_after_create(call: Call, found: Vm, say: Say) -> None:
    """A start that fails after a create is a line in the log; the create has still worked."""
    try:
        await call.dc.power_on(found)
    except Refusal as refusal:
        say(f"start failed: {refusal.text}")
        return
    call.dc.world.oplog.append(
        "vm_start", f"vm/{found.vmid}", before="stopped", after="running", actor=call.actor
    )


def brief_of(found: Vm) -> dict[str, Any]:
    return {"name": found.name, "node": found.node, "cores": found.cores, "memory": found.memory}


async def _with_drives(
    dc: Datacenter, node: str, vmid: int, config: Settings, made: list[Volume], say: Say
) -> Settings:
    found = dict(config)
    for option, value in config.items():
        if DRIVE.fullmatch(option):
            found[option] = await drives.create(dc, node, vmid, option, value, made)
            say(f"{option}: successfully created disk '{found[option]}'")
    return found


# Configuration


@serves("GET", f"{VM}/config", vm("VM.Audit"), "current?:b snapshot?:snapname")
async def config(call: Call) -> Any:
    found = call.dc.vms.get(call.node, call.vmid)
    if name := call.text("snapshot"):
        if name not in found.snapshots:
            raise Refusal(f"snapshot '{name}' does not exist")
        settings = found.snapshots[name]["config"]
    else:
        settings = found.config if call.flag("current") else found.merged()
    shown: dict[str, Any] = {key: typed(key, value) for key, value in settings.items()}
    if "cipassword" in shown:
        shown["cipassword"] = "**********"
    if lock := call.dc.vms.shown_lock(found):
        shown["lock"] = lock
    return shown | {"digest": found.digest}


@serves("GET", f"{VM}/pending", vm("VM.Audit"))
async def pending(call: Call) -> Any:
    found = call.dc.vms.get(call.node, call.vmid)
    rows: list[dict[str, Any]] = []
    for key in sorted(found.config | found.pending):
        row: dict[str, Any] = {"key": key} | (
            {"value": found.config[key]} if key in found.config else {}
        )
        if key in found.pending:
            new = found.pending[key]
            row |= {"delete": 1} if new is None else {"pending": new}
        rows.append(row)
    return [*rows, {"key": "digest", "value": found.digest}]


@serves("PUT", f"{VM}/config", MAY_CONFIGURE, OPTIONS | LACKING | _UPDATE, lacks=tuple(LACKING))
async def update(call: Call) -> Any:
    await _update(call)


@serves(
    "POST", f"{VM}/config", MAY_CONFIGURE, OPTIONS | LACKING | _UPDATE | _IN_BACKGROUND,
    lacks=(*LACKING, "import-working-storage"),
)  # fmt: skip
async def update_in_background(call: Call) -> Any:
    _check_update(call)

    async def work(_say: Say) -> None:
        await _update(call)

    upid = call.dc.tasks.spawn(call.node, "qmconfig", str(call.vmid), call.identity, work)
    return await call.dc.tasks.unless_ended(
        upid, call.number("background_delay"), f"failed to update VM {call.vmid}: "
    )


def _check_update(call: Call) -> tuple[Vm, Settings, list[str]]:
    dc = call.dc
    dc.check_quorum()
    asked = options_in(call.given)
    listed = split_list(call.text("delete"))
    if not asked and not listed and not call.text("revert"):
        raise Refusal("no options specified")
    # What no VM has is not there to be deleted.
    gone = [option for option in listed if option not in LACKING]
    for option in gone:
        if option not in OPTIONS:
            raise bad_parameter("delete", f"unknown setting '{option}'")
        if option in asked:
            raise bad_parameter(
                "delete", f"Cannot use '-{option}' and '-delete {option}' at the same time."
            )
    check_skiplock(call)
    check_options(call, [*asked, *gone], asked, call.vmid)
    found = dc.vms.get(call.node, call.vmid)
    return found, normalised(dc, asked, call.node), gone


# What a running VM takes over at once: nothing that the guest would have to notice.
_LIVE = frozenset(
    {"name", "description", "tags", "onboot", "startup", "protection", "lock", "boot", "hookscript"}
)


async def _update(call: Call) -> None:
    dc = call.dc
    _, asked, gone = _check_update(call)
    async with dc.vms.flock(call.vmid):
        found = dc.vms.get(call.node, call.vmid)
        if call.text("digest") not in ("", found.digest):
            raise Refusal("checksum mismatch (file change by other user?)")
        dc.vms.check_lock(found, skip=call.flag("skiplock"))
        before = found.merged()
        made: list[Volume] = []
        try:
            asked = await _with_drives(dc, call.node, call.vmid, asked, made, lambda _line: None)
            check_boot(found.merged() | asked if "boot" in asked else {})
        except Refusal:
            for volume in made:
                await drives.remove(dc, volume)
            raise
        for option in split_list(call.text("revert")):
            found.pending.pop(option, None)
        await _take_over(dc, found, asked, gone, force=call.flag("force"))
        dc.vms.save(found)
        changed = sorted(
            k for k in before | found.merged() if before.get(k) != found.merged().get(k)
        )
        dc.world.oplog.append(
            "vm_config", f"vm/{call.vmid}",
            before={k: before.get(k) for k in changed if k != "cipassword"},
            after={k: found.merged().get(k) for k in changed if k != "cipassword"},
            actor=call.actor,
        )  # fmt: skip


async def _take_over(
    dc: Datacenter, found: Vm, asked: Settings, gone: list[str], *, force: bool
) -> None:
    for option in gone:
        value = found.merged().get(option)
        if value is None:
            continue
        if found.running and option not in _LIVE:
            found.pending[option] = None
            continue
        found.config.pop(option, None)
        found.pending.pop(option, None)
        await _drop_drive(dc, found, option, value, force=force)
    for option, value in asked.items():
        old = found.config.get(option)
        if found.running and option not in _LIVE:
            found.pending[option] = value
            continue
        found.config[option] = value
        if (
            old
            and DRIVE.fullmatch(option)
            and parse(option, old)["file"] != parse(option, value)["file"]
        ):
            await _drop_drive(dc, found, option, old, force=False)


async def _drop_drive(dc: Datacenter, found: Vm, option: str, value: str, *, force: bool) -> None:
    """A disk that is taken out becomes `unusedN`; an unused one that is deleted is freed."""
    if not DRIVE.fullmatch(option) and not option.startswith("unused"):
        return None
    file = value if option.startswith("unused") else parse(option, value)["file"]
    volume = dc.storages.find(found.node, file)
    if volume is None or volume.content != "images":
        return None
    if option.startswith("unused") or force or "cloudinit" in file:
        return await drives.remove(dc, volume)
    slot = next(f"unused{n}" for n in range(256) if f"unused{n}" not in found.config)
    found.config[slot] = file
    return None


@serves(
    "PUT", f"{VM}/resize", vm("VM.Config.Disk"), "disk:s size:disk-size digest?:s(40) skiplock?:b"
)
async def resize(call: Call) -> Any:
    dc, disk = call.dc, call.text("disk")
    check_skiplock(call)
    if not DRIVE.fullmatch(disk):
        raise bad_parameter(
            "disk", f"value '{disk}' does not have a value in the enumeration 'ide0, scsi0, ...'"
        )
    value = dc.vms.get(call.node, call.vmid).config.get(disk)
    if value is None:
        raise Refusal(f"disk '{disk}' does not exist")
    volume = dc.storages.get(call.node, parse(disk, value)["file"])
    text = call.text("size")
    size = volume.size + size_of(text[1:]) if text.startswith("+") else size_of(text)
    if size < volume.size:
        raise Refusal("shrinking disks is not supported")

    async def work(_say: Say) -> None:
        async with dc.vms.flock(call.vmid):
            found = dc.vms.get(call.node, call.vmid)
            if call.text("digest") not in ("", found.digest):
                raise Refusal("checksum missmatch (file change by other user?)")
            dc.vms.check_lock(found, skip=call.flag("skiplock"))
            if found.running:
                raise Refusal("the lab cannot resize the disk of a running guest", status=501)
            found.config[disk] = await drives.resize(dc, call.node, found.config[disk], disk, size)
            dc.vms.save(found)
        dc.world.oplog.append(
            "vm_resize", f"vm/{call.vmid}", before=volume.size, after=size, actor=call.actor
        )

    return dc.tasks.spawn(call.node, "resize", str(call.vmid), call.identity, work)


# Destroy


def own_volumes(dc: Datacenter, found: Vm) -> dict[str, Volume]:
    """Drive to volume, for the volumes that belong to this VM."""
    volumes: dict[str, Volume] = {}
    for option, value in (found.config | {k: v for k, v in found.pending.items() if v}).items():
        if DRIVE.fullmatch(option) or option.startswith("unused"):
            file = value if option.startswith("unused") else parse(option, value)["file"]
            volume = dc.storages.find(found.node, file)
            if volume is not None and volume.vmid == found.vmid:
                volumes[option] = volume
    return volumes


@serves("DELETE", VM, vm("VM.Allocate"), "destroy-unreferenced-disks?:b purge?:b skiplock?:b")
async def destroy(call: Call) -> Any:
    dc = call.dc
    dc.check_quorum()
    check_skiplock(call)
    _check_destroy(call, dc.vms.get(call.node, call.vmid))

    async def work(say: Say) -> None:
        async with dc.vms.flock(call.vmid):
            found = dc.vms.get(call.node, call.vmid)
            _check_destroy(call, found)
            brief = brief_of(found)
            found.config["lock"] = "destroyed"
            dc.vms.save(found)
            volumes = set(own_volumes(dc, found).values())
            if call.flag("destroy-unreferenced-disks"):
                for spec in dc.storages.of_host(call.node):
                    volumes |= {
                        v for v in dc.storages.volumes(call.node, spec.name) if v.vmid == call.vmid
                    }
            for volume in sorted(volumes, key=lambda v: v.volid):
                await drives.remove(dc, volume)
                say(f"successfully removed '{volume.volid}'")
            for name, doc in dc.access.pools.items():
                dc.access.pools[name] = {**doc, "vms": [v for v in doc["vms"] if v != call.vmid]}
            dc.vms.remove(call.vmid)
            dc.broadcast.pop(call.vmid, None)
        dc.world.oplog.append(
            "vm_destroy", f"vm/{call.vmid}", before=brief, after=None, actor=call.actor
        )

    return dc.tasks.spawn(call.node, "qmdestroy", str(call.vmid), call.identity, work)


def _check_destroy(call: Call, found: Vm) -> None:
    if found.config.get("protection") == "1":
        raise Refusal(f"can't remove VM {found.vmid} - protection mode enabled")
    if found.running:
        raise Refusal(f"VM {found.vmid} is running - destroy failed")
    call.dc.vms.check_lock(found, skip=call.flag("skiplock"))


@serves("GET", f"{VM}/agent/network-get-interfaces", AGENT)
async def agent_interfaces(call: Call) -> Any:
    found = call.dc.vms.get(call.node, call.vmid)
    return {"result": _agent(call, found)}


@serves("POST", f"{VM}/agent/ping", AGENT)
async def agent_ping(call: Call) -> Any:
    _agent(call, call.dc.vms.get(call.node, call.vmid))
    return {"result": {}}


def _agent(call: Call, found: Vm) -> list[dict[str, Any]]:
    if not found.config.get("agent", "").removeprefix("enabled=").startswith("1"):
        raise Refusal("No QEMU guest agent configured")
    if not found.running:
        raise Refusal(f"VM {found.vmid} is not running")
    answered = call.dc.guests.agent_interfaces(found.vmid)
    if answered is None:
        raise Refusal("QEMU guest agent is not running")
    return answered
