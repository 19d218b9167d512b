"""Objects that stories about Argo CD are made of, and how a lab's Application is told to be well."""

from typing import Any

from tests.lab.gitops_fixture import URL, GitOpsLab
from windlass.lab.controllers.objects import Object, items

HEAL: dict[str, Any] = {"selfHeal": True, "prune": True}


def settings(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def web(replicas: int = 1) -> dict[str, Any]:
    labels = {"app": "web"}
    pod = {"containers": [{"name": "main", "image": "docker.io/traefik/whoami:v1.11.0"}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def is_well(lab: GitOpsLab, name: str, commit: str) -> bool:
    return (
        lab.says(name, "sync", "status") == "Synced"
        and lab.says(name, "sync", "revision") == commit
        and lab.says(name, "health", "status") == "Healthy"
        and lab.says(name, "operationState", "phase") == "Succeeded"
    )


def application(name: str, **spec: Any) -> Object:
    """An Application of the folder `name`, to a namespace of that name; `spec` adds and replaces."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": {
            "project": "default",
            "source": {"repoURL": URL, "targetRevision": "main", "path": name},
            "destination": {"name": "in-cluster", "namespace": name},
            **spec,
        },
    }


def application_set(name: str, **spec: Any) -> Object:
    """A set of one Application a folder below `name`, which it is named after; `spec` adds and replaces."""
    git = {"repoURL": URL, "revision": "main", "directories": [{"path": f"{name}/*"}]}
    template = application(f"{name}-{{{{path.basename}}}}")["spec"]
    template["source"]["path"] = "{{path}}"
    template["destination"]["namespace"] = name
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": {
            "generators": [{"git": git}],
            "template": {"metadata": {"name": f"{name}-{{{{path.basename}}}}"}, "spec": template},
            **spec,
        },
    }


def conditions_of(lab: GitOpsLab, name: str) -> dict[str, str]:
    """The messages of an Application's conditions by their type."""
    return {one["type"]: one["message"] for one in items(lab.app(name), "status", "conditions")}
