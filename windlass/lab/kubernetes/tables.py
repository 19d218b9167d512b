"""Printer columns: what `kubectl get` shows of each kind."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from windlass.lab.kubernetes.cluster import Cluster
from windlass.lab.kubernetes.documents import Document, entries, is_object, section
from windlass.lab.kubernetes.jsonpath import first
from windlass.lab.kubernetes.resources import Resource

Cells = Callable[[Document, float], list[Any]]
Cell = Callable[[Document], Any]


def of(resource: Resource, cluster: Cluster) -> tuple[list[Document], Cells]:
    """Column definitions of a kind, and what fills a row from an object and the time (seconds)."""
    if resource.custom:
        return _custom(entries(cluster.custom.version(resource), "additionalPrinterColumns"))
    columns = _COLUMNS.get(resource.kind)
    if columns is None:
        return _table((("Age", "string", 0, _AGE),))
    return _table(columns)


Column = tuple[str, str, int, Cell]
# Stands for the object's age, the one cell that depends on the time.
_AGE: Cell = lambda doc: doc["metadata"].get("creationTimestamp")  # noqa: E731 (identity matters)


def _table(columns: Iterable[Column]) -> tuple[list[Document], Cells]:
    listed = tuple(columns)
    definitions = [_definition("Name", "string", 0, form="name")]
    definitions += [_definition(name, kind, priority) for name, kind, priority, _ in listed]

    def cells(doc: Document, now: float) -> list[Any]:
        row = [doc["metadata"]["name"]]
        for _, _, _, cell in listed:
            row.append(age(cell(doc), now) if cell is _AGE else cell(doc))
        return row

    return definitions, cells


def _definition(name: str, kind: str, priority: int, form: str = "", about: str = "") -> Document:
    described = about or f"{name} of the object"
    return {"name": name, "type": kind, "format": form, "description": described,
            "priority": priority}  # fmt: skip


def _custom(columns: Iterable[Document]) -> tuple[list[Document], Cells]:
    listed = list(columns) or [
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    ]
    definitions = [_definition("Name", "string", 0, form="name")]
    definitions += [
        _definition(
            one["name"], one["type"], one.get("priority", 0), one.get("format", ""),
            one.get("description") or "Custom resource definition column (in JSONPath format): "
            + one["jsonPath"],
        )
        for one in listed
    ]  # fmt: skip

    def cells(doc: Document, now: float) -> list[Any]:
        row = [doc["metadata"]["name"]]
        for one in listed:
            value = first(doc, one["jsonPath"])
            row.append(age(value, now) if one["type"] == "date" and value else value)
        return row

    return definitions, cells


def age(moment: str | None, now: float) -> str:
    if not moment:
        return "<unknown>"
    return duration(now - datetime.fromisoformat(moment).timestamp())


_MINUTE, _HOUR, _DAY = 60, 3600, 86400
# Up to a limit in seconds: unit and the smaller unit beside it, as kubectl shortens durations.
_STEPS = (
    (2 * _MINUTE, (1, "s"), None),
    (10 * _MINUTE, (_MINUTE, "m"), (1, "s")),
    (3 * _HOUR, (_MINUTE, "m"), None),
    (8 * _HOUR, (_HOUR, "h"), (_MINUTE, "m")),
    (2 * _DAY, (_HOUR, "h"), None),
    (8 * _DAY, (_DAY, "d"), (_HOUR, "h")),
    (2 * 365 * _DAY, (_DAY, "d"), None),
    (8 * 365 * _DAY, (365 * _DAY, "y"), (_DAY, "d")),
)


def duration(seconds: float) -> str:
    """59s, 3m20s, 5h1m, 47h, 2d3h, 40d, 3y40d."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    total = max(total, 0)
    for limit, (size, unit), small in _STEPS:
        if total < limit:
            text = f"{total // size}{unit}"
            if small and (rest := total % size // small[0]):
                text += f"{rest}{small[1]}"
            return text
    return f"{total // (365 * _DAY)}y"


def _path(*keys: str, default: Any = "<none>") -> Cell:
    def cell(doc: Document) -> Any:
        value: Any = doc
        for key in keys:
            value = value.get(key) if is_object(value) else None
        return default if value in (None, "", [], {}) else value

    return cell


def _ready_of(doc: Document) -> str:
    wanted = section(doc, "spec").get("replicas", 0)
    return f"{section(doc, 'status').get('readyReplicas', 0)}/{wanted}"


def _containers(doc: Document) -> list[Document]:
    return entries(doc, "spec", "template", "spec", "containers")


def _names(doc: Document) -> str:
    return ",".join(one["name"] for one in _containers(doc))


def _images(doc: Document) -> str:
    return ",".join(one.get("image", "") for one in _containers(doc))


def _selector(doc: Document) -> str:
    selector = section(doc, "spec", "selector")
    labels = selector.get("matchLabels", selector)
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items()) if isinstance(v, str)) or "<none>"


def _statuses(doc: Document) -> list[Document]:
    return entries(doc, "status", "containerStatuses")


