"""The options of a VM configuration: their types, who may set them, and their property strings.

`OPTIONS` names for each option its type and the privilege that changing it needs: `Disk` stands for VM.Config.Disk.
"""

import re
from dataclasses import dataclass

from windlass.lab.proxmox.parameters import Parameter, check, table
from windlass.lab.proxmox.refusals import bad_parameter

# privilege: options. Types as in `parameters`; `p` in front of a name makes it a property string of that format.
_OPTIONS = {
    "CPU": "affinity?:s cores?:i(1..) sockets?:i(1..) cpu?:s cpulimit?:n(0..128) cpuunits?:i(1..262144)"
           " vcpus?:i(1..) numa?:b numa[8]?:s",
    "Memory": "memory?:s balloon?:i(0..) shares?:i(0..50000) hugepages?:{any|2|1024} keephugepages?:b allow-ksm?:b",
    "HWType": "bios?:{seabios|ovmf} machine?:s scsihw?:{lsi|lsi53c810|virtio-scsi-pci|virtio-scsi-single|megasas|pvscsi}"
              " vga?:s hostpci[16]?:s usb[14]?:s serial[4]?:s parallel[3]?:s rng0?:s audio0?:s kvm?:b acpi?:b"
              " tablet?:b watchdog?:s",
    "Network": "net[32]?:s",
    "Disk": "scsi[31]?:s virtio[16]?:s sata[6]?:s ide[4]?:s efidisk0?:s tpmstate0?:s unused[256]?:s bootdisk?:s",
    "Cloudinit": "ciuser?:s cipassword?:s citype?:{configdrive2|nocloud|opennebula} ciupgrade?:b cicustom?:s"
                 " ipconfig[32]?:s nameserver?:s searchdomain?:s sshkeys?:s",
    "Options": "name?:dns-name description?:s(8192) tags?:tag-list agent?:s boot?:s onboot?:b autostart?:b"
               " ostype?:{other|wxp|w2k|w2k3|w2k8|wvista|win7|win8|win10|win11|l24|l26|solaris}"
               " protection?:b template?:b hotplug?:s localtime?:b freeze?:b reboot?:b smbios1?:s(512) startdate?:s"
               " tdf?:b vmgenid?:s keyboard?:s hookscript?:s cdrom?:s startup?:s",
    "root": "args?:s arch?:{x86_64|aarch64} lock?:{backup|clone|create|migrate|rollback|snapshot|snapshot-delete|suspending|suspended}",
}  # fmt: skip

_TABLES = {privilege: table(text) for privilege, text in _OPTIONS.items()}
OPTIONS: dict[str, Parameter] = {
    name: one for found in _TABLES.values() for name, one in found.items()
}
PRIVILEGE: dict[str, str] = {
    name: privilege for privilege, found in _TABLES.items() for name in found
}

DRIVE = re.compile(r"(scsi|virtio|sata|ide)\d+|efidisk0|tpmstate0")
NET = re.compile(r"net\d+")
HOSTPCI = re.compile(r"hostpci\d+")

_MODELS = "e1000|e1000-82540em|e1000-82544gc|e1000-82545em|e1000e|i82551|i82557b|i82559er|ne2k_isa|ne2k_pci|pcnet|rtl8139|virtio|vmxnet3"
_DRIVE_KEYS = (
    "file:s media?:{cdrom|disk} size?:s import-from?:s format?:{raw|cow|qcow|qed|qcow2|vmdk|cloop} snapshot?:b"
    " cache?:{none|writethrough|writeback|unsafe|directsync} aio?:{native|threads|io_uring} backup?:b replicate?:b"
    " discard?:{ignore|on} ssd?:b iothread?:b queues?:i(2..) ro?:b serial?:s(60) wwn?:s shared?:b detect_zeroes?:b"
    " rerror?:{ignore|report|stop} werror?:{enospc|ignore|report|stop} product?:s(16) vendor?:s(8) model?:s(120)"
    " mbps?:n mbps_rd?:n mbps_wr?:n mbps_rd_max?:n mbps_wr_max?:n iops?:i iops_rd?:i iops_wr?:i iops_max?:i"
    " iops_rd_max?:i iops_wr_max?:i bps?:i bps_rd?:i bps_wr?:i"
)


@dataclass(frozen=True)
class PropertyString:
    """`key=value,key=value`, where a bare first value belongs to `default`."""

    keys: dict[str, Parameter]
    default: str | None = None


