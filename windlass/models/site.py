"""The site as its owner describes it in `site.yaml`.

Nothing here talks to a machine. A site that loads is a site that makes sense: every rule that needs no network is
checked here, once. `windlass.models.load` reads the file and turns what pydantic says into file, line and key.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
HostName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$", max_length=253)
]
Mac = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$", to_lower=True)]
TalosVersion = Annotated[str, StringConstraints(pattern=r"^v\d+\.\d+\.\d+$")]
KubernetesVersion = Annotated[str, StringConstraints(pattern=r"^v\d+\.\d+\.\d+$")]
SecretRef = Annotated[str, StringConstraints(pattern=r"^(file:.+|env:[A-Za-z_][A-Za-z0-9_]*|sops:[^#]+#.+)$")]
VmId = Annotated[int, Field(ge=100, le=999_999_999)]


class Spec(BaseModel):
    """Base for everything a human writes: immutable, strict, and a typo is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Schematic(Spec):
    """What the Talos image is made of: system extensions and kernel arguments, in the order of the file."""

    extensions: tuple[str, ...] = ()
    kernel_args: tuple[str, ...] = ()


class Image(Spec):
    """The Talos image the VMs boot. `sha256` of the ISO, when known, is checked by Proxmox while it downloads."""

    factory: str = "https://factory.talos.dev"
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


class Cluster(Spec):
    """The Talos cluster: its name, endpoint, network and the versions its owner wants."""

    name: Name
    endpoint: HostName
    port: int = Field(default=6443, ge=1, le=65535)
    network: IPv4Network
    gateway: IPv4Address
    nameservers: tuple[IPv4Address, ...] = Field(min_length=1)
    time_servers: tuple[HostName, ...] = ()
    vip: IPv4Address | None = None
    pod_network: IPv4Network = IPv4Network("10.244.0.0/16")
    service_network: IPv4Network = IPv4Network("10.96.0.0/12")
    domain: HostName = "cluster.local"
    talos: TalosVersion
    kubernetes: KubernetesVersion
    schematic: Schematic = Schematic()
    image: Image = Image()
    cni: Literal["flannel", "none"] = "flannel"
    kube_proxy: bool = True
    extra_manifests: tuple[str, ...] = ()
    # Where the secrets bundle is kept. Bootstrap makes it when the file does not exist yet.
    secrets: Annotated[str, StringConstraints(pattern=r"^file:.+$")]


class Proxmox(Spec):
    """The Proxmox cluster. Trust: `ca_file`, or `fingerprints` (SHA-256 of each leaf) where it is self-signed."""

    endpoints: tuple[str, ...] = Field(min_length=1)
    token_id: Annotated[str, StringConstraints(pattern=r"^[^@!]+@[^@!]+![^@!]+$")]
    token_secret: SecretRef
    ca_file: str | None = None
    fingerprints: tuple[str, ...] = ()
    storage: str
    image_storage: str
    bridge: str = "vmbr0"
    vlan: int | None = Field(default=None, ge=1, le=4094)
    pool: str | None = None
    # Free memory that must stay on each host after all VMs have started, as a share of its memory.
    headroom: float = Field(default=0.05, ge=0, lt=1)

    @model_validator(mode="after")
    def _proxmox_is_trusted_by_a_ca_or_a_fingerprint(self) -> Self:
        if self.ca_file is None and not self.fingerprints:
            raise ValueError("name a ca_file or the fingerprints of the hosts: TLS is never left unverified")
        return self


class DataDisk(Spec):
    """A disk beside the system disk. `mount` makes it a Talos user volume of that name under /var/mnt."""

    size: int = Field(ge=1, le=1_000_000, description="GiB")
    storage: str | None = None
    mount: Name | None = None


class Node(Spec):
    """One machine of the cluster. `cpu` are cores, `memory` is in MiB, `disk` (the system disk) in GiB."""

    name: Name
    role: Literal["controlplane", "worker"]
    host: str
    address: IPv4Address
    vmid: VmId
    mac: Mac
    cpu: int = Field(ge=1, le=512)
    memory: int = Field(ge=1024, le=16_777_216)
    disk: int = Field(default=40, ge=10, le=1_000_000)
    storage: str | None = None
    data_disks: tuple[DataDisk, ...] = ()
    gpus: tuple[str, ...] = Field(default=(), description="names of Proxmox PCI mappings")
    kernel_modules: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    taints: dict[str, str] = {}


class Layer(Spec):
    """One stage of the GitOps roll-out: manifests that start it, and the Applications that must be well at its end.

    `apply` are files or kustomize folders in the repository; `apps` are names of Applications.
    """

    name: Name
    apply: tuple[str, ...] = ()
    apps: tuple[str, ...] = Field(min_length=1)


class GitOps(Spec):
    """The Git repository that says what runs. `cni` and `argocd` are kustomize folders applied before Argo CD can."""

    repo: str
    revision: str = "main"
    credentials: SecretRef | None = None
    cni: str | None = None
    argocd: str
    namespace: Name = "argocd"
    layers: tuple[Layer, ...] = Field(min_length=1)


class Acceptance(Spec):
    """What the new cluster must prove: `storage_class` of the volume it must bind (none: no volume is tried)."""

    storage_class: str | None = None
    image: str = "registry.k8s.io/pause:3.10"