def _pod_ready(doc: Document) -> str:
    ready = sum(bool(one.get("ready")) for one in _statuses(doc))
    return f"{ready}/{len(entries(doc['spec'], 'containers'))}"


def _pod_status(doc: Document) -> str:
    status = section(doc, "status")
    if "deletionTimestamp" in doc["metadata"]:
        return "Terminating"
    for one in entries(status, "initContainerStatuses"):
        waiting = section(one, "state").get("waiting")
        if waiting and waiting.get("reason") not in (None, "PodInitializing"):
            return f"Init:{waiting['reason']}"
    for one in _statuses(doc):
        state = section(one, "state")
        for kind in ("waiting", "terminated"):
            if section(state, kind).get("reason"):
                return state[kind]["reason"]
    return status.get("reason") or status.get("phase", "Unknown")


def _restarts(doc: Document) -> str:
    return str(sum(one.get("restartCount", 0) for one in _statuses(doc)))


def _node_status(doc: Document) -> str:
    conditions = entries(doc, "status", "conditions")
    ready = next((c["status"] for c in conditions if c["type"] == "Ready"), None)
    said = {"True": "Ready", None: "Unknown"}.get(ready, "NotReady")
    cordoned = section(doc, "spec").get("unschedulable")
    return f"{said},SchedulingDisabled" if cordoned else said


def _node_roles(doc: Document) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = section(doc["metadata"], "labels")
    return (
        ",".join(sorted(k.removeprefix(prefix) for k in labels if k.startswith(prefix))) or "<none>"
    )


def _node_address(kind: str) -> Cell:
    def cell(doc: Document) -> str:
        addresses = entries(doc, "status", "addresses")
        return next((a["address"] for a in addresses if a["type"] == kind), "<none>")

    return cell


def _ports(doc: Document) -> str:
    shown = list[str]()
    for port in entries(doc, "spec", "ports"):
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port['port']}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(shown) or "<none>"


def _external(doc: Document) -> str:
    if doc["spec"].get("type") == "LoadBalancer":
        found = entries(doc["status"], "loadBalancer", "ingress")
        return ",".join(one.get("ip") or one.get("hostname", "") for one in found) or "<pending>"
    return (
        doc["spec"].get("externalName") or ",".join(entries(doc["spec"], "externalIPs")) or "<none>"
    )


_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _modes(doc: Document) -> str:
    modes: list[str] = entries(doc["spec"], "accessModes")
    return ",".join(_MODES.get(mode, mode) for mode in modes)


def _claim_of(doc: Document) -> str:
    reference = doc["spec"].get("claimRef")
    return f"{reference['namespace']}/{reference['name']}" if reference else ""


def _completions(doc: Document) -> str:
    done = section(doc, "status").get("succeeded", 0)
    return f"{done}/{doc['spec'].get('completions', 1)}"


def _job_status(doc: Document) -> str:
    for condition in entries(doc, "status", "conditions"):
        if condition["status"] == "True" and condition["type"] in (
            "Complete",
            "Failed",
            "Suspended",
        ):
            return condition["type"]
    return "Running"


def _job_duration(doc: Document) -> str:
    status = section(doc, "status")
    if "startTime" not in status or "completionTime" not in status:
        return ""
    took = datetime.fromisoformat(status["completionTime"]) - datetime.fromisoformat(
        status["startTime"]
    )
    return duration(took.total_seconds())


def _count(key: str) -> Cell:
    return lambda doc: len(section(doc, key))


def _status(key: str) -> Cell:
    return _path("status", key, default=0)


_TEMPLATE: tuple[Column, ...] = (
    ("Containers", "string", 1, _names),
    ("Images", "string", 1, _images),
    ("Selector", "string", 1, _selector),
)
_NODE_INFO = ("status", "nodeInfo")

