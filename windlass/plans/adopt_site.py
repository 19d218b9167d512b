"""A site file from an OpenTofu folder: what the folder says, and a marked gap for all that it does not.

A gap has a stand-in only where a wrong one is refused before anything is touched, or costs nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from windlass.models.tofu import GitTree, TofuFolder
from windlass.plans.adopt_dangers import dangers
from windlass.plans.adopt_gitops import adopt_gitops
from windlass.plans.adopt_page import Gap, Page
from windlass.plans.adopt_tofu import DEFAULT_DISK_GIB, ROLES, Adopted, TofuNode, adopt, text, texts

# What each node gets when its folder does not say: enough for Talos, and shared, so that too many cost speed only.
STAND_IN_CORES = 4
# The extensions that Proxmox guests of the reference layouts have at least: the agent answers for the VM.
STAND_IN_EXTENSIONS = ["siderolabs/qemu-guest-agent"]


@dataclass(frozen=True)
class Adoption:
    """The text of a site file, its gaps, what was left behind, and what is dangerous in the folder itself."""

    text: str
    gaps: tuple[Gap, ...]
    left_behind: tuple[str, ...]
    dangers: tuple[str, ...]


def adopt_tofu(
    folder: TofuFolder,
    name: str,
    memory: dict[str, int] | None = None,
    tree: GitTree | None = None,
) -> Adoption:
    """The site file of the folder as site `name`, with the Git tree beside it.

    `memory` in MiB by role fills what the folder leaves open.

    Raises:
        BadInputError: the folder describes no nodes in a shape that is known here.
    """
    adopted = adopt(folder)
    page = Page([f"# Written by `windlass init` from an OpenTofu folder. {_GUIDE}"])
    page.put("name", name)
    _cluster(page, adopted)
    _proxmox(page, adopted)
    _nodes(page, adopted, memory or {})
    adopt_gitops(page, tree)
    return Adoption(
        text="\n".join(page.lines) + "\n",
        gaps=tuple(page.gaps),
        left_behind=tuple(_left_behind(adopted)),
        dangers=tuple(dangers(adopted)),
    )


_GUIDE = "Look for UNKNOWN; `windlass check` says what still keeps it from loading."


def _cluster(page: Page, adopted: Adopted) -> None:
    network = adopted.network
    gateway = text(network.get("gateway"))
    page.section("cluster")
    page.put("name", adopted.cluster, "the name of the Talos cluster is not written out")
    page.put("endpoint", adopted.endpoint, "the name of the Kubernetes API is not written out")
    _network(page, adopted, gateway)
    page.put("gateway", gateway, "the gateway is not written out")
    servers = texts(network.get("dns_servers")) or None
    page.put(
        "nameservers",
        servers,
        "no DNS servers: stands in the gateway",
        [gateway] if gateway else None,
    )
    page.put("vip", text(network.get("vip")))
    page.put("domain", adopted.domain)
    page.put("talos", adopted.talos, "no version of Talos")
    page.put("kubernetes", adopted.kubernetes, "no version of Kubernetes, such as v1.32.4")
    page.lines.append("  schematic:")
    extensions = list(adopted.folder.extensions) or None
    page.indent, page.around = "    ", "cluster.schematic"
    page.put(
        "extensions", extensions, "no schematic here: name every extension", STAND_IN_EXTENSIONS
    )
    page.indent, page.around = "  ", "cluster"
    why = "its own CNI and no kube-proxy, as Cilium wants it, are not said here"
    page.put("cni", "none" if adopted.own_cni else None, why, "none")
    page.put("kube_proxy", False if adopted.own_cni else None, why, stand_in=False)
    page.put("secrets", "file:credentials/secrets.yaml")


def _network(page: Page, adopted: Adopted, gateway: str | None) -> None:
    prefix = adopted.network.get("cidr_prefix")
    if gateway is None:
        page.put("network", None, "the network of the nodes, such as 10.0.0.0/24")
    elif isinstance(prefix, int):
        page.put("network", _around(gateway, prefix), "gateway and cidr_prefix make no network")
    else:
        why = "no prefix length: stands in the usual 24"
        page.put("network", None, why, _around(gateway, 24))


def _around(gateway: str, prefix: int) -> str | None:
    try:
        return str(IPv4Network((int(IPv4Address(gateway)), prefix), strict=False))
    except (AddressValueError, ValueError):
        return None


def _proxmox(page: Page, adopted: Adopted) -> None:
    proxmox = adopted.proxmox
    token = text(proxmox.get("api_token"))
    host = _default_host(adopted)
    endpoint = text(proxmox.get("endpoint"))
    page.section("proxmox")
    page.put(
        "endpoints",
        [endpoint.rstrip("/")] if endpoint else None,
        "the API is in no file here: stands in the usual port of the host",
        [f"https://{host.lower()}:8006"] if host else None,
    )
    # Only the name of the token: what follows the equals sign is its secret.
    page.put(
        "token_id",
        token.partition("=")[0] if token else None,
        "no API token",
        "windlass@pve!windlass",
    )
    page.put(
        "token_secret",
        None,
        "put the token's secret there, mode 0600",
        "file:credentials/proxmox-token",
    )
    page.put(
        "ca_file",
        None,
        "the hosts' CA: /etc/pve/pve-root-ca.pem on any of them",
        "credentials/pve-root-ca.pem",
    )
    page.put("storage", adopted.datastore, "the default storage is in no file here", "local-lvm")
    page.put("image_storage", text(adopted.image.get("proxmox_datastore")) or "local")
    page.put("bridge", text(adopted.network.get("bridge")))
    vlan = adopted.network.get("vlan_id")
    page.put("vlan", vlan if isinstance(vlan, int) else None)


def _default_host(adopted: Adopted) -> str | None:
    named = {text(node.written.get("host_node")) for node in adopted.nodes} - {None}
    return text(adopted.proxmox.get("name")) or next(
        iter(sorted(filter(None, named))), adopted.proxmox_cluster
    )


def _nodes(page: Page, adopted: Adopted, memory: dict[str, int]) -> None:
    page.section("nodes", "    ")
    inside = [node for node in adopted.nodes if not node.external]
    for number, node in enumerate(inside):
        page.around = f"nodes[{number}]"
        first = len(page.lines)
        _node(page, node, adopted, memory)
        page.lines[first] = page.lines[first].replace("    ", "  - ", 1)


def _node(page: Page, node: TofuNode, adopted: Adopted, memory: dict[str, int]) -> None:
    page.put("name", node.name)
    page.put("role", node.role if node.role in ROLES else None, "controlplane or worker")
    page.put(
        "host", _text(node, "host_node"), "which host, is in no file here", _default_host(adopted)
    )
    page.put("address", _text(node, "ip"), f"the address of {node.name}")
    page.put("vmid", _number(node, "vm_id"), f"the VM id of {node.name}")
    page.put("mac", _text(node, "mac_address"), f"the MAC address of {node.name}")
    page.put(
        "cpu", _number(node, "cpu"), "the default of its role is in no file here", STAND_IN_CORES
    )
    size = _number(node, "ram_dedicated") or memory.get(node.role)
    page.put("memory", size, f"MiB of {node.name}: the default of its role is in no file here")
    page.put("disk", _number(node, "root_disk_size") or DEFAULT_DISK_GIB)
    page.put("storage", _text(node, "datastore_id"))
    if node.get("igpu") is True:
        _gpu(page, node)


def _gpu(page: Page, node: TofuNode) -> None:
    """GPUs pass through by mappings that the folder names after the node."""
    count = len(texts(node.written.get("gpu_devices")))
    page.put("gpus", [f"gpu-{node.name}-{i}" for i in range(count)])
    page.lines.append('    labels: {gpu: "true"}')
    if node.get("gpu_node_exclusive") is not False:
        page.lines.append('    taints: {gpu: "true:NoSchedule"}')


def _text(node: TofuNode, key: str) -> str | None:
    value = node.get(key)
    return value if isinstance(value, str) and value else None


def _number(node: TofuNode, key: str) -> int | None:
    value = node.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# What a site file says in its own words; all other attributes stay behind.
CARRIED = frozenset(
    {
        *("machine_type", "ip", "host_node", "mac_address", "vm_id", "cpu", "ram_dedicated"),
        *("datastore_id", "root_disk_size", "upgrade", "update", "is_external"),
        *("igpu", "gpu_devices", "gpu_device_meta", "gpu_node_exclusive"),
    }
)


def _left_behind(adopted: Adopted) -> Iterator[str]:
    for node in adopted.nodes:
        if node.external:
            yield f"node {node.name} has no VM (is_external): Windlass does not build it"
    extra = sorted({key for node in adopted.nodes for key in node.written} - CARRIED)
    for key in extra:
        holders = [node.name for node in adopted.nodes if key in node.written]
        yield f"{key} of {', '.join(holders)}: a site file has no word for it"
    if balancer := text(adopted.network.get("api_lb_vip")):
        yield f"api_lb_vip {balancer}: the vip alone answers for the API; keep the address free"
    for name, why in {
        "lb_nodes": "load balancer VMs are not built; the vip is",
        "oidc": "API server flags for OIDC are not written",
    }.items():
        if adopted.folder.value(name):
            yield f"{name}: {why}"
