"""Workloads to make in a lab's cluster, and what their pods say."""

from typing import Any

from tests.lab.gitops_fixture import GitOpsLab
from windlass.lab.controllers.access import Resource
from windlass.lab.controllers.objects import (
    dig,
    items,
    pod_is_ready,
)
from windlass.lab.controllers.resources import (
    DEPLOYMENTS,
    PODS,
)

IMAGE = "docker.io/traefik/whoami:v1.11.0"


def workload(resource: Resource, name: str, *, image: str = IMAGE, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"containers": [{"name": "main", "image": image}], **spec.pop("pod", {})}
    return {
        "apiVersion": resource.group_version,
        "kind": resource.kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **spec,
        },
    }


def make(lab: GitOpsLab, resource: Resource, body: dict[str, Any]) -> None:
    lab.do(lab.client.create(resource, body))


def pods_of(lab: GitOpsLab, name: str) -> list[dict[str, Any]]:
    return lab.do(lab.client.list(PODS, "default", labelSelector=f"app={name}"))


def ready(lab: GitOpsLab, name: str) -> int:
    return sum(pod_is_ready(pod) for pod in pods_of(lab, name))


def waiting_reasons(lab: GitOpsLab, name: str) -> set[str]:
    return {
        dig(one, "state", "waiting", "reason", default="")
        for pod in pods_of(lab, name)
        for one in items(pod, "status", "containerStatuses")
    }


def waiting_messages(lab: GitOpsLab, name: str) -> set[str]:
    return {
        dig(one, "state", "waiting", "message", default="")
        for pod in pods_of(lab, name)
        for one in items(pod, "status", "containerStatuses")
    }


def with_environment(name: str, container: dict[str, Any]) -> dict[str, Any]:
    pod = {"containers": [{"name": "main", "image": IMAGE, **container}]}
    return workload(DEPLOYMENTS, name, replicas=1, pod=pod)


def keyed(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"env": [{"name": "X", "valueFrom": {kind: {"name": name, "key": "x", **more}}}]}
