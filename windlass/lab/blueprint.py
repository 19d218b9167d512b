"""What a lab is made like: the default site, or the site of a file somebody has. Plain data, no servers.

The default is the cluster of the public document that the flows come from: 10.25.150.0/24, api.kube.pc-tips.se, three
control planes with 4 CPU and 2480 MB, here with three workers, one of them with a GPU and a second disk.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import yaml

from windlass.lab.world import Network

Document = dict[str, Any]

# Real machines answer within these; a fast lab answers faster, but Python does not: nothing goes below the floor.
PATIENCE_S = {
    "call": (60, 4), "probe": (10, 4), "download": (900, 30), "vm": (600, 30), "boot": (600, 60),
    "install": (900, 90), "etcd": (600, 60), "ready": (900, 120), "rollout": (1800, 240), "settle": (10, 0.2),
}  # fmt: skip


@dataclass(frozen=True)
class LabHost:
    """One Proxmox host to simulate. Memory in MiB; `mappings` are PCI mappings with a device here."""

    name: str
    memory: int = 64 * 1024
    cpus: int = 16
    mappings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Blueprint:
    """A lab before it runs: the site document without what only a running lab knows, and the hosts under it."""

    site: Document
    hosts: tuple[LabHost, ...]
    # Storages that every host has beside the default ones.
    storages: tuple[str, ...] = ()
    repository: Path | None = None
    urls: tuple[str, ...] = field(default=())

    @property
    def network(self) -> IPv4Network:
        return IPv4Network(self.site["cluster"]["network"])


def default_blueprint(layers: list[Document], argocd: str, cni: str) -> Blueprint:
    """The lab's own site; what its repository looks like is the repository's to say."""
    nodes = [
        _node("ctrl-00", "controlplane", 11, 8101, "pve1"),
        _node("ctrl-01", "controlplane", 12, 8102, "pve2"),
        _node("ctrl-02", "controlplane", 13, 8103, "pve3"),
        _node("work-00", "worker", 21, 8201, "pve1"),
        _node("work-01", "worker", 22, 8202, "pve2"),
        _node("work-02", "worker", 23, 8203, "pve3")
        | {
            "gpus": ["gpu"],
            "data_disks": [{"size": 100, "mount": "models"}],
            "labels": {"windlass.dev/gpu": "true"},
        },
    ]
    site: Document = {
        "name": "lab",
        "lab": True,
        "cluster": {
            "name": "kube",
            "endpoint": "api.kube.pc-tips.se",
            "network": "10.25.150.0/24",
            "gateway": "10.25.150.1",
            "nameservers": ["10.25.150.1"],
            "vip": "10.25.150.10",
            "talos": "v1.13.9",
            "kubernetes": "v1.34.4",
            "schematic": {"extensions": ["siderolabs/qemu-guest-agent"]},
            "cni": "none",
            "secrets": "file:secrets.yaml",
        },
        "proxmox": {
            "storage": "local-lvm",
            "image_storage": "local",
            "bridge": "vmbr0",
            "vlan": 150,
        },
        "nodes": nodes,
        "gitops": {"revision": "main", "cni": cni, "argocd": argocd, "layers": layers},
        "acceptance": {"storage_class": "proxmox"},
    }
    hosts = (LabHost("pve1"), LabHost("pve2"), LabHost("pve3", mappings=("gpu",)))
    return Blueprint(site, hosts)


def _node(name: str, role: str, octet: int, vmid: int, host: str) -> Document:
    plane = role == "controlplane"
    return {
        "name": name,
        "role": role,
        "host": host,
        "address": f"10.25.150.{octet}",
        "vmid": vmid,
        "mac": f"bc:24:11:25:00:{octet:02x}",
        "cpu": 4,
        "memory": 2480 if plane else 4096,
        "disk": 20 if plane else 40,
    }


def blueprint_of(
    site_file: Path, *, host_memory: int, repository: Path | None, urls: tuple[str, ...]
) -> Blueprint:
    """A lab like a site that somebody has: the same nodes and hosts, `host_memory` MiB in each host."""
    site: Document = yaml.safe_load(site_file.read_text())
    nodes: list[Document] = site["nodes"]
    names = sorted({node["host"] for node in nodes})
    hosts = tuple(
        LabHost(
            name,
            memory=host_memory,
            cpus=64,
            mappings=tuple({g for n in nodes if n["host"] == name for g in n.get("gpus", [])}),
        )
        for name in names
    )
    storages = {site["proxmox"]["storage"], site["proxmox"]["image_storage"]}
    storages |= {node["storage"] for node in nodes if node.get("storage")}
    return Blueprint(site | {"lab": True}, hosts, tuple(sorted(storages)), repository, urls)


def reached_site(blueprint: Blueprint, network: Network, speed: float, repo: str) -> Document:
    """The site document as a running lab writes it: reached on loopback, as patient as the lab is fast."""
    site = dict(blueprint.site)
    cluster = dict(site["cluster"])
    cluster["image"] = dict(cluster.get("image", {})) | {
        "factory": "https://factory.talos.dev",
        "ca_file": "pki/ca.pem",
    }
    port = cluster.get("port", 6443)
    first = f"{network.of(cluster.get('vip') or site['nodes'][0]['address'])}"
    reach = {f"{cluster['endpoint']}:{port}": f"{first}:{port}"}
    for node in site["nodes"]:
        reach[node["address"]] = str(network.of(node["address"]))
    reach["factory.talos.dev:443"] = f"{network.service(1)}:8443"
    for number, host in enumerate(blueprint.hosts, start=1):
        reach[f"{host.name}.lab:8006"] = f"{network.host(number)}:8006"
    for server in cluster["nameservers"]:
        reach[f"{server}:53"] = f"{network.service(2)}:5353"
    proxmox = dict(site.get("proxmox", {})) | {
        "endpoints": [f"https://{host.name}.lab:8006" for host in blueprint.hosts],
        "token_id": "windlass@pve!windlass",
        "token_secret": "file:credentials/proxmox-token",
        "ca_file": "pki/ca.pem",
    }
    proxmox.pop("fingerprints", None)
    gitops = dict(site["gitops"]) | {"repo": repo} if site.get("gitops") else None
    return site | {
        "cluster": cluster,
        "proxmox": proxmox,
        **({"gitops": gitops} if gitops else {}),
        "pace": pace_of(speed),
        "reach": reach,
        "outputs": {"talosconfig": "talosconfig", "kubeconfig": "kubeconfig"},
    }


def pace_of(speed: float) -> Document:
    """Deadlines and poll intervals for a lab that runs `speed` times as fast as real machines."""
    pace: Document = {
        name: _iso(max(real / speed, floor)) for name, (real, floor) in PATIENCE_S.items()
    }
    return pace | {
        "first": _iso(max(0.5 / speed, 0.1)),
        "longest": _iso(max(5 / speed, 0.5)),
        "speed": speed,
    }


def _iso(seconds: float) -> str:
    return f"PT{timedelta(seconds=seconds).total_seconds():g}S"
