"""What the API server itself puts into objects at birth and on change, and what it hands out."""

import base64
import random
from collections.abc import Callable
from ipaddress import IPv4Network

from windlass.lab.kubernetes import defaults, definitions, validation
from windlass.lab.kubernetes.calls import Call, Target
from windlass.lab.kubernetes.cluster import Cluster
from windlass.lab.kubernetes.crds import accept
from windlass.lab.kubernetes.documents import Document, entries, section
from windlass.lab.kubernetes.resources import Resource
from windlass.lab.kubernetes.status import Cause, forbidden, invalid, not_implemented

SERVICE_NETWORK = IPv4Network("10.96.0.0/12")
# Low addresses are given by hand (10.96.0.1, 10.96.0.10).
_FIRST_DYNAMIC = 256
_NODE_PORTS = range(30000, 32768)

# Kinds that may be born with a status.
_STATUS_AT_BIRTH = {"Node", "CertificateSigningRequest", "APIService"}

SYSTEM_PRIORITIES = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}


def complete(doc: Document, resource: Resource, cluster: Cluster) -> None:
    """Fill in what a client of this kind would have meant; what is in now counts as the client's."""
    if resource.custom:
        cluster.custom.complete(doc, resource, cluster.schema(resource))
        return
    if doc["kind"] == "Secret" and "stringData" in doc:
        data = doc.setdefault("data", {})
        for key, text in doc.pop("stringData").items():
            data[key] = base64.b64encode(text.encode()).decode()
    defaults.fill(doc)
    defaults.drop_zeros(doc)


def drop_status_at_birth(doc: Document, resource: Resource) -> None:
    if "status" in resource.subresources and resource.kind not in _STATUS_AT_BIRTH:
        doc.pop("status", None)


def prepare_create(doc: Document, resource: Resource, cluster: Cluster, call: Call) -> None:
    """Add what is the server's own in a complete new object, and check it."""
    if resource.custom:
        validation.check_metadata(doc, resource)
        return
    prepare = _AT_BIRTH.get(resource.kind)
    if prepare is not None:
        prepare(doc, cluster, call)
    validation.check(doc, None, resource)


def prepare_update(doc: Document, old: Document, target: Target, call: Call) -> None:
    """Check a complete new state of an object."""
    resource = target.resource
    if resource.custom:
        return
    if target.subresource in ("status", "finalize", "approval", "binding"):
        return
    if resource.kind == "CustomResourceDefinition":
        call.warnings.extend(definitions.check(doc))
        accept(doc, call.timestamp)
    validation.check(doc, old, resource)


# What an update that leaves it out does not mean to remove.
_KEPT = {
    "Service": ("clusterIP", "clusterIPs"),
    "PersistentVolumeClaim": ("volumeName", "storageClassName"),
    "Job": ("selector", "completions"),
}


