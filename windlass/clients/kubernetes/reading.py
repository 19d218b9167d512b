"""From the API's JSON to answers. Pure; names and texts from the server are only data here."""

from datetime import datetime
from typing import Any, cast

from windlass.models.kubernetes import (
    ApplicationState,
    Condition,
    NodeState,
    PodState,
    Taint,
    WorkloadState,
)
from windlass.models.plan import JsonObject

MIRROR = "kubernetes.io/config.mirror"


def at(document: Any, path: str, default: Any = None) -> Any:
    """Return what stands at a dotted path; `default` where a part is missing or null."""
    for key in path.split("."):
        if not isinstance(document, dict):
            return default
        document = cast(dict[str, Any], document).get(key)
    return default if document is None else document


def node_state(node: JsonObject) -> NodeState:
    ready = _condition(node, "Ready")
    return NodeState(
        name=at(node, "metadata.name", ""),
        uid=at(node, "metadata.uid", ""),
        ready=ready.get("status") == "True",
        ready_since=ready.get("lastTransitionTime", ""),
        reason=_reason(ready) if ready.get("status") != "True" else "",
        addresses=tuple(
            a["address"] for a in at(node, "status.addresses", []) if a["type"] == "InternalIP"
        ),
        unschedulable=at(node, "spec.unschedulable", False),
        kubelet_version=at(node, "status.nodeInfo.kubeletVersion", ""),
        boot_id=at(node, "status.nodeInfo.bootID", ""),
        labels=at(node, "metadata.labels", {}),
        taints=tuple(
            Taint(taint["key"], taint.get("value") or "", taint["effect"])
            for taint in at(node, "spec.taints", [])
        ),
    )


def pod_state(pod: JsonObject) -> PodState:
    containers: list[dict[str, Any]] = [
        *at(pod, "status.initContainerStatuses", []),
        *at(pod, "status.containerStatuses", []),
    ]
    ready = _condition(pod, "Ready")
    owner = next((o for o in at(pod, "metadata.ownerReferences", []) if o.get("controller")), None)
    return PodState(
        namespace=at(pod, "metadata.namespace", ""),
        name=at(pod, "metadata.name", ""),
        node=at(pod, "spec.nodeName", ""),
        phase=at(pod, "status.phase", "Unknown"),
        ready=ready.get("status") == "True",
        reason="" if ready.get("status") == "True" else _pod_reason(pod, containers),
        restarts=sum(container.get("restartCount", 0) for container in containers),
        owner=f"{owner['kind']}/{owner['name']}" if owner else "",
        mirror=MIRROR in at(pod, "metadata.annotations", {}),
        labels=at(pod, "metadata.labels", {}),
        deleted=at(pod, "metadata.deletionTimestamp") is not None,
    )


def workload_state(kind: str, workload: JsonObject) -> WorkloadState:
    """Read a Deployment, StatefulSet or DaemonSet; each counts in its own words."""
    if kind == "DaemonSet":
        desired = at(workload, "status.desiredNumberScheduled", 0)
        ready = at(workload, "status.numberReady", 0)
        updated = at(workload, "status.updatedNumberScheduled", 0)
    else:
        desired = at(workload, "spec.replicas", 1)
        ready = at(workload, "status.readyReplicas", 0)
        updated = at(workload, "status.updatedReplicas", 0)
    seen = at(workload, "status.observedGeneration", -1)
    return WorkloadState(
        kind=kind,
        namespace=at(workload, "metadata.namespace", ""),
        name=at(workload, "metadata.name", ""),
        desired=desired,
        ready=ready,
        updated=updated,
        current=seen >= at(workload, "metadata.generation", 0),
    )


def application_state(app: JsonObject) -> ApplicationState:
    reconciled = at(app, "status.reconciledAt")
    return ApplicationState(
        name=at(app, "metadata.name", ""),
        namespace=at(app, "metadata.namespace", ""),
        sync=at(app, "status.sync.status", ""),
        health=at(app, "status.health.status", ""),
        health_message=at(app, "status.health.message", ""),
        revision=at(app, "status.sync.revision", ""),
        operation_phase=at(app, "status.operationState.phase", ""),
        operation_revision=at(app, "status.operationState.syncResult.revision", ""),
        message=at(app, "status.operationState.message", ""),
        conditions=tuple(
            Condition(condition.get("type", ""), condition.get("message", ""))
            for condition in at(app, "status.conditions", [])
        ),
        automated=at(app, "spec.syncPolicy.automated") is not None,
        reconciled=datetime.fromisoformat(reconciled) if reconciled else None,
    )


def _condition(document: JsonObject, kind: str) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = at(document, "status.conditions", [])
    none: dict[str, Any] = {}
    return next((one for one in conditions if one.get("type") == kind), none)


def _reason(condition: dict[str, Any]) -> str:
    if not condition:
        return "has not reported yet"
    return ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))


def _pod_reason(pod: JsonObject, containers: list[dict[str, Any]]) -> str:
    """Say why a pod is not ready: its containers know best, then its conditions, then its phase."""
    for container in containers:
        for state in ("waiting", "terminated"):
            said = at(container, f"state.{state}", {})
            if said and said.get("reason") != "Completed":
                return f"{container.get('name')}: {_reason(said)}"
    for kind in ("PodScheduled", "Ready"):
        condition = _condition(pod, kind)
        if condition.get("status") == "False":
            return _reason(condition)
    return at(pod, "status.reason", at(pod, "status.phase", "has not reported yet"))