FORMATS = {
    "net": PropertyString(
        table(f"model:{{{_MODELS}}} macaddr?:mac bridge?:s tag?:i(1..4094) firewall?:b link_down?:b"
              " mtu?:i(1..65520) queues?:i(0..64) rate?:n(0..) trunks?:s"),
        "model",
    ),
    "drive": PropertyString(table(_DRIVE_KEYS), "file"),
    "efidisk": PropertyString(
        table("file:s efitype?:{2m|4m} format?:s pre-enrolled-keys?:b ms-cert?:s size?:s import-from?:s"), "file"
    ),
    "tpmstate": PropertyString(table("file:s version?:{v1.2|v2.0} size?:s import-from?:s"), "file"),
    "hostpci": PropertyString(
        table("host?:s mapping?:config-id pcie?:b x-vga?:b rombar?:b romfile?:s mdev?:s legacy-igd?:b driver?:{keep|vfio}"
              " device-id?:s vendor-id?:s sub-device-id?:s sub-vendor-id?:s"),
        "host",
    ),
    "ipconfig": PropertyString(table("ip?:s gw?:address ip6?:s gw6?:s")),
    "agent": PropertyString(
        table("enabled:b fstrim_cloned_disks?:b freeze-fs-on-backup?:b freeze-fs?:b type?:{virtio|isa}"), "enabled"
    ),
    "memory": PropertyString(table("current:i(16..)"), "current"),
    "boot": PropertyString(table("order?:s legacy?:s"), "legacy"),
    "startup": PropertyString(table("order?:i(0..) up?:i(0..) down?:i(0..)"), "order"),
}  # fmt: skip

_TRUE, _FALSE = ("1", "on", "yes", "true"), ("0", "off", "no", "false")


def format_of(option: str) -> str | None:
    """The property string format of an option, or None when it is plain text."""
    if DRIVE.fullmatch(option):
        return {"efidisk0": "efidisk", "tpmstate0": "tpmstate"}.get(option, "drive")
    name = option.rstrip("0123456789")
    return name if name in FORMATS else None


def parse(option: str, text: str) -> dict[str, str]:
    """The parts of a property string.

    Raises:
        Refusal: 400 in the words of Proxmox VE.
    """
    name = format_of(option)
    if name is None:
        raise ValueError(f"{option} is not a property string")
    shape, found, errors = FORMATS[name], dict[str, str](), list[str]()
    for part in filter(str.strip, text.split(",")):
        key, value = _split(name, shape, part)
        if key is None:
            errors.append("value without key, but schema does not define a default key")
        elif key in found:
            errors.append(f"duplicate key in comma-separated list property: {key}")
        elif key not in shape.keys:
            errors.append(f"invalid key in comma-separated list property: {key}")
        else:
            found[key], wrong = _part(key, value, shape.keys[key])
            errors += [wrong] if wrong else []
            if name == "net" and key == "model" and "=" in part and not part.startswith("model="):
                found.setdefault("macaddr", part.partition("=")[2])
    errors += [
        f"{key}: {_MISSING}" for key, p in shape.keys.items() if not p.optional and key not in found
    ]
    if errors:
        raise bad_parameter(option, "invalid format - format error\n" + "\n".join(errors))
    return found


_MISSING = "property is missing and it is not optional"


def _split(name: str, shape: PropertyString, part: str) -> tuple[str | None, str]:
    key, given, value = part.strip().partition("=")
    if not given:
        return shape.default, key
    if name == "net" and key in shape.keys["model"].enum:
        return "model", key
    return key, value


def _part(key: str, value: str, wanted: Parameter) -> tuple[str, str]:
    if wanted.kind == "boolean" and value.lower() in _TRUE + _FALSE:
        value = "1" if value.lower() in _TRUE else "0"
    _, wrong = check(value, wanted)
    return value, f"{key}: {wrong}" if wrong else ""


def show(parts: dict[str, str], first: str) -> str:
    """A property string with the value of `first` in front, bare."""
    rest = [f"{key}={value}" for key, value in parts.items() if key != first]
    return ",".join([*([parts[first]] if first in parts else []), *rest])


def show_net(parts: dict[str, str]) -> str:
    """A NIC as Proxmox VE prints it: `virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=150`."""
    rest = [f"{key}={value}" for key, value in parts.items() if key not in ("model", "macaddr")]
    return ",".join([f"{parts['model']}={parts['macaddr'].upper()}", *rest])


def typed(option: str, text: str) -> int | str:
    """How a configuration value is answered: integers and booleans as numbers, anything else as text."""
    wanted = OPTIONS.get(option)
    if wanted is not None and wanted.kind in ("integer", "boolean"):
        return int(text)
    return text
