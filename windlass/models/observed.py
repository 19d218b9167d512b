"""What a site looked like at one moment: read once, frozen, and the only thing a plan is made from.

`None` where something could not be read never means "absent": absence has its own value, and what could not be read is
a reason in `unread`.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Literal


@dataclass(frozen=True)
class ObservedHost:
    """One Proxmox host. Memory in MiB; `storages` maps name to what is free on it, in bytes, as are sizes."""

    name: str
    online: bool
    cpus: int
    memory_total: int
    memory_free: int
    bridges: frozenset[str]
    storages: dict[str, "ObservedStorage"]
    clock_skew: timedelta
    images: frozenset[str]
    image_sizes: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class ObservedStorage:
    """One storage as one host sees it. Bytes."""

    name: str
    content: frozenset[str]
    free: int
    active: bool
    shared: bool


@dataclass(frozen=True)
class ObservedVm:
    """One guest of the Proxmox cluster, ours or not. `memory` in MiB, `uuid` lower case."""

    vmid: int
    name: str
    host: str
    running: bool
    tags: frozenset[str]
    macs: frozenset[str]
    memory: int
    addresses: frozenset[IPv4Address]
    uuid: str | None = None


@dataclass(frozen=True)
class ObservedProxmox:
    """The Proxmox cluster. `permissions` maps a path to the privileges of our token there."""

    version: str
    quorate: bool
    hosts: dict[str, ObservedHost]
    vms: tuple[ObservedVm, ...]
    permissions: dict[str, frozenset[str]]
    mappings: dict[str, frozenset[str]]

    def vm(self, vmid: int) -> ObservedVm | None:
        return next((vm for vm in self.vms if vm.vmid == vmid), None)


@dataclass(frozen=True)
class ObservedMachine:
    """One Talos machine as its API answers.

    `state`: silent (no answer at its address), maintenance (answers without a config), configured (answers with the
    site's own CA), foreign (answers, but neither of the two).
    """

    name: str
    state: Literal["silent", "maintenance", "configured", "foreign"]
    version: str = ""
    member: bool = False


@dataclass(frozen=True)
class ObservedImage:
    """The Talos image as a Proxmox host sees it at the factory; an unregistered schematic has none yet."""

    reachable: bool
    size: int = 0
    why_not: str = ""
    is_registered: bool = True


@dataclass(frozen=True)
class ManifestRef:
    """One object of a rendered folder: enough to name it and to notice that it changed. `sha256` is of its JSON."""

    api_version: str
    kind: str
    namespace: str
    name: str
    sha256: str

    @property
    def label(self) -> str:
        where = f"{self.namespace}." if self.namespace else ""
        return f"{self.kind.lower()}.{where}{self.name}"


@dataclass(frozen=True)
class ObservedGit:
    """The repository at one commit. `roots`: a folder's objects; `broken`: why a folder cannot be rendered."""

    commit: str
    roots: dict[str, tuple[ManifestRef, ...]]
    broken: dict[str, str]


@dataclass(frozen=True)
class ObservedCluster:
    """The Kubernetes API: which nodes are Ready, which Applications are well, which roots of the repository are there.

    A root is there when all its objects exist, or when Argo CD, which then looks after it, has brought a layer up.
    """

    ready_nodes: frozenset[str] = frozenset()
    applications: dict[str, bool] = field(default_factory=dict[str, bool])
    roots: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ObservedSite:
    """Everything bootstrap decides from. `unread` lists what could not be read and why: a plan holds on it."""

    proxmox: ObservedProxmox
    machines: dict[str, ObservedMachine]
    image: ObservedImage
    image_name: str
    image_url: str
    schematic: str
    cluster: ObservedCluster
    git: ObservedGit | None
    endpoint_addresses: frozenset[IPv4Address]
    has_secrets: bool
    has_kubeconfig: bool
    has_talosconfig: bool
    unread: tuple[str, ...] = ()
