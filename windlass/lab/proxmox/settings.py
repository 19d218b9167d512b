"""Changing a VM's configuration: who may, what is well formed, and how it is written down."""

import re
import secrets
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from windlass.lab.proxmox.checks import Check
from windlass.lab.proxmox.datacenter import Datacenter
from windlass.lab.proxmox.drives import check_syntax, storage_of
from windlass.lab.proxmox.options import (
    DRIVE,
    HOSTPCI,
    NET,
    OPTIONS,
    PRIVILEGE,
    format_of,
    parse,
    show_net,
)
from windlass.lab.proxmox.refusals import Refusal, bad_parameter, forbidden
from windlass.lab.proxmox.routing import Call
from windlass.lab.proxmox.vms import Settings

MAC_PREFIX = "BC:24:11"


def check_options(call: Call, options: Iterable[str], given: Mapping[str, Any], vmid: int) -> None:
    """Raise Refusal unless the caller may set (or delete) each option."""
    for option in options:
        privilege = PRIVILEGE[option]
        if option.startswith("ipconfig") or privilege == "Cloudinit":
            _need_any(call, f"/vms/{vmid}", "VM.Config.Cloudinit", "VM.Config.Network")
        elif privilege == "root":
            if not call.identity.is_root:
                raise Refusal(f"only root can set '{option}' config")
        elif option == "startup":
            _need_any(call, "/", "Sys.Modify")
        else:
            _check_one(call, option, str(given.get(option, "")), vmid)


def check_skiplock(call: Call) -> None:
    """Raises: Refusal 400, somebody else than root wants to pass a lock."""
    if call.flag("skiplock") and not call.identity.is_root:
        raise bad_parameter("skiplock", "Only root may use this option.")


def _check_one(call: Call, option: str, value: str, vmid: int) -> None:
    privilege = PRIVILEGE[option]
    if DRIVE.fullmatch(option) and "media=cdrom" in value and "cloudinit" not in value:
        privilege = "CDROM"
    _need_any(call, f"/vms/{vmid}", f"VM.Config.{privilege}")
    if not value:
        return
    if NET.fullmatch(option):
        parts = parse(option, value)
        zone = f"/sdn/zones/localnetwork/{parts.get('bridge', '')}"
        _need_any(call, f"{zone}/{parts['tag']}" if "tag" in parts else zone, "SDN.Use")
    elif HOSTPCI.fullmatch(option):
        parts = parse(option, value)
        if "host" in parts and not call.identity.is_root:
            raise Refusal(f"only root can set '{option}' config for non-mapped devices")
        if "mapping" in parts:
            _need_any(call, f"/mapping/pci/{parts['mapping']}", "Mapping.Use")
    elif DRIVE.fullmatch(option) and (storage := storage_of(parse(option, value)["file"])):
        _check_drive(call, storage, value)


def _check_drive(call: Call, storage: str, value: str) -> None:
    if value[:1] == "/":
        raise Refusal("Only root can pass arbitrary filesystem paths.")
    if "media=cdrom" in value:
        _need_any(
            call,
            f"/storage/{storage}",
            "Datastore.AllocateSpace",
            "Datastore.Audit",
            "Datastore.Allocate",
        )
    else:
        _need_any(call, f"/storage/{storage}", "Datastore.AllocateSpace")


def _need_any(call: Call, path: str, *privileges: str) -> None:
    if not call.dc.access.may_any(call.identity, path, *privileges):
        raise forbidden(f"{path}, {'|'.join(privileges)}")


def options_in(given: Mapping[str, Any]) -> dict[str, str]:
    """The configuration options among the parameters, as text."""
    return {key: str(value) for key, value in given.items() if key in OPTIONS}


def normalised(dc: Datacenter, given: Mapping[str, str], node: str) -> Settings:
    """Options as they are written down: NICs with a MAC, tags sorted, property strings checked.

    Drives are checked only. Raises: Refusal 400.
    """
    found: Settings = {}
    for option, value in given.items():
        found[option] = _normal(option, value)
        if DRIVE.fullmatch(option):
            check_syntax(option, value)
            storage = storage_of(parse(option, value)["file"])
            if storage is not None:
                dc.storages.spec(node, storage)
    return found


def _normal(option: str, value: str) -> str:
    if NET.fullmatch(option):
        parts = parse(option, value)
        tail = ":".join(f"{b:02X}" for b in secrets.token_bytes(3))
        return show_net({"macaddr": f"{MAC_PREFIX}:{tail}"} | parts)
    if option == "tags":
        tags = {tag.lower() for tag in re.split(r"[,;\s]+", value) if tag}
        return ";".join(sorted(tags))
    if option == "name" and not value:
        raise bad_parameter("name", "invalid format - value does not look like a valid DNS name")
    if format_of(option) is not None:
        parse(option, value)
    return value


def stamped(config: Settings, now: float) -> Settings:
    """A new VM's configuration with what Proxmox VE adds by itself."""
    smbios = config.get("smbios1", "")
    if "uuid=" not in smbios:
        smbios = ",".join(part for part in (f"uuid={uuid.uuid4()}", smbios) if part)
    return {
        **config,
        "smbios1": smbios,
        "vmgenid": config.get("vmgenid", str(uuid.uuid4())),
        "meta": f"creation-qemu=10.1.2,ctime={int(now)}",
    }


def default_boot(config: Settings) -> str:
    """The boot order of a VM that was given none: first disk, first CD-ROM, first NIC."""
    drives = [k for k in sorted(config) if DRIVE.fullmatch(k) and not k.startswith(("efi", "tpm"))]
    disks = [k for k in drives if "media=cdrom" not in config[k]]
    media = [k for k in drives if "media=cdrom" in config[k] and "cloudinit" not in config[k]]
    nets = [k for k in sorted(config) if NET.fullmatch(k)]
    return "order=" + ";".join([*disks[:1], *media[:1], *nets[:1]])


def check_boot(config: Settings) -> None:
    """Raise Refusal when the boot order names a device that the VM does not have."""
    order = config.get("boot", "").partition("order=")[2]
    for device in filter(None, order.split(";")):
        if device not in config:
            raise Refusal(f"invalid bootorder: device '{device}' does not exist'")


def may_configure(access: Any, identity: Any, given: Mapping[str, Any]) -> None:
    """The check of a configuration update: any configuration privilege opens the door, each option then asks."""
    where = f"/vms/{given['vmid']}"
    names = [
        f"VM.Config.{part}"
        for part in ("Disk", "CDROM", "CPU", "Memory", "Network", "HWType", "Options", "Cloudinit")
    ]
    if not access.may_any(identity, where, *names):
        raise forbidden(f"{where}, {'|'.join(names)}")


MAY_CONFIGURE: Check = may_configure