_COLUMNS: dict[str, tuple[Column, ...]] = {
    "Pod": (
        ("Ready", "string", 0, _pod_ready),
        ("Status", "string", 0, _pod_status),
        ("Restarts", "string", 0, _restarts),
        ("Age", "string", 0, _AGE),
        ("IP", "string", 1, _path("status", "podIP")),
        ("Node", "string", 1, _path("spec", "nodeName")),
        ("Nominated Node", "string", 1, _path("status", "nominatedNodeName")),
        ("Readiness Gates", "string", 1, _path("spec", "readinessGates")),
    ),
    "Node": (
        ("Status", "string", 0, _node_status),
        ("Roles", "string", 0, _node_roles),
        ("Age", "string", 0, _AGE),
        ("Version", "string", 0, _path(*_NODE_INFO, "kubeletVersion", default="")),
        ("Internal-IP", "string", 1, _node_address("InternalIP")),
        ("External-IP", "string", 1, _node_address("ExternalIP")),
        ("OS-Image", "string", 1, _path(*_NODE_INFO, "osImage", default="<unknown>")),
        ("Kernel-Version", "string", 1, _path(*_NODE_INFO, "kernelVersion", default="<unknown>")),
        ("Container-Runtime", "string", 1,
         _path(*_NODE_INFO, "containerRuntimeVersion", default="<unknown>")),
    ),
    "Namespace": (
        ("Status", "string", 0, _path("status", "phase", default="")),
        ("Age", "string", 0, _AGE),
    ),
    "Deployment": (
        ("Ready", "string", 0, _ready_of),
        ("Up-to-date", "string", 0, _status("updatedReplicas")),
        ("Available", "string", 0, _status("availableReplicas")),
        ("Age", "string", 0, _AGE),
        *_TEMPLATE,
    ),
    "ReplicaSet": (
        ("Desired", "integer", 0, _path("spec", "replicas", default=0)),
        ("Current", "integer", 0, _status("replicas")),
        ("Ready", "integer", 0, _status("readyReplicas")),
        ("Age", "string", 0, _AGE),
        *_TEMPLATE,
    ),
    "StatefulSet": (
        ("Ready", "string", 0, _ready_of),
        ("Age", "string", 0, _AGE),
        *_TEMPLATE[:2],
    ),
    "DaemonSet": (
        ("Desired", "integer", 0, _status("desiredNumberScheduled")),
        ("Current", "integer", 0, _status("currentNumberScheduled")),
        ("Ready", "integer", 0, _status("numberReady")),
        ("Up-to-date", "integer", 0, _status("updatedNumberScheduled")),
        ("Available", "integer", 0, _status("numberAvailable")),
        ("Node Selector", "string", 0, _path("spec", "template", "spec", "nodeSelector")),
        ("Age", "string", 0, _AGE),
        *_TEMPLATE,
    ),
    "Job": (
        ("Status", "string", 0, _job_status),
        ("Completions", "string", 0, _completions),
        ("Duration", "string", 0, _job_duration),
        ("Age", "string", 0, _AGE),
        *_TEMPLATE,
    ),
    "Service": (
        ("Type", "string", 0, _path("spec", "type")),
        ("Cluster-IP", "string", 0, _path("spec", "clusterIP")),
        ("External-IP", "string", 0, _external),
        ("Port(s)", "string", 0, _ports),
        ("Age", "string", 0, _AGE),
        ("Selector", "string", 1, _selector),
    ),
    "ConfigMap": (("Data", "string", 0, _count("data")), ("Age", "string", 0, _AGE)),
    "Secret": (
        ("Type", "string", 0, _path("type")),
        ("Data", "string", 0, _count("data")),
        ("Age", "string", 0, _AGE),
    ),
    "ServiceAccount": (("Age", "string", 0, _AGE),),
    "PersistentVolumeClaim": (
        ("Status", "string", 0, _path("status", "phase", default="")),
        ("Volume", "string", 0, _path("spec", "volumeName", default="")),
        ("Capacity", "string", 0, _path("status", "capacity", "storage", default="")),
        ("Access Modes", "string", 0, _modes),
        ("StorageClass", "string", 0, _path("spec", "storageClassName", default="")),
        ("VolumeAttributesClass", "string", 0, _path("spec", "volumeAttributesClassName",
                                                     default="<unset>")),
        ("Age", "string", 0, _AGE),
        ("VolumeMode", "string", 1, _path("spec", "volumeMode", default="<unset>")),
    ),
    "PersistentVolume": (
        ("Capacity", "string", 0, _path("spec", "capacity", "storage", default="")),
        ("Access Modes", "string", 0, _modes),
        ("Reclaim Policy", "string", 0, _path("spec", "persistentVolumeReclaimPolicy")),
        ("Status", "string", 0, _path("status", "phase", default="")),
        ("Claim", "string", 0, _claim_of),
        ("StorageClass", "string", 0, _path("spec", "storageClassName", default="")),
        ("Age", "string", 0, _AGE),
    ),
    "StorageClass": (
        ("Provisioner", "string", 0, _path("provisioner")),
        ("ReclaimPolicy", "string", 0, _path("reclaimPolicy")),
        ("VolumeBindingMode", "string", 0, _path("volumeBindingMode")),
        ("AllowVolumeExpansion", "string", 0, _path("allowVolumeExpansion", default=False)),
        ("Age", "string", 0, _AGE),
    ),
    "PodDisruptionBudget": (
        ("Min Available", "string", 0, _path("spec", "minAvailable", default="N/A")),
        ("Max Unavailable", "string", 0, _path("spec", "maxUnavailable", default="N/A")),
        ("Allowed Disruptions", "integer", 0, _status("disruptionsAllowed")),
        ("Age", "string", 0, _AGE),
    ),
    "CustomResourceDefinition": (("Created At", "date", 0, _path("metadata", "creationTimestamp")),),
    "Lease": (
        ("Holder", "string", 0, _path("spec", "holderIdentity")),
        ("Age", "string", 0, _AGE),
    ),
    "Event": (
        ("Type", "string", 0, _path("type")),
        ("Reason", "string", 0, _path("reason")),
        ("Object", "string", 0, lambda doc: "{kind}/{name}".format(
            kind=doc["involvedObject"].get("kind", "").lower(),
            name=doc["involvedObject"].get("name", ""))),
        ("Message", "string", 0, _path("message")),
    ),
}  # fmt: skip
