"""What an OpenTofu folder says, as one shape: today's variables, or the nodes inside a module call.

`windlass.plans.adopt_site` turns it into a site file, `windlass.plans.adopt_dangers` warns about it.
"""

from dataclasses import dataclass

from windlass.errors import BadInputError
from windlass.models.tofu import Expression, TofuFolder, TofuObject, TofuValue

Scalar = None | bool | int | float | str

ROLES = ("controlplane", "worker")
# What the reference layouts assume where nothing is written.
DEFAULT_DISK_GIB = 40


@dataclass(frozen=True)
class TofuNode:
    """One node: what is written for it, over the defaults of its role."""

    name: str
    role: str
    written: TofuObject
    defaults: TofuObject
    flag: str

    def get(self, key: str) -> Scalar:
        """The plain value of an attribute, from the node or from the defaults of its role."""
        return plain(self.written.get(key, self.defaults.get(key)))

    @property
    def armed(self) -> bool:
        return self.get(self.flag) is True

    @property
    def external(self) -> bool:
        return self.get("is_external") is True


@dataclass(frozen=True)
class Adopted:
    """The folder in one shape. None is what it does not say; versions carry a leading v."""

    cluster: str | None
    domain: str | None
    endpoint: str | None
    network: TofuObject
    proxmox: TofuObject
    proxmox_cluster: str | None
    datastore: str | None
    image: TofuObject
    talos: str | None
    talos_target: str | None
    kubernetes: str | None
    kubernetes_target: str | None
    nodes: tuple[TofuNode, ...]
    declared: frozenset[str]
    own_cni: bool
    folder: TofuFolder

    def effective(self, node: TofuNode) -> tuple[str | None, str | None]:
        """The Talos and Kubernetes that OpenTofu gives this node: the targets when its flag is armed."""
        if not node.armed:
            return self.talos, self.kubernetes
        return self.talos_target or self.talos, self.kubernetes_target or self.kubernetes


def adopt(folder: TofuFolder) -> Adopted:
    """The folder in one shape.

    Raises:
        BadInputError: it describes no nodes in a shape that is known here.
    """
    if isinstance(nodes := folder.value("nodes_config"), dict):
        return _from_variables(folder, nodes)
    for module in folder.modules.values():
        if isinstance(nodes := module.get("nodes"), dict):
            return _from_module(folder, module, nodes)
    raise BadInputError(
        "no nodes found: neither a variable nodes_config in the .auto.tfvars files, "
        "nor a module with nodes = {...} in the .tf files"
    )


def plain(value: TofuValue) -> Scalar:
    """A value that is written out; None for expressions, lists and objects."""
    return None if isinstance(value, Expression | list | dict) else value


def text(value: TofuValue) -> str | None:
    return value if isinstance(value, str) and value else None


def nested(value: TofuValue) -> TofuObject:
    return value if isinstance(value, dict) else {}


def texts(value: TofuValue) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _from_variables(folder: TofuFolder, nodes: TofuObject) -> Adopted:
    versions, image = nested(folder.value("versions")), nested(folder.value("talos_image"))
    domain = text(folder.value("cluster_domain"))
    endpoint = text(folder.value("external_api_endpoint")) or (f"api.{domain}" if domain else None)
    defaults = {role: nested(folder.value(f"defaults_{role}")) for role in ROLES}
    return Adopted(
        cluster=text(folder.value("cluster_name")),
        domain=domain,
        endpoint=endpoint,
        network=nested(folder.value("network")),
        proxmox=nested(folder.value("proxmox")),
        proxmox_cluster=text(folder.value("proxmox_cluster")),
        datastore=text(folder.value("proxmox_datastore")),
        image=image,
        talos=_version(versions.get("talos")),
        talos_target=_version(image.get("update_version")),
        kubernetes=_version(versions.get("kubernetes")),
        kubernetes_target=_version(nested(folder.value("kubernetes_image")).get("update_version")),
        nodes=_nodes(nodes, defaults, "upgrade"),
        declared=folder.declared.get("nodes_config", frozenset()),
        own_cni="cilium" in nested(folder.modules.get("talos")),
        folder=folder,
    )


def _from_module(folder: TofuFolder, module: TofuObject, nodes: TofuObject) -> Adopted:
    cluster, image = nested(module.get("cluster")), nested(module.get("image"))
    return Adopted(
        cluster=text(cluster.get("name")),
        domain=None,
        endpoint=text(cluster.get("endpoint")),
        network={key: cluster[key] for key in ("gateway", "vip") if key in cluster},
        proxmox=nested(folder.value("proxmox")),
        proxmox_cluster=text(cluster.get("proxmox_cluster")),
        datastore=None,
        image=image,
        talos=_version(cluster.get("talos_version")) or _version(image.get("version")),
        talos_target=_version(image.get("update_version")),
        kubernetes=_version(cluster.get("kubernetes_version")),
        kubernetes_target=None,
        nodes=_nodes(nodes, {}, "update"),
        declared=folder.declared.get("nodes", frozenset()),
        own_cni="cilium" in module,
        folder=folder,
    )


def _nodes(nodes: TofuObject, defaults: dict[str, TofuObject], flag: str) -> tuple[TofuNode, ...]:
    return tuple(
        TofuNode(name, role, written, defaults.get(role, {}), flag)
        for name, written in ((name, nested(node)) for name, node in nodes.items())
        for role in [text(written.get("machine_type")) or ""]
    )


def _version(value: TofuValue) -> str | None:
    said = text(value)
    return said if said is None or said.startswith("v") else f"v{said}"
