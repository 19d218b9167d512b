"""The options of a VM configuration: their types, who may set them, and their property strings.

`OPTIONS` names for each option its type and the privilege that changing it needs: `Disk` stands for VM.Config.Disk.
"""

import re
from dataclasses import replace

from windlass.lab.proxmox.parameters import Parameter, PropertyString, table
from windlass.lab.proxmox.refusals import bad_parameter

_KEYBOARDS = "de|de-ch|da|en-gb|en-us|es|fi|fr|fr-be|fr-ca|fr-ch|hu|is|it|ja|lt|mk|nl|no|pl|pt|pt-br|sv|sl|tr"
# privilege: options. Types as in `parameters`.
_OPTIONS = {
    "CPU": "affinity?:s cores?:i(1..) sockets?:i(1..) cpu?:s cpulimit?:n(0..128) cpuunits?:i(1..262144)"
           " vcpus?:i(1..) numa?:b numa[8]?:s",
    "Memory": "memory?:s balloon?:i(0..) shares?:i(0..50000) hugepages?:{any|2|1024} keephugepages?:b allow-ksm?:b",
    "HWType": "bios?:{seabios|ovmf} machine?:s scsihw?:{lsi|lsi53c810|virtio-scsi-pci|virtio-scsi-single|megasas|pvscsi}"
              " vga?:s hostpci[16]?:s usb[14]?:s serial[4]?:serial parallel[3]?:parallel rng0?:s audio0?:s kvm?:b acpi?:b"
              " tablet?:b watchdog?:s",
    "Network": "net[32]?:s",
    "Disk": "scsi[31]?:s virtio[16]?:s sata[6]?:s ide[4]?:s efidisk0?:s tpmstate0?:s unused[256]?:s bootdisk?:boot-disk",
    "Cloudinit": "ciuser?:s cipassword?:s citype?:{configdrive2|nocloud|opennebula} ciupgrade?:b cicustom?:s"
                 " ipconfig[32]?:s nameserver?:s searchdomain?:s sshkeys?:s",
    "Options": "name?:dns-name description?:s(8192) tags?:tag-list agent?:s boot?:s onboot?:b autostart?:b"
               " ostype?:{other|wxp|w2k|w2k3|w2k8|wvista|win7|win8|win10|win11|l24|l26|solaris}"
               " protection?:b template?:b hotplug?:s localtime?:b freeze?:b reboot?:b smbios1?:s(512) startdate?:start-date"
               " tdf?:b vmgenid?:generation-id"
               f" keyboard?:{{{_KEYBOARDS}}} hookscript?:s cdrom?:s startup?:s",
    "root": "args?:s arch?:{x86_64|aarch64} lock?:{backup|clone|create|migrate|rollback|snapshot|snapshot-delete|suspending|suspended}",
}  # fmt: skip

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


FORMATS = {
    "net[n]": PropertyString(
        table(f"model:{{{_MODELS}}} macaddr?:mac bridge?:s tag?:i(1..4094) firewall?:b link_down?:b"
              " mtu?:i(1..65520) queues?:i(0..64) rate?:n(0..) trunks?:s"),
        "model",
        dict.fromkeys(_MODELS.split("|"), ("macaddr", "model")),
    ),
    "drive": PropertyString(table(_DRIVE_KEYS), "file", {"volume": ("file", "")}),
    "efidisk": PropertyString(
        table("file:s efitype?:{2m|4m} format?:s pre-enrolled-keys?:b ms-cert?:s size?:s import-from?:s"),
        "file", {"volume": ("file", "")},
    ),
    "tpmstate": PropertyString(
        table("file:s version?:{v1.2|v2.0} size?:s import-from?:s"), "file", {"volume": ("file", "")}
    ),
    "hostpci[n]": PropertyString(
        table("host?:s mapping?:config-id pcie?:b x-vga?:b rombar?:b romfile?:s mdev?:s legacy-igd?:b driver?:{keep|vfio}"
              " device-id?:s vendor-id?:s sub-device-id?:s sub-vendor-id?:s"),
        "host",
    ),
    "ipconfig[n]": PropertyString(table("ip?:s gw?:address ip6?:s gw6?:s")),
    "agent": PropertyString(
        table("enabled:b fstrim_cloned_disks?:b freeze-fs-on-backup?:b freeze-fs?:b type?:{virtio|isa}"), "enabled"
    ),
    "memory": PropertyString(table("current:i(16..)"), "current"),
    "boot": PropertyString(table("order?:s legacy?:s"), "legacy"),
    "startup": PropertyString(table("order?:i(0..) up?:i(0..) down?:i(0..)"), "order"),
    "machine": PropertyString(
        table("type?:machine(40) viommu?:{intel|virtio} aw-bits?:n(32..64) enable-s3?:b enable-s4?:b"), "type"
    ),
    "vga": PropertyString(
        table("type?:{cirrus|qxl|qxl2|qxl3|qxl4|none|serial0|serial1|serial2|serial3|std|virtio|virtio-gl|vmware}"
              " clipboard?:{vnc} memory?:i(4..512)"),
        "type",
    ),
    "usb[n]": PropertyString(table("host?:usb-device mapping?:config-id usb3?:b"), "host"),
    "numa[n]": PropertyString(
        table("cpus:number-set hostnodes?:number-set memory?:n policy?:{preferred|bind|interleave}")
    ),
    "audio[n]": PropertyString(table("device:{ich9-intel-hda|intel-hda|AC97} driver?:{spice|none}")),
    "unused[n]": PropertyString(table("file:volume-id"), "file", {"volume": ("file", "")}),
    "ivshmem": PropertyString(table("size:i(1..) name?:memory-name")),
    "spice_enhancements": PropertyString(table("foldersharing?:b videostreaming?:{off|all|filter}")),
    "virtiofs[n]": PropertyString(
        table("dirid:config-id cache?:{auto|always|metadata|never} direct-io?:b expose-acl?:b expose-xattr?:b"), "dirid"
    ),
}  # fmt: skip


def format_of(option: str) -> str | None:
    """The property string format of an option, or None when it is plain text."""
    if DRIVE.fullmatch(option):
        return {"efidisk0": "efidisk", "tpmstate0": "tpmstate"}.get(option, "drive")
    name = re.sub(r"\d+$", "[n]", option)
    return name if name in FORMATS else None


def _shaped(options: dict[str, Parameter]) -> dict[str, Parameter]:
    return {
        name: replace(one, shape=FORMATS.get(format_of(name) or ""))
        for name, one in options.items()
    }


_TABLES = {privilege: table(text) for privilege, text in _OPTIONS.items()}
OPTIONS: dict[str, Parameter] = {
    name: one for found in _TABLES.values() for name, one in _shaped(found).items()
}
PRIVILEGE: dict[str, str] = {
    name: privilege for privilege, found in _TABLES.items() for name in found
}
# Options of Proxmox VE that no VM of the lab can have.
LACKING = _shaped(
    table(
        "amd-sev?:s intel-tdx?:s ivshmem?:s migrate_downtime?:n(0..) migrate_speed?:i(0..) smp?:i(1..)"
        " spice_enhancements?:s virtiofs[10]?:s vmstatestorage?:storage"
    )
)


def parse(option: str, text: str) -> dict[str, str]:
    """The parts of a property string.

    Raises:
        Refusal: 400 in the words of Proxmox VE.
    """
    name = format_of(option)
    if name is None:
        raise ValueError(f"{option} is not a property string")
    found, wrong = FORMATS[name].read(option, text)
    if wrong:
        raise bad_parameter(option, f"invalid format - {wrong}")
    return found


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
