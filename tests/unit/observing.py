"""Sites and what was observed of them, for tests of decisions: invented names, one call each."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address

from windlass.models.observed import (
    ManifestRef,
    ObservedCluster,
    ObservedGit,
    ObservedHost,
    ObservedImage,
    ObservedMachine,
    ObservedProxmox,
    ObservedSite,
    ObservedStorage,
    ObservedVm,
)
from windlass.models.plan import Forecast
from windlass.models.site import Site
from windlass.plans.preflight import NEEDED_PRIVILEGES

GIB = 1024**3


def site_of(control_planes: int = 3, workers: int = 2, **changes: object) -> Site:
    """An invented site: hosts h1..h3 by turns, 192.0.2.0/24."""
    nodes = [
        {
            "name": f"cp-{i}",
            "role": "controlplane",
            "host": f"h{i % 3 + 1}",
            "address": f"192.0.2.{10 + i}",
            "vmid": 700 + i,
            "mac": f"bc:24:11:00:01:{i:02x}",
            "cpu": 4,
            "memory": 4096,
        }
        for i in range(control_planes)
    ] + [
        {
            "name": f"w-{i}",
            "role": "worker",
            "host": f"h{i % 3 + 1}",
            "address": f"192.0.2.{100 + i}",
            "vmid": 800 + i,
            "mac": f"bc:24:11:00:02:{i:02x}",
            "cpu": 8,
            "memory": 8192,
        }
        for i in range(workers)
    ]
    body: dict[str, object] = {
        "name": "harbour",
        "cluster": {
            "name": "harbour",
            "endpoint": "api.harbour.example.org",
            "network": "192.0.2.0/24",
            "gateway": "192.0.2.1",
            "nameservers": ["192.0.2.2"],
            "vip": "192.0.2.5",
            "talos": "v1.13.9",
            "kubernetes": "v1.34.4",
            "secrets": "file:secrets.yaml",
        },
        "proxmox": {
            "endpoints": ["https://h1.example.org:8006"],
            "token_id": "windlass@pve!windlass",
            "token_secret": "env:PROXMOX_TOKEN",
            "ca_file": "ca.pem",
            "storage": "tank",
            "image_storage": "local",
        },
        "nodes": nodes,
        "gitops": {
            "repo": "https://git.example.org/harbour/cluster.git",
            "argocd": "argocd",
            "layers": [
                {"name": "core", "apply": ["sets/core"], "apps": ["network", "storage"]},
                {"name": "apps", "apply": ["sets/apps"], "apps": ["wiki"]},
            ],
        },
    }
    return Site.model_validate(body | changes)


def ref(kind: str, name: str, namespace: str = "argocd") -> ManifestRef:
    return ManifestRef("v1", kind, namespace, name, f"{name:0<64}")


def observed_of(site: Site) -> ObservedSite:
    """The site before anything was made: Proxmox is well, no VM, no machine, no cluster."""
    return ObservedSite(
        proxmox=ObservedProxmox(
            version="9.1.3",
            quorate=True,
            hosts={name: host_of(name) for name in sorted({n.host for n in site.nodes})},
            vms=(),
            permissions={
                "/": frozenset(
                    (*NEEDED_PRIVILEGES, "Mapping.Use", "Mapping.Audit", "Pool.Allocate")
                )
            },
            mappings={},
        ),
        machines={n.name: ObservedMachine(n.name, "silent") for n in site.nodes},
        image=ObservedImage(reachable=True, size=100 * 1024**2),
        image_name="talos.iso",
        image_url="https://factory.example.org/image/talos.iso",
        schematic="5" * 64,
        cluster=ObservedCluster(),
        git=ObservedGit(
            "c0ffee" * 6 + "c0ff",
            {
                "argocd": (ref("Namespace", "argocd", ""), ref("Deployment", "argocd-server")),
                "sets/core": (ref("ApplicationSet", "core"),),
                "sets/apps": (ref("ApplicationSet", "apps"),),
            },
            {},
        ),
        endpoint_addresses=frozenset({IPv4Address("192.0.2.5")}),
        has_secrets=False,
        has_kubeconfig=False,
        has_talosconfig=False,
    )


def host_of(name: str, memory: int = 65536) -> ObservedHost:
    storages = {
        "tank": ObservedStorage(
            "tank", frozenset({"images"}), 2000 * GIB, active=True, shared=False
        ),
        "local": ObservedStorage("local", frozenset({"iso"}), 50 * GIB, active=True, shared=False),
    }
    return ObservedHost(
        name, True, 16, memory, memory, frozenset({"vmbr0"}), storages, timedelta(0), frozenset()
    )


def own_vm(site: Site, name: str, *, running: bool = True) -> ObservedVm:
    node = site.node(name)
    return ObservedVm(
        node.vmid,
        node.name,
        node.host,
        running,
        frozenset({site.tag}),
        frozenset({node.mac}),
        node.memory,
        frozenset(),
    )


def booted(site: Site, observed: ObservedSite) -> ObservedSite:
    """The site after a whole bootstrap."""
    return replace(
        observed,
        proxmox=replace(observed.proxmox, vms=tuple(own_vm(site, n.name) for n in site.nodes)),
        machines={
            n.name: ObservedMachine(
                n.name, "configured", site.cluster.talos, n.role == "controlplane"
            )
            for n in site.nodes
        },
        cluster=ObservedCluster(
            ready_nodes=frozenset(n.name for n in site.nodes),
            applications={"network": True, "storage": True, "wiki": True},
            roots=frozenset({site.gitops.argocd} if site.gitops else ()),
        ),
        has_secrets=True,
        has_kubeconfig=True,
        has_talosconfig=True,
    )


def in_no_time(_action: str) -> Forecast:
    return Forecast(timedelta(seconds=1))
