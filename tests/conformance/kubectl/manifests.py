"""What kubectl is given, and the paths where a server keeps it."""

from typing import Any

from tests.conformance.kubernetes_peers import Plane


def config(name: str, **data: str) -> Any:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def web(**spec: Any) -> Any:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "nginx:1"}]},
    }
    selector = {"matchLabels": {"app": "web"}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": selector, "template": template, **spec},
    }  # fmt: skip


def pod(name: str, node: str, *containers: str) -> Any:
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "web",
        "uid": "1",
        "controller": True,
    }
    spec = {
        "containers": [{"name": one, "image": "nginx:1"} for one in containers or ("c",)],
        "nodeName": node, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
    }  # fmt: skip
    metadata = {"name": name, "labels": {"app": "web"}, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def node_of(space: str) -> str:
    """The name of the node that runs a namespace's pods."""
    return f"n-{space}"


def ready_pod(plane: Plane, space: str, name: str, *containers: str) -> str:
    """A Running pod on the space's node, as a kubelet would report it; returns its path."""
    path = f"/api/v1/namespaces/{space}/pods"
    plane.post("/api/v1/nodes", {"metadata": {"name": node_of(space)}})
    plane.post(path, pod(name, node_of(space), *containers)).ok()
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    plane.merge(f"{path}/{name}/status", {"status": status}).ok()
    return f"{path}/{name}"


def config_path(space: str, name: str) -> str:
    return f"/api/v1/namespaces/{space}/configmaps/{name}"


def web_path(space: str) -> str:
    return f"/apis/apps/v1/namespaces/{space}/deployments/web"
