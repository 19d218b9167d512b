"""Bodies to send, and how to read what came back. Nothing here asks a server but `bound_pod`."""

from typing import Any

from tests.conformance.kubernetes_peers import Document, Plane


def config_map(name: str, **data: str) -> Document:
    return {"metadata": {"name": name}, "data": data}


def typed_map(name: str, **data: str) -> Document:
    return {"apiVersion": "v1", "kind": "ConfigMap", **config_map(name, **data)}


def deployment(name: str, **spec: Any) -> Document:
    containers = [{"name": "web", "image": "nginx:1", "ports": [{"containerPort": 80}]}]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": template,
            **spec,
        },
    }


def pod(name: str, **labels: str) -> Document:
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "containers": [{"name": "c", "image": "nginx:1"}],
    }
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def owned(doc: Document, manager: str, operation: str = "Apply") -> Document:
    entries = doc["metadata"]["managedFields"]
    return next(
        e["fieldsV1"] for e in entries if (e["manager"], e["operation"]) == (manager, operation)
    )


def bound_pod(plane: Plane, space: str, name: str, **labels: str) -> str:
    """A pod that a node of the test's own runs; returns its path."""
    path = f"/api/v1/namespaces/{space}/pods"
    doc = pod(name, **labels)
    doc["spec"]["nodeName"] = f"node-{space}"
    node = {"metadata": {"name": doc["spec"]["nodeName"]}}
    plane.post("/api/v1/nodes", node)
    plane.post(path, doc).ok()
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    plane.merge(f"{path}/{name}/status", {"status": ready}).ok()
    return f"{path}/{name}"


def cause(reason: str, message: str, field: str) -> Document:
    return {"reason": reason, "message": message, "field": field}
