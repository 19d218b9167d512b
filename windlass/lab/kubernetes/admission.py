"""What the API server itself puts into objects of each kind, and what it refuses."""

from typing import Any

from windlass.lab.kubernetes.calls import Call, Target
from windlass.lab.kubernetes.cluster import Cluster
from windlass.lab.kubernetes.resources import Resource

Document = dict[str, Any]

# Kinds that may be born with a status.
_STATUS_AT_BIRTH = {"Node"}


def prepare_create(doc: Document, resource: Resource, cluster: Cluster, call: Call) -> None:
    if "status" in resource.subresources and resource.kind not in _STATUS_AT_BIRTH:
        doc.pop("status", None)
    if resource.kind == "Namespace":
        doc["spec"] = {"finalizers": ["kubernetes"]}
        doc["status"] = {"phase": "Active"}
        labels = doc["metadata"].setdefault("labels", {})
        labels["kubernetes.io/metadata.name"] = doc["metadata"]["name"]
    if resource.kind == "CustomResourceDefinition":
        establish(doc, call)


def establish(doc: Document, call: Call) -> None:
    now = call.timestamp
    doc["status"] = {
        "acceptedNames": doc["spec"]["names"],
        "conditions": [
            {"type": kind, "status": "True", "reason": reason, "message": message,
             "lastTransitionTime": now}
            for kind, reason, message in (
                ("NamesAccepted", "NoConflicts", "no conflicts found"),
                ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            )
        ],
        "storedVersions": [v["name"] for v in doc["spec"]["versions"] if v.get("storage")],
    }  # fmt: skip


def prepare_update(
    doc: Document, old: Document, target: Target, cluster: Cluster, call: Call
) -> None:
    if target.resource.kind == "Namespace" and target.subresource != "finalize":
        doc["spec"] = old["spec"]


def grace_seconds(doc: Document, options: Document) -> int:
    """How long somebody has to finish: only pods on a node have anybody to wait for."""
    if doc["kind"] != "Pod":
        return 0
    spec, phase = doc["spec"], (doc.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    if options.get("gracePeriodSeconds") is not None:
        return options["gracePeriodSeconds"]
    return spec.get("terminationGracePeriodSeconds", 30)


def is_held(doc: Document) -> bool:
    """A namespace waits for its content."""
    return doc["kind"] == "Namespace" and bool((doc.get("spec") or {}).get("finalizers"))


def mark_deleted(doc: Document) -> None:
    if doc["kind"] == "Namespace":
        doc["status"] = {**(doc.get("status") or {}), "phase": "Terminating"}
