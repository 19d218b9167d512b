"""The site as its owner describes it in `site.yaml`.

Nothing here talks to a machine. A site that loads is a site that makes sense: every rule that needs
no network is checked here, once. `windlass.models.load` reads the file and turns what pydantic says
into file, line and key.
"""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Literal, Self

from pydantic import Field, model_validator

from windlass.models.fields import (
    Address,
    AppName,
    Endpoint,
    Extension,
    FilePath,
    Fingerprint,
    GitRevision,
    GitUrl,
    HostName,
    HttpsUrl,
    KernelArgument,
    KernelModule,
    KubernetesVersion,
    LabelKey,
    LabelValue,
    Location,
    Mac,
    Name,
    Network,
    Place,
    PveBridge,
    PveHost,
    PveMapping,
    PvePool,
    PveStorage,
    RepoPath,
    SecretFile,
    SecretRef,
    Sha256,
    Spec,
    Taint,
    TalosVersion,
    TokenId,
    VmId,
    VolumeName,
    refuse,
)
from windlass.models.policies import (
    Acceptance,
    Approvals,
    Outputs,
    PaceSpec,
    Parallel,
    Provisioner,
)
from windlass.models.versions import unsupported_pair, unsupported_talos

Problems = Iterator[tuple[Location, str]]

MAX_PORT = 65535


@dataclass(frozen=True)
class Claim:
    """A value that only one owner can have, and where it is written."""

    place: Location
    value: Hashable
    owner: str


class Schematic(Spec):
    """What the Talos image is made of: system extensions and kernel arguments, in file order."""

    extensions: tuple[Extension, ...] = ()
    kernel_args: tuple[KernelArgument, ...] = ()


class Image(Spec):
    """The Talos image the VMs boot. Proxmox checks `sha256`, when given, while it downloads."""

    factory: HttpsUrl = "https://factory.talos.dev"
    ca_file: FilePath | None = Field(
        default=None, description="who signs the factory, where it is your own"
    )
    sha256: Sha256 | None = None


class Cluster(Spec):
    """The Talos cluster: its name, endpoint, network and the versions its owner wants."""

    name: Name = Field(description="the name of the Talos cluster, such as home")
    endpoint: HostName = Field(description="the name under which the Kubernetes API is reached")
    port: int = Field(default=6443, ge=1, le=MAX_PORT)
    network: Network = Field(description="the network of the nodes, such as 10.0.0.0/24")
    gateway: Address = Field(description="the router of the nodes' network")
    nameservers: tuple[Address, ...] = Field(
        min_length=1, description="the DNS servers of the nodes"
    )
    time_servers: tuple[HostName, ...] = ()
    vip: Address | None = None
    pod_network: Network = IPv4Network("10.244.0.0/16")
    service_network: Network = IPv4Network("10.96.0.0/12")
    domain: HostName = "cluster.local"
    talos: TalosVersion = Field(description="the wanted Talos version, such as v1.13.9")
    kubernetes: KubernetesVersion = Field(
        description="the wanted Kubernetes version, such as v1.36.1"
    )
    schematic: Schematic = Schematic()
    image: Image = Image()
    cni: Literal["flannel", "none"] = "flannel"
    kube_proxy: bool = True
    extra_manifests: tuple[HttpsUrl, ...] = ()
    # Where the secrets bundle is kept. Bootstrap makes it when the file does not exist yet.
    secrets: SecretFile = Field(description="file:PATH of the secrets bundle; bootstrap makes it")

    @model_validator(mode="after")
    def _networks_and_versions_fit_together(self) -> Self:
        refuse("Cluster", [*self._overlaps(), *self._outsiders(), *self._unsupported()])
        return self

    def _overlaps(self) -> Problems:
        networks = {
            "network": self.network,
            "pod_network": self.pod_network,
            "service_network": self.service_network,
        }
        names = list(networks)
        for i, name in enumerate(names):
            for other in names[:i]:
                if networks[name].overlaps(networks[other]):
                    said = f"{networks[name]} overlaps {other} {networks[other]}"
                    yield (name,), f"{said}: choose networks apart from each other"

    def _outsiders(self) -> Problems:
        if why := self.why_no_host(self.gateway):
            yield ("gateway",), why
        if self.vip is None:
            return
        if why := self.why_no_host(self.vip):
            yield ("vip",), why
        if self.vip == self.gateway:
            yield ("vip",), f"{self.vip} is the gateway: choose an address that nothing else has"

    def _unsupported(self) -> Problems:
        if why := unsupported_talos(self.talos):
            yield ("talos",), why
        elif why := unsupported_pair(self.talos, self.kubernetes):
            yield ("kubernetes",), why

    def why_no_host(self, address: IPv4Address) -> str | None:
        """Why no machine of the cluster can have this address; None when one can."""
        network = self.network
        if address not in network:
            return f"{address} is not in the cluster network {network}"
        if network.num_addresses > 2:  # noqa: PLR2004 - /31 and /32 have neither of the two
            if address == network.network_address:
                return f"{address} is the network address of {network}, not a machine's"
            if address == network.broadcast_address:
                return f"{address} is the broadcast address of {network}, not a machine's"
        return None