class Approvals(Spec):
    """When a person must say yes: always, only before disruptive and destructive plans, or never."""

    policy: Literal["always", "by-risk", "never"] = "by-risk"
    # A run waits this long for the answer, then parks; the approval starts a new run.
    wait: timedelta = timedelta(minutes=5)


class PaceSpec(Spec):
    """How often Windlass looks, and how long it is patient. The lab writes these for its own speed."""

    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(seconds=10)
    call: timedelta = Field(default=timedelta(seconds=60), description="deadline of one API call that changes something")
    probe: timedelta = Field(default=timedelta(seconds=10), description="deadline of one API call that only reads")
    download: timedelta = timedelta(minutes=15)
    vm: timedelta = Field(default=timedelta(minutes=10), description="a VM task: create, start, stop")
    boot: timedelta = Field(default=timedelta(minutes=10), description="power on until the Talos API answers")
    install: timedelta = timedelta(minutes=15)
    etcd: timedelta = timedelta(minutes=10)
    ready: timedelta = Field(default=timedelta(minutes=15), description="API up, nodes Ready")
    rollout: timedelta = Field(default=timedelta(minutes=30), description="one GitOps Application")
    settle: timedelta = Field(default=timedelta(seconds=10), description="gap between two reads where one can lie")


class Parallel(Spec):
    """How much runs side by side, per host and per API. The defaults are what a Proxmox cluster takes well."""

    per_host: int = Field(default=2, ge=1, le=32)
    per_storage: int = Field(default=2, ge=1, le=32)
    proxmox: int = Field(default=8, ge=1, le=64)
    talos: int = Field(default=16, ge=1, le=256)
    kubernetes: int = Field(default=8, ge=1, le=64)


class Outputs(Spec):
    """Where bootstrap leaves the credentials of the new cluster, mode 0600."""

    talosconfig: str = "talosconfig"
    kubeconfig: str = "kubeconfig"


class Provisioner(Spec):
    """What makes the VMs: Windlass itself, or an OpenTofu folder."""

    kind: Literal["native", "tofu"] = "native"
    folder: str | None = None


class Site(Spec):
    """All that one `site.yaml` describes. Relative paths are relative to the file."""

    name: Name
    lab: bool = Field(default=False, description="true only in site files that the lab writes; failpoints need it")
    cluster: Cluster
    proxmox: Proxmox
    provisioner: Provisioner = Provisioner()
    nodes: tuple[Node, ...] = Field(min_length=1, max_length=1000)
    gitops: GitOps | None = None
    acceptance: Acceptance = Acceptance()
    approvals: Approvals = Approvals()
    pace: PaceSpec = PaceSpec()
    parallel: Parallel = Parallel()
    outputs: Outputs = Outputs()
    # `host:port` or `host` as the site calls it, to where it is reached from here. TLS names stay the real ones.
    reach: dict[str, str] = {}

    @model_validator(mode="after")
    def _etcd_needs_an_odd_quorum(self) -> Self:
        members = len(self.control_planes)
        if members % 2 == 0:
            raise ValueError(f"etcd needs an odd number of control planes, got {members}")
        return self

    @model_validator(mode="after")
    def _names_ids_macs_and_addresses_are_unique(self) -> Self:
        for what, values in {
            "names": [node.name for node in self.nodes],
            "vmids": [node.vmid for node in self.nodes],
            "macs": [node.mac for node in self.nodes],
            "addresses": [node.address for node in self.nodes],
        }.items():
            if twice := _doubled(values):
                raise ValueError(f"two nodes share {what}: {', '.join(map(str, twice))}")
        return self

    @model_validator(mode="after")
    def _addresses_are_hosts_of_the_cluster_network(self) -> Self:
        network = self.cluster.network
        named = {f"node {node.name}": node.address for node in self.nodes} | {"gateway": self.cluster.gateway}
        if self.cluster.vip is not None:
            named["vip"] = self.cluster.vip
        for what, address in named.items():
            if address not in network or address in (network.network_address, network.broadcast_address):
                raise ValueError(f"{what}: {address} is not a host address of {network}")
        if len(set(named.values())) != len(named):
            raise ValueError(f"vip or gateway is also a node's address: {_doubled(named.values())[0]}")
        return self

    @model_validator(mode="after")
    def _networks_do_not_overlap(self) -> Self:
        networks = (self.cluster.network, self.cluster.pod_network, self.cluster.service_network)
        for i, one in enumerate(networks):
            for other in networks[i + 1 :]:
                if one.overlaps(other):
                    raise ValueError(f"networks {one} and {other} overlap")
        return self

    @property
    def control_planes(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role == "controlplane")

    @property
    def workers(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role == "worker")

    @property
    def tag(self) -> str:
        """The Proxmox tag that marks this site's VMs as Windlass's own."""
        return f"windlass-{self.name}"

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def interface(self, node: Node) -> IPv4Interface:
        """The node's address with the prefix length of the cluster network."""
        return IPv4Interface(f"{node.address}/{self.cluster.network.prefixlen}")

    def reached(self, host: str, port: int) -> tuple[str, int]:
        """Where `host:port` is reached from here."""
        there = self.reach.get(f"{host}:{port}", self.reach.get(host))
        if there is None:
            return host, port
        name, _, other = there.partition(":")
        return name, int(other) if other else port


def _doubled(values: Iterable[Hashable]) -> list[Hashable]:
    return [value for value, count in Counter(values).items() if count > 1]
