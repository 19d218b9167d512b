"""What the Proxmox VE API answers, reduced to what is read. Sizes in bytes, unless said else."""

import re
from datetime import datetime, timedelta
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface
from typing import Annotated, Any, Literal, NewType

from pydantic import AliasChoices, AliasPath, BaseModel, BeforeValidator, ConfigDict, Field

Upid = NewType("Upid", str)
"""The name of a Proxmox task: node, process, start, type, subject and user in one string."""

UPID = re.compile(
    r"UPID:(?P<host>[a-zA-Z0-9][a-zA-Z0-9-]*):[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}:"
    r"(?P<start>[0-9A-Fa-f]{8}):(?P<kind>[^:\s/]+):(?P<subject>[^:\s/]*):(?P<user>[^:\s/]+):"
)


def _words(value: Any) -> Any:
    """Split a list written as one string, commas here, semicolons there; absent is empty."""
    if value is None or isinstance(value, str):
        return frozenset(word for word in re.split(r"[,; ]+", value or "") if word)
    return value


Words = Annotated[frozenset[str], BeforeValidator(_words)]


class Answer(BaseModel):
    """Base for answers: frozen, and what is not read is not looked at."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", coerce_numbers_to_str=True, populate_by_name=True
    )


class HostState(Answer):
    """One host as the cluster sees it."""

    name: str
    online: bool


class ClusterStatus(Answer):
    """The cluster; a host that stands alone is quorate by itself and has no cluster name."""

    name: str | None
    quorate: bool
    hosts: tuple[HostState, ...]


class HostStatus(Answer):
    """One host's own figures. Memory in bytes; `load` is the average of the last minute."""

    memory_total: int = Field(validation_alias=AliasPath("memory", "total"))
    memory_free: int = Field(
        validation_alias=AliasChoices(AliasPath("memory", "available"), AliasPath("memory", "free"))
    )
    cpus: int = Field(validation_alias=AliasPath("cpuinfo", "cpus"))
    uptime: timedelta
    load: float = Field(validation_alias=AliasPath("loadavg", 0))
    version: str = Field(validation_alias="pveversion")


class StorageState(Answer):
    """One storage as one host sees it; totals are 0 while it is not active."""

    name: str = Field(validation_alias="storage")
    type: str
    content: Words
    total: int = 0
    available: int = Field(default=0, validation_alias="avail")
    active: bool = False
    shared: bool = False


class VmRef(Answer):
    """A guest as the cluster lists it. `status` lags up to 10 s, `unknown` after a create."""

    vmid: int
    type: Literal["qemu", "lxc"] = "qemu"
    """A virtual machine or a container; both take their vmid from the same range."""
    name: str = ""
    host: str = Field(validation_alias="node")
    tags: Words = frozenset()
    status: str = "unknown"
    template: bool = False
    lock: str | None = None
    pool: str | None = None
    memory: int = Field(default=0, validation_alias="maxmem")
    cores: float = Field(default=0, validation_alias="maxcpu")


class VmConfig(Answer):
    """A VM's configuration, pending changes included. `raw` is every key, its value as text."""

    raw: dict[str, str]

    @cached_property
    def name(self) -> str:
        return self.raw.get("name", "")

    @cached_property
    def cores(self) -> int:
        """Cores of all sockets."""
        return int(self.raw.get("cores", "1")) * int(self.raw.get("sockets", "1"))

    @cached_property
    def memory(self) -> int:
        """MiB; a property string since Proxmox VE 8.1."""
        return int(self.raw.get("memory", "512").split(",")[0].removeprefix("current="))

    @cached_property
    def macs(self) -> frozenset[str]:
        """MAC addresses of all NICs, lower case."""
        found = re.compile(r"[=,]((?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2})(?:,|$)")
        nics = self.numbered("net").values()
        return frozenset(mac.lower() for nic in nics for mac in found.findall(nic))

    @cached_property
    def addresses(self) -> frozenset[IPv4Address]:
        """Static IPv4 addresses that cloud-init gives the guest, or that are a container's own."""
        nics = (self.numbered("ipconfig") | self.numbered("net")).values()
        given = [properties(nic).get("ip", "") for nic in nics]
        return frozenset(IPv4Interface(ip).ip for ip in given if ip[:1].isdigit())

    @cached_property
    def tags(self) -> frozenset[str]:
        return _words(self.raw.get("tags"))

    @cached_property
    def smbios_uuid(self) -> str | None:
        """Lower case."""
        uuid = properties(self.raw.get("smbios1", "")).get("uuid")
        return uuid.lower() if uuid else None

    @cached_property
    def disks(self) -> dict[str, str]:
        """Device to volume and options, CD-ROMs and the cloud-init drive left out."""
        found: dict[str, str] = {}
        for bus in ("scsi", "virtio", "sata", "ide"):
            found |= {
                key: value
                for key, value in self.numbered(bus).items()
                if "media=cdrom" not in value
            }
        return found

    @cached_property
    def pci(self) -> frozenset[str]:
        """Names of the PCI mappings that are passed through."""
        given = (properties(value).get("mapping") for value in self.numbered("hostpci").values())
        return frozenset(name for name in given if name)

    @property
    def digest(self) -> str:
        return self.raw.get("digest", "")

    @property
    def lock(self) -> str | None:
        return self.raw.get("lock")

    @property
    def is_protected(self) -> bool:
        return self.raw.get("protection") == "1"

    def numbered(self, prefix: str) -> dict[str, str]:
        """The keys `prefix0`, `prefix1`, ..."""
        return {key: value for key, value in self.raw.items() if re.fullmatch(rf"{prefix}\d+", key)}


class VmStatus(Answer):
    """A VM right now, asked of its own host."""

    status: str
    lock: str | None = None
    uptime: timedelta = timedelta(0)

    @property
    def is_running(self) -> bool:
        return self.status == "running"


class Volume(Answer):
    """One volume of a storage, named as `storage:path`."""

    volid: str
    size: int = 0
    format: str = ""
    vmid: int | None = None


class UrlMetadata(Answer):
    """What a host sees at a URL."""

    size: int = 0
    """0 where the server does not say."""
    filename: str | None = None


class PciMapping(Answer):
    """A named PCI device and the hosts that have it."""

    name: str
    hosts: frozenset[str]


class Pool(Answer):
    """A resource pool and the VMs in it."""

    name: str
    vmids: frozenset[int]


class TaskStatus(Answer):
    """A task right now. `exit_status` is empty while it runs; warnings count as well ended."""

    running: bool
    exit_status: str = ""

    @property
    def warnings(self) -> int:
        found = re.fullmatch(r"WARNINGS: (\d+)", self.exit_status)
        return int(found[1]) if found else 0

    @property
    def ok(self) -> bool:
        return not self.running and (self.exit_status == "OK" or self.warnings > 0)


class TaskRef(Answer):
    """A task in a host's list. `user` is the user, with `!token` where a token started it; `about` the VM or file."""

    upid: str
    kind: str
    about: str
    user: str
    start: datetime
    running: bool


def properties(text: str) -> dict[str, str]:
    """Split a property string, `a=1,b=2`; a part without a key is kept under the empty key."""
    return {
        key if sep else "": value if sep else key
        for key, sep, value in (p.partition("=") for p in text.split(","))
        if key or value
    }