class Proxmox(Spec):
    """The Proxmox cluster. Trust is a `ca_file`, or `fingerprints` of self-signed leaves."""

    endpoints: tuple[Endpoint, ...] = Field(
        min_length=1, description="the APIs of the hosts, such as [https://pve1.example.org:8006]"
    )
    token_id: TokenId = Field(description="the API token, such as windlass@pve!windlass")
    token_secret: SecretRef = Field(description="where its secret is: file:PATH or env:NAME")
    ca_file: FilePath | None = None
    fingerprints: tuple[Fingerprint, ...] = ()
    storage: PveStorage = Field(description="the storage of the VMs' disks, such as local-lvm")
    image_storage: PveStorage = Field(description="the storage of the Talos image, such as local")
    bridge: PveBridge = "vmbr0"
    vlan: int | None = Field(default=None, ge=1, le=4094)
    pool: PvePool | None = None
    # Free memory that must stay on each host after all VMs have started, as a share of its memory.
    headroom: float = Field(default=0.05, ge=0, lt=1)

    @model_validator(mode="after")
    def _proxmox_is_trusted_by_a_ca_or_a_fingerprint(self) -> Self:
        if self.ca_file is None and not self.fingerprints:
            says = "name a ca_file or the fingerprints of the hosts: TLS is never left unverified"
            refuse("Proxmox", [((), says)])
        return self


class DataDisk(Spec):
    """A disk beside the system disk, in GiB. `mount` makes it a Talos user volume in /var/mnt."""

    size: int = Field(ge=1, le=1_000_000, description="GiB")
    storage: PveStorage | None = None
    mount: VolumeName | None = None


class Node(Spec):
    """One machine. `cpu` are cores, `memory` is in MiB, `disk` (the system disk) in GiB."""

    name: Name = Field(description="the name of the machine, its VM and its Kubernetes node")
    role: Literal["controlplane", "worker"] = Field(description="controlplane or worker")
    host: PveHost = Field(description="the Proxmox host that runs its VM")
    address: Address = Field(description="its fixed address in the cluster network")
    vmid: VmId = Field(description="the number of its VM, from 100")
    mac: Mac = Field(description="the MAC address of its VM, such as bc:24:11:00:00:01")
    cpu: int = Field(ge=1, le=512, description="cores")
    memory: int = Field(ge=1024, le=16_777_216, description="MiB, such as 8192")
    disk: int = Field(default=40, ge=10, le=1_000_000, description="GiB")
    storage: PveStorage | None = None
    data_disks: tuple[DataDisk, ...] = ()
    gpus: tuple[PveMapping, ...] = Field(default=(), description="names of Proxmox PCI mappings")
    kernel_modules: tuple[KernelModule, ...] = ()
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict[str, str])
    taints: dict[LabelKey, Taint] = Field(default_factory=dict[str, str])

    @model_validator(mode="after")
    def _a_volume_name_stands_for_one_disk(self) -> Self:
        mounts = [
            Claim(("data_disks", i, "mount"), disk.mount, "another disk")
            for i, disk in enumerate(self.data_disks)
            if disk.mount
        ]
        refuse("Node", _doubles(mounts))
        return self


class Layer(Spec):
    """One stage of the GitOps roll-out: manifests that start it, and the Applications it ends with.

    `apply` are files or kustomize folders in the repository; `apps` are names of Applications that
    must be well before the next layer.
    """

    name: Name
    apply: tuple[RepoPath, ...] = ()
    apps: tuple[AppName, ...] = Field(min_length=1)


