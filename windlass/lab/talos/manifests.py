"""What Talos itself puts into a new cluster: DNS, the service proxy, its own network if asked for, bootstrap RBAC.

Facts about names and labels that clients look for; everything else is as small as the lab's controllers allow.
"""

from typing import Any

from windlass.lab.talos.configuration import MachineConfig, minor
from windlass.lab.talos.trees import text

Object = dict[str, Any]
SYSTEM = "kube-system"
DEFAULT_KUBERNETES = {(1, 11): "v1.34.1", (1, 12): "v1.35.4", (1, 13): "v1.36.3"}
COREDNS = "registry.k8s.io/coredns/coredns:v1.14.2"
FLANNEL = "ghcr.io/siderolabs/flannel:v0.28.1"
# Labels and the key of the image in the machine config.
STATIC = {
    "kube-apiserver": "apiServer",
    "kube-controller-manager": "controllerManager",
    "kube-scheduler": "scheduler",
}
_EVERYWHERE: list[Object] = [{"operator": "Exists"}]


def kubernetes_version(config: MachineConfig, talos: str, component: str = "apiServer") -> str:
    """The version of a component: its image's tag, or this Talos' default."""
    tag = config.image(component).rpartition(":")[2].partition("@")[0]
    return tag if tag.startswith("v") else DEFAULT_KUBERNETES.get(minor(talos), "v1.34.4")


def image(config: MachineConfig, talos: str, component: str, name: str) -> str:
    return (
        config.image(component)
        or f"registry.k8s.io/{name}:{kubernetes_version(config, talos, component)}"
    )


def static_pods(config: MachineConfig, talos: str) -> tuple[Object, ...]:
    """The control plane's own pods; the kubelet adds the node's name to theirs."""
    return tuple(
        {
            "metadata": {
                "name": name,
                "namespace": SYSTEM,
                "labels": {"k8s-app": name, "tier": "control-plane", "component": name},
                "annotations": {"talos.dev/config-version": "1"},
            },
            "spec": {
                "hostNetwork": True,
                "priorityClassName": "system-cluster-critical",
                "containers": [
                    {
                        "name": name,
                        "image": image(config, talos, component, name),
                        "command": [f"/usr/local/bin/{name}"],
                    }
                ],
            },
        }
        for name, component in STATIC.items()
    )


def bootstrap_manifests(config: MachineConfig, talos: str) -> list[Object]:
    """In the order in which they are applied."""
    found = _rbac()
    if config.runs_proxy:
        found.append(_daemon_set("kube-proxy", image(config, talos, "proxy", "kube-proxy")))
    if config.cni == "flannel":
        found.append(_daemon_set("flannel", FLANNEL, "kube-flannel"))
    if config.runs_coredns:
        found += _coredns(config)
    return found


def _rbac() -> list[Object]:
    names = {
        "system-bootstrap-approve-node-client-csr": "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        "system-bootstrap-node-bootstrapper": "system:node-bootstrapper",
        "system-bootstrap-node-renewal": "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
    }
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": role,
            },
            "subjects": [
                {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "Group",
                    "name": "system:bootstrappers:nodes",
                }
            ],
        }
        for name, role in names.items()
    ]


def _daemon_set(name: str, image_: str, label: str = "") -> Object:
    labels = {"k8s-app": label or name, "tier": "node"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": label or name, "namespace": SYSTEM, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "hostNetwork": True,
                    "priorityClassName": "system-node-critical",
                    "tolerations": _EVERYWHERE,
                    "containers": [{"name": name, "image": image_}],
                },
            },
        },
    }


def _coredns(config: MachineConfig) -> list[Object]:
    labels = {"k8s-app": "kube-dns"}
    tolerations: list[Object] = [
        {
            "key": "node-role.kubernetes.io/control-plane",
            "operator": "Exists",
            "effect": "NoSchedule",
        },
        {
            "key": "node.cloudprovider.kubernetes.io/uninitialized",
            "operator": "Exists",
            "effect": "NoSchedule",
        },
    ]
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "priorityClassName": "system-cluster-critical",
            "serviceAccountName": "coredns",
            "tolerations": tolerations,
            "containers": [
                {
                    "name": "coredns",
                    "image": text(config.cluster, "coreDNS", "image") or COREDNS,
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "70Mi"},
                        "limits": {"memory": "170Mi"},
                    },
                }
            ],
        },
    }
    dns = {
        "name": "kube-dns",
        "namespace": SYSTEM,
        "labels": labels | {"kubernetes.io/name": "CoreDNS"},
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "coredns", "namespace": SYSTEM},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "coredns", "namespace": SYSTEM, "labels": labels},
            "spec": {
                "replicas": 2,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
                "selector": {"matchLabels": labels},
                "template": template,
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": dns,
            "spec": {
                "selector": labels,
                "clusterIP": config.dns_service_address,
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                    {"name": "metrics", "port": 9153, "protocol": "TCP"},
                ],
            },
        },
    ]
