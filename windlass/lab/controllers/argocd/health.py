"""Argo CD's health of resources and Applications, as its built-in checks judge it."""

from collections.abc import Callable, Iterable

from windlass.lab.controllers.objects import Object, condition, condition_holds, dig, items

HEALTHY, PROGRESSING, DEGRADED = "Healthy", "Progressing", "Degraded"
SUSPENDED, MISSING, UNKNOWN = "Suspended", "Missing", "Unknown"
# From best to worst: an Application is as healthy as the worst of its resources.
ORDER = (HEALTHY, SUSPENDED, PROGRESSING, MISSING, DEGRADED, UNKNOWN)

Health = tuple[str, str]
FINE: Health = (HEALTHY, "")


def worst(states: Iterable[str]) -> str:
    return max(states, key=ORDER.index, default=HEALTHY)


def health_of(group: str, live: Object) -> Health | None:
    """Status and message; None for a kind that has no health."""
    if "deletionTimestamp" in live["metadata"]:
        return PROGRESSING, "Pending deletion"
    check = _CHECKS.get((group, live["kind"]))
    return None if check is None else check(live)


def _observed(live: Object) -> bool:
    seen = dig(live, "status", "observedGeneration", default=0)
    return seen >= live["metadata"].get("generation", 0)


def _deployment(live: Object) -> Health:
    if dig(live, "spec", "paused", default=False):
        return SUSPENDED, "Deployment is paused"
    if not _observed(live):
        said = "Waiting for rollout to finish: observed deployment generation less than desired"
        return PROGRESSING, said
    progress = condition(live, "Progressing")
    if progress is not None and progress.get("reason") == "ProgressDeadlineExceeded":
        return DEGRADED, f'Deployment "{live["metadata"]["name"]}" exceeded its progress deadline'
    return _rolled_out(live)


def _rolled_out(live: Object) -> Health:
    wanted = dig(live, "spec", "replicas", default=1)
    updated = dig(live, "status", "updatedReplicas", default=0)
    available = dig(live, "status", "availableReplicas", default=0)
    old = dig(live, "status", "replicas", default=0) - updated
    if updated < wanted:
        return PROGRESSING, _waits(f"{updated} out of {wanted} new replicas have been updated")
    if old > 0:
        return PROGRESSING, _waits(f"{old} old replicas are pending termination")
    if available < updated:
        said = f"{available} of {updated} updated replicas are available"
        return PROGRESSING, _waits(said)
    return FINE


def _waits(what: str) -> str:
    return f"Waiting for rollout to finish: {what}..."


def _stateful_set(live: Object) -> Health:
    wanted = dig(live, "spec", "replicas", default=1)
    ready = dig(live, "status", "readyReplicas", default=0)
    if not _observed(live):
        said = "Waiting for statefulset spec update to be observed..."
        return PROGRESSING, said
    if ready < wanted:
        return PROGRESSING, f"Waiting for {wanted - ready} pods to be ready..."
    if dig(live, "status", "updateRevision") != dig(live, "status", "currentRevision"):
        return PROGRESSING, "waiting for statefulset rolling update to complete..."
    return FINE


def _daemon_set(live: Object) -> Health:
    wanted = dig(live, "status", "desiredNumberScheduled", default=0)
    updated = dig(live, "status", "updatedNumberScheduled", default=0)
    available = dig(live, "status", "numberAvailable", default=0)
    name = live["metadata"]["name"]
    if not _observed(live):
        return PROGRESSING, "Waiting for rollout to finish: observed generation less than desired"
    if updated < wanted:
        said = f"{updated} out of {wanted} new pods have been updated"
        return PROGRESSING, f'Waiting for daemon set "{name}" rollout to finish: {said}...'
    if available < wanted:
        said = f"{available} of {wanted} updated pods are available"
        return PROGRESSING, f'Waiting for daemon set "{name}" rollout to finish: {said}...'
    return FINE


def _replica_set(live: Object) -> Health:
    wanted = dig(live, "spec", "replicas", default=1)
    available = dig(live, "status", "availableReplicas", default=0)
    if not _observed(live) or available < wanted:
        return PROGRESSING, _waits(f"{available} out of {wanted} new replicas are available")
    return FINE


def _claim(live: Object) -> Health:
    phase = dig(live, "status", "phase", default="Pending")
    return {"Bound": HEALTHY, "Lost": DEGRADED, "Pending": PROGRESSING}.get(phase, UNKNOWN), ""


def _job(live: Object) -> Health:
    failed = condition(live, "Failed")
    if failed is not None and failed["status"] == "True":
        return DEGRADED, failed.get("message", "")
    if condition_holds(live, "Complete"):
        return FINE
    if dig(live, "spec", "suspend", default=False):
        return SUSPENDED, "Job is suspended"
    return PROGRESSING, ""


def _pod(live: Object) -> Health:
    phase = dig(live, "status", "phase", default="Pending")
    if phase == "Succeeded":
        return FINE
    if phase == "Failed":
        return DEGRADED, dig(live, "status", "message", default="")
    for status in items(live, "status", "containerStatuses"):
        reason = dig(status, "state", "waiting", "reason", default="")
        if reason.startswith("Err") or reason.endswith(("Error", "BackOff")):
            return DEGRADED, dig(status, "state", "waiting", "message", default="")
    return (HEALTHY if condition_holds(live, "Ready") else PROGRESSING), ""


def _service(live: Object) -> Health:
    waits = dig(live, "spec", "type") == "LoadBalancer" and not items(
        live, "status", "loadBalancer", "ingress"
    )
    return (PROGRESSING if waits else HEALTHY), ""


def _definition(live: Object) -> Health:
    names = condition(live, "NamesAccepted")
    if names is not None and names["status"] == "False":
        return DEGRADED, names.get("message", "")
    return (HEALTHY if condition_holds(live, "Established") else PROGRESSING), ""


def _application_set(live: Object) -> Health:
    error = condition(live, "ErrorOccurred")
    if error is not None and error["status"] == "True":
        return DEGRADED, error.get("message", "")
    return (HEALTHY if condition_holds(live, "ResourcesUpToDate") else PROGRESSING), ""


_CHECKS: dict[tuple[str, str], Callable[[Object], Health]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("", "PersistentVolumeClaim"): _claim,
    ("batch", "Job"): _job,
    ("", "Pod"): _pod,
    ("", "Service"): _service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("argoproj.io", "ApplicationSet"): _application_set,
}
