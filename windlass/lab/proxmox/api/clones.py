"""Clones: full copies on the same host, of VMs whose disks nobody has written to."""

from typing import Any, NoReturn

from windlass.lab.proxmox.api.qemu import VM, brief_of, own_volumes, take_back
from windlass.lab.proxmox.checks import both, either, perm, vm
from windlass.lab.proxmox.refusals import Refusal
from windlass.lab.proxmox.routing import Call, serves
from windlass.lab.proxmox.settings import normalised, stamped
from windlass.lab.proxmox.storages import Volume
from windlass.lab.proxmox.tasks import Say
from windlass.lab.proxmox.vms import Settings, Vm

# What a clone has anew.
_OWN = ("smbios1", "vmgenid", "meta", "template", "lock")


@serves(
    "POST", f"{VM}/clone",
    both(vm("VM.Clone"), either(perm("/vms/{newid}", "VM.Allocate"), perm("/pool/{pool}", "VM.Allocate", needs="pool"))),
    "newid:vmid bwlimit?:i(0..) description?:s format?:{raw|qcow2|vmdk} full?:b name?:dns-name pool?:poolid"
    " snapname?:snapname storage?:storage target?:node",
    lacks=("bwlimit",),
)  # fmt: skip
async def clone(call: Call) -> Any:
    dc, newid = call.dc, call.number("newid")
    dc.check_pool(call.text("pool"))
    dc.check_quorum()
    source = dc.vms.get(call.node, call.vmid)
    dc.vms.check_lock(source)
    volumes = own_volumes(dc, source)
    _check(call, source, volumes)
    name = call.text("name", f"Copy-of-{source.config.get('name', f'VM-{source.vmid}')}")
    dc.vms.save(Vm(newid, call.node, {"lock": "clone", "name": name}))
    copies = list[Volume]()

    async def work(say: Say) -> None:
        config = _copy(call, source, volumes, copies, say)
        _finish(call, config | {"name": name})

    async def undo(why: str) -> str:
        await take_back(dc, newid, "clone", copies)
        return f"clone failed: {why}"

    try:
        return dc.tasks.spawn(call.node, "qmclone", str(call.vmid), call.identity, work, undo)
    except Refusal:
        dc.vms.remove(newid)
        raise


def _check(call: Call, source: Vm, volumes: dict[str, Volume]) -> None:
    """Raises: Refusal, as Proxmox VE or because the lab cannot."""
    dc = call.dc
    if call.text("target", call.node) != call.node or call.text("snapname"):
        raise Refusal("the lab clones on the same host, from the current state only", status=501)
    if not call.flag("full", default=source.config.get("template") != "1"):
        _refuse_linked(call, source, volumes)
    if call.number("newid") in dc.vms:
        raise Refusal(f"unable to create VM {call.number('newid')}: config file already exists")
    if any(volume.written for volume in volumes.values()):
        raise Refusal("the lab cannot copy what a guest wrote to its disks", status=501)
    for volume in volumes.values():
        spec = dc.storages.spec(call.node, call.text("storage", volume.storage))
        if spec.is_files and call.text("format", "qcow2") != "qcow2":
            raise Refusal(f"the lab makes qcow2 images only on '{spec.name}'", status=501)


def _refuse_linked(call: Call, source: Vm, volumes: dict[str, Volume]) -> NoReturn:
    for given in ("storage", "format"):
        if given in call.given:
            raise Refusal(f"parameter '{given}' not allowed for linked clones")
    if volumes and source.config.get("template") != "1":
        raise Refusal(f"Linked clone feature is not supported for drive '{next(iter(volumes))}'")
    raise Refusal("the lab makes no linked clones", status=501)


def _copy(
    call: Call, source: Vm, volumes: dict[str, Volume], copies: list[Volume], say: Say
) -> Settings:
    """The configuration of the copy, whose volumes are there and in `copies`."""
    dc = call.dc
    config = {
        option: value
        for option, value in source.config.items()
        if option not in _OWN and not option.startswith("unused")
    }
    for option, volume in volumes.items():
        if option.startswith("unused"):
            continue
        storage = call.text("storage", volume.storage)
        newid = call.number("newid")
        named = f"vm-{newid}-cloudinit" if "cloudinit" in volume.name else None
        copies.append(dc.storages.allocate(call.node, storage, newid, volume.size, name=named))
        config[option] = config[option].replace(volume.volid, copies[-1].volid)
        say(f"create full clone of drive {option} ({volume.volid})")
    nets = {
        option: _without_mac(value) for option, value in config.items() if option.startswith("net")
    }
    config |= normalised(dc, nets, call.node)
    if call.text("description"):
        config["description"] = call.text("description")
    return config


def _finish(call: Call, config: Settings) -> None:
    dc, newid = call.dc, call.number("newid")
    made = Vm(newid, call.node, stamped(config, dc.world.clock.time()))
    dc.vms.save(made)
    dc.add_to_pool(call.text("pool"), newid)
    dc.world.oplog.append(
        "vm_create", f"vm/{newid}", before=None, after=brief_of(made), actor=call.actor
    )


def _without_mac(net: str) -> str:
    model, _, rest = net.partition(",")
    return ",".join(part for part in (model.partition("=")[0], rest) if part)
