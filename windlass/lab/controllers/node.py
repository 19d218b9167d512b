"""What a kubelet says about its machine: pure, from identity and what the API knows."""

from dataclasses import dataclass
from datetime import datetime

from windlass.lab.clock import Clock
from windlass.lab.controllers.objects import (
    Object,
    condition,
    dig,
    items,
    table,
    timestamp,
    with_condition,
)

_NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
_NO_NETWORK = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:Network plugin returns error: cni plugin not initialized"
)


@dataclass(frozen=True)
class NodeIdentity:
    """What a kubelet says about its machine. `memory` in MiB, `disk` in GiB.

    `static_pods` are Pod manifests that this node runs without being asked. A new `boot_id` means
    that the machine was restarted: its containers start again.
    """

    name: str
    addresses: tuple[str, ...]
    kubelet_version: str
    os_image: str
    boot_id: str
    machine_id: str
    system_uuid: str
    cpu: int
    memory: int
    disk: int = 40
    kernel_version: str = "6.18.2-talos"
    runtime: str = "containerd://2.1.5"
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[tuple[str, str, str], ...] = ()
    static_pods: tuple[Object, ...] = ()


def heartbeat_seconds(clock: Clock) -> float:
    """Lab seconds between heartbeats: the kubelet's 10 s, but no more than two a real second."""
    return max(10.0, clock.speed * 0.5)


def node_labels(identity: NodeIdentity) -> dict[str, str]:
    return {
        "kubernetes.io/hostname": identity.name,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        **dict(identity.labels),
    }


def node_document(identity: NodeIdentity) -> Object:
    """The Node as it is registered: with its taints, and not ready."""
    taints = [
        {"key": key, "value": value, "effect": effect} for key, value, effect in identity.taints
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": identity.name, "labels": node_labels(identity)},
        "spec": {"taints": [*taints, _NOT_READY]},
    }


def node_status(identity: NodeIdentity, known: Object, *, networked: bool, now: datetime) -> Object:
    """The status to publish over `known`; capacity that others added (devices) stays."""
    conditions = items(known, "status", "conditions")
    for entry in _conditions(networked=networked):
        beat = {**entry, "lastHeartbeatTime": timestamp(now)}
        conditions = with_condition(conditions, beat, now)
    capacity = {
        "cpu": str(identity.cpu),
        "memory": f"{identity.memory}Mi",
        "pods": "110",
        "ephemeral-storage": f"{identity.disk}Gi",
    }
    # Talos keeps this much for itself.
    free = {"cpu": f"{identity.cpu * 1000 - 50}m", "memory": f"{identity.memory - 300}Mi"}
    addresses = [{"type": "InternalIP", "address": one} for one in identity.addresses]
    return {
        "capacity": {**table(known, "status", "capacity"), **capacity},
        "allocatable": {**table(known, "status", "allocatable"), **capacity, **free},
        "addresses": [*addresses, {"type": "Hostname", "address": identity.name}],
        "conditions": conditions,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": _node_info(identity),
    }


def says_the_same(identity: NodeIdentity, known: Object, *, networked: bool) -> bool:
    """Whether what the API knows needs no correction; the node controller writes there too."""
    ready = condition(known, "Ready")
    return (
        ready is not None
        and ready["status"] == ("True" if networked else "False")
        and dig(known, "status", "nodeInfo") is not None
        and dig(known, "status", "nodeInfo", "bootID") == identity.boot_id
    )


def _node_info(identity: NodeIdentity) -> Object:
    return {
        "architecture": "amd64",
        "bootID": identity.boot_id,
        "containerRuntimeVersion": identity.runtime,
        "kernelVersion": identity.kernel_version,
        "kubeProxyVersion": "",
        "kubeletVersion": identity.kubelet_version,
        "machineID": identity.machine_id,
        "operatingSystem": "linux",
        "osImage": identity.os_image,
        "systemUUID": identity.system_uuid,
    }


def _conditions(*, networked: bool) -> list[Object]:
    fine = [
        {"type": f"{what}Pressure", "status": "False", "reason": f"Kubelet{has}", "message": said}
        for what, has, said in (
            ("Memory", "HasSufficientMemory", "kubelet has sufficient memory available"),
            ("Disk", "HasNoDiskPressure", "kubelet has no disk pressure"),
            ("PID", "HasSufficientPID", "kubelet has sufficient PID available"),
        )
    ]
    ready = {
        "type": "Ready",
        "status": "True" if networked else "False",
        "reason": "KubeletReady" if networked else "KubeletNotReady",
        "message": "kubelet is posting ready status" if networked else _NO_NETWORK,
    }
    return [*fine, ready]