def keep(doc: Document, old: Document) -> None:
    """Restore what the server set and a client may leave out."""
    kind = doc["kind"]
    if kind == "Namespace":
        doc["spec"] = section(old, "spec")
        name = doc["metadata"]["name"]
        doc["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    if kind == "Service" and section(doc, "spec").get("type") == "ExternalName":
        return
    for key in _KEPT.get(kind, ()):
        if key in section(old, "spec"):
            doc.setdefault("spec", {}).setdefault(key, old["spec"][key])


def _namespace(doc: Document, _cluster: Cluster, _call: Call) -> None:
    doc["spec"] = {"finalizers": ["kubernetes"]}
    doc["status"] = {"phase": "Active"}
    labels = doc["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = doc["metadata"]["name"]


def _pod(doc: Document, cluster: Cluster, _call: Call) -> None:
    spec = doc["spec"]
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    _tolerate(spec)
    _prioritize(doc, cluster)
    doc["status"] = {"phase": "Pending", "qosClass": _quality(spec)}


def _tolerate(spec: Document) -> None:
    """Pods stay five minutes on a node that is not ready, unless they say otherwise."""
    tolerations = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        said = any(
            t.get("key") in (key, None) and t.get("effect") in ("NoExecute", None)
            for t in tolerations
        )
        if not said:
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            )


def _prioritize(doc: Document, cluster: Cluster) -> None:
    spec = doc["spec"]
    name = spec.get("priorityClassName", "")
    value, policy = SYSTEM_PRIORITIES.get(name, 0), "PreemptLowerPriority"
    found = cluster.keyspace.get("scheduling.k8s.io/priorityclasses", "", name) if name else None
    if found is not None:
        value = found.doc["value"]
        policy = found.doc.get("preemptionPolicy", policy)
    elif name and name not in SYSTEM_PRIORITIES:
        pods = cluster.registry.get("", "v1", "pods")
        assert pods is not None  # the table has it
        why = f"no PriorityClass with name {name} was found"
        raise forbidden(pods.about(doc["metadata"]["name"]), why)
    spec.setdefault("priority", value)
    spec.setdefault("preemptionPolicy", policy)


def _quality(spec: Document) -> str:
    amounts = [section(one, "resources") for one in entries(spec, "containers")]
    if not any(a.get("requests") or a.get("limits") for a in amounts):
        return "BestEffort"
    guaranteed = all(
        set(entries(a, "limits")) >= {"cpu", "memory"} and a.get("requests") == a.get("limits")
        for a in amounts
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _service(doc: Document, cluster: Cluster, _call: Call) -> None:
    spec = doc["spec"]
    doc["status"] = {"loadBalancer": {}}
    if spec["type"] == "ExternalName":
        return
    if not spec.get("clusterIP"):
        spec["clusterIP"] = _free_address(cluster)
    elif spec["clusterIP"] != "None":
        _check_address(doc, cluster)
    spec["clusterIPs"] = [spec["clusterIP"]]
    if spec["type"] in ("NodePort", "LoadBalancer"):
        taken = _taken_ports(cluster)
        for port in entries(spec, "ports"):
            if not port.get("nodePort"):
                port["nodePort"] = random.choice([p for p in _NODE_PORTS if p not in taken])
            taken.add(port["nodePort"])


def _services(cluster: Cluster) -> list[Document]:
    return [stored.doc["spec"] for stored in cluster.keyspace.objects("/services")]


def _taken_ports(cluster: Cluster) -> set[int]:
    return {
        port["nodePort"]
        for spec in _services(cluster)
        for port in entries(spec, "ports")
        if "nodePort" in port
    }


def _free_address(cluster: Cluster) -> str:
    taken = {spec.get("clusterIP") for spec in _services(cluster)}
    while True:
        number = random.randrange(_FIRST_DYNAMIC, 65_000)
        address = str(SERVICE_NETWORK.network_address + number)
        if address not in taken:
            return address


def _check_address(doc: Document, cluster: Cluster) -> None:
    address = doc["spec"]["clusterIP"]
    if any(spec.get("clusterIP") == address for spec in _services(cluster)):
        services = cluster.registry.get("", "v1", "services")
        assert services is not None  # the table has it
        cause = Cause(
            "FieldValueInvalid",
            f'Invalid value: ["{address}"]: failed to allocate IP {address}: '
            "provided IP is already allocated",
            "spec.clusterIPs",
        )
        raise invalid(services.about(doc["metadata"]["name"]), [cause])


def _claim(doc: Document, cluster: Cluster, _call: Call) -> None:
    doc["status"] = {"phase": "Pending"}
    _protect(doc, "kubernetes.io/pvc-protection")
    if "storageClassName" in doc["spec"]:
        return
    defaults_found = [
        stored
        for stored in cluster.keyspace.objects("storage.k8s.io/storageclasses")
        if section(stored.doc["metadata"], "annotations").get(
            "storageclass.kubernetes.io/is-default-class"
        )
        == "true"
    ]
    if defaults_found:
        newest = max(defaults_found, key=lambda s: s.doc["metadata"]["creationTimestamp"])
        doc["spec"]["storageClassName"] = newest.name


def _volume(doc: Document, _cluster: Cluster, _call: Call) -> None:
    doc["status"] = {"phase": "Pending"}
    _protect(doc, "kubernetes.io/pv-protection")


def _protect(doc: Document, finalizer: str) -> None:
    """Storage in use stays until its controller says that it is not."""
    finalizers = doc["metadata"].setdefault("finalizers", [])
    if finalizer not in finalizers:
        finalizers.append(finalizer)


def _node(doc: Document, _cluster: Cluster, _call: Call) -> None:
    """A new node takes no pods before somebody has seen it ready."""
    taints = doc.setdefault("spec", {}).setdefault("taints", [])
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    if not any(t.get("key") == taint["key"] and t.get("effect") == taint["effect"] for t in taints):
        taints.append(taint)


# What the lab's job controller does not do, and what these say when nobody asks for it.
_JOB_FEATURES = {
    "completionMode": "NonIndexed",
    "podFailurePolicy": None,
    "successPolicy": None,
    "backoffLimitPerIndex": None,
    "maxFailedIndexes": None,
    "podReplacementPolicy": "TerminatingOrFailed",
    "managedBy": "kubernetes.io/job-controller",
}


def _job(doc: Document, _cluster: Cluster, _call: Call) -> None:
    """A job finds its pods by its own uid."""
    spec, uid, name = doc["spec"], doc["metadata"]["uid"], doc["metadata"]["name"]
    if beyond := [key for key, usual in _JOB_FEATURES.items() if spec.get(key, usual) != usual]:
        raise not_implemented(f"Job: {', '.join(beyond)}")
    doc["status"] = {}
    if spec.get("manualSelector"):
        return
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    template = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    template.update(labels)
    doc["metadata"]["labels"] = {**section(doc["metadata"], "labels"), **labels}


def _budget(doc: Document, _cluster: Cluster, _call: Call) -> None:
    doc["status"] = {
        "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
    }  # fmt: skip


def _daemon_set(doc: Document, _cluster: Cluster, _call: Call) -> None:
    doc["status"] = {
        "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0,
        "numberReady": 0,
    }  # fmt: skip


def _replicated(doc: Document, _cluster: Cluster, _call: Call) -> None:
    doc["status"] = {"replicas": 0}


def _stateful_set(doc: Document, _cluster: Cluster, _call: Call) -> None:
    doc["status"] = {"replicas": 0, "availableReplicas": 0}


def _empty_status(doc: Document, _cluster: Cluster, _call: Call) -> None:
    doc["status"] = {}


def _vain(doc: Document, _cluster: Cluster, _call: Call) -> None:
    """Kept it would look as if it were obeyed."""
    raise not_implemented(f"{doc['kind']}: {_OBEYED[doc['kind']]} are not evaluated")


def _api_service(doc: Document, _cluster: Cluster, _call: Call) -> None:
    if "service" in section(doc, "spec"):
        raise not_implemented("APIService: requests are not passed on to other API servers")


def _idle(doc: Document, _cluster: Cluster, call: Call) -> None:
    """Kept, as a real API server does; what it is for happens in controllers that the lab has not."""
    call.warnings.append(f"the lab has no controller for {doc['kind']}: {_IDLE[doc['kind']]}")


def _definition(doc: Document, _cluster: Cluster, call: Call) -> None:
    doc.pop("status", None)
    call.warnings.extend(definitions.check(doc))
    accept(doc, call.timestamp)


# What the API server itself would obey.
_OBEYED = {
    "MutatingWebhookConfiguration": "admission webhooks",
    "ValidatingWebhookConfiguration": "admission webhooks",
    "ValidatingAdmissionPolicy": "admission policies",
    "ValidatingAdmissionPolicyBinding": "admission policies",
    "ResourceQuota": "quotas",
    "LimitRange": "limits",
}
_IDLE = {
    "CertificateSigningRequest": "nothing is signed",
    "CronJob": "it makes no jobs",
    "HorizontalPodAutoscaler": "it scales nothing",
    "ReplicationController": "it makes no pods",
}

_AT_BIRTH: dict[str, Callable[[Document, Cluster, Call], None]] = {
    "Namespace": _namespace,
    "Pod": _pod,
    "Service": _service,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume,
    "Node": _node,
    "Job": _job,
    "PodDisruptionBudget": _budget,
    "DaemonSet": _daemon_set,
    "Deployment": _empty_status,
    "ReplicaSet": _replicated,
    "StatefulSet": _stateful_set,
    "CustomResourceDefinition": _definition,
    "APIService": _api_service,
    **dict.fromkeys(_OBEYED, _vain),
    **dict.fromkeys(_IDLE, _idle),
}


def grace_seconds(doc: Document, options: Document) -> int:
    """How long somebody has to finish: only pods on a node have anybody to wait for."""
    if doc["kind"] != "Pod":
        return 0
    spec, phase = doc["spec"], section(doc, "status").get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    if options.get("gracePeriodSeconds") is not None:
        asked: int = options["gracePeriodSeconds"]
        return asked if asked >= 0 else 1
    return spec.get("terminationGracePeriodSeconds", 30)


def is_held(doc: Document) -> bool:
    """A namespace waits for its content."""
    return doc["kind"] == "Namespace" and bool(section(doc, "spec").get("finalizers"))


def mark_deleted(doc: Document) -> None:
    if doc["kind"] == "Namespace":
        doc["status"] = {**section(doc, "status"), "phase": "Terminating"}