class GitOps(Spec):
    """The Git repository that says what runs.

    `cni` and `argocd` are kustomize folders that are applied before Argo CD can apply anything.
    """

    repo: GitUrl = Field(description="the repository, such as https://example.org/owner/repo.git")
    revision: GitRevision = "main"
    credentials: SecretRef | None = None
    cni: RepoPath | None = None
    argocd: RepoPath = Field(description="the kustomize folder of Argo CD in the repository")
    namespace: Name = "argocd"
    layers: tuple[Layer, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _layers_and_apps_are_named_once(self) -> Self:
        layers = list(enumerate(self.layers))
        names = [Claim(("layers", i, "name"), layer.name, "another layer") for i, layer in layers]
        apps = [
            Claim(("layers", i, "apps", j), app, f"layer {layer.name}")
            for i, layer in layers
            for j, app in enumerate(layer.apps)
        ]
        refuse("GitOps", [*_doubles(names), *_doubles(apps)])
        return self


class Site(Spec):
    """All that one `site.yaml` describes. Relative paths are relative to the file."""

    name: Name = Field(description="the name of the site, such as home")
    lab: bool = Field(
        default=False,
        description="true only in site files that the lab writes; failpoints need it",
    )
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
    # `host:port` or `host` as the site calls it, to where it is reached from here. TLS names stay
    # the real ones.
    reach: dict[Place, Place] = Field(default_factory=dict[str, str])

    @model_validator(mode="after")
    def _the_parts_fit_together(self) -> Self:
        refuse(
            "Site",
            [
                *self._quorum(),
                *self._doubled_nodes(),
                *self._misplaced_nodes(),
                *self._doubled_hosts(),
                *self._doubled_files(),
                *self._unsafe_transports(),
                *self._impossible_places(),
            ],
        )
        return self

    def _quorum(self) -> Problems:
        members = len(self.control_planes)
        if members % 2 == 0:
            yield ("nodes",), f"etcd needs an odd number of control planes, this is {members}"

    def _doubled_nodes(self) -> Problems:
        for key in ("name", "vmid", "mac", "address"):
            yield from _doubles(
                Claim(("nodes", i, key), getattr(node, key), f"node {node.name} (number {i})")
                for i, node in enumerate(self.nodes)
            )

    def _misplaced_nodes(self) -> Problems:
        taken = {self.cluster.gateway: "the gateway", self.cluster.vip: "the vip"}
        for i, node in enumerate(self.nodes):
            place = ("nodes", i, "address")
            if why := self.cluster.why_no_host(node.address):
                yield place, f"node {node.name}: {why}"
            elif node.address in taken:
                yield place, f"node {node.name}: {node.address} is {taken[node.address]}"

    def _doubled_hosts(self) -> Problems:
        """Proxmox tells hosts apart by case; a person who writes both means one of them."""
        spelled: dict[str, str] = {}
        for i, node in enumerate(self.nodes):
            first = spelled.setdefault(node.host.lower(), node.host)
            if first != node.host:
                yield (
                    ("nodes", i, "host"),
                    f"{node.host} and {first} differ only by case: spell one",
                )

    def _doubled_files(self) -> Problems:
        secrets = self.cluster.secrets.removeprefix("file:")
        yield from _doubles(
            [
                Claim(("cluster", "secrets"), secrets, "the secrets bundle"),
                Claim(("outputs", "kubeconfig"), self.outputs.kubeconfig, "the kubeconfig"),
                Claim(("outputs", "talosconfig"), self.outputs.talosconfig, "the talosconfig"),
            ]
        )

    def _unsafe_transports(self) -> Problems:
        """A lab is on this machine; anywhere else plain HTTP lets strangers choose what runs."""
        if self.lab:
            return
        if self.gitops is not None and self.gitops.repo.startswith("http://"):
            yield ("gitops", "repo"), "must be an https or ssh URL"

    def _impossible_places(self) -> Problems:
        for called, there in self.reach.items():
            for place in (called, there):
                port = place.partition(":")[2]
                if port and not 1 <= int(port) <= MAX_PORT:
                    yield ("reach", called), f"{place}: a port is a number from 1 to {MAX_PORT}"

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


def _doubles(claims: Iterable[Claim]) -> Problems:
    """A problem for each claim to a value that an earlier one has taken."""
    owners: dict[Hashable, str] = {}
    for claim in claims:
        if claim.value in owners:
            yield claim.place, f"{claim.value} is already taken by {owners[claim.value]}"
        owners.setdefault(claim.value, claim.owner)
