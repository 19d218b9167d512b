"""Defaults that the API server fills in and clients depend on, kind by kind. Documents are changed in place."""

from collections.abc import Callable
from typing import Any

from windlass.lab.kubernetes.documents import Document, entries, is_object, section

Default = Callable[[Document], None]


def _fill(doc: Document, **defaults: Any) -> None:
    for key, value in defaults.items():
        doc.setdefault(key, value)


def pull_policy(image: str) -> str:
    name = image.rpartition("/")[2]
    if "@" in name:
        return "IfNotPresent"
    tag = name.partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def container(doc: Document) -> None:
    _fill(
        doc,
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    if doc.get("image"):
        doc.setdefault("imagePullPolicy", pull_policy(doc["image"]))
    for port in entries(doc, "ports"):
        port.setdefault("protocol", "TCP")
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if kind in doc:
            _probe(doc[kind])
    for variable in entries(doc, "env"):
        reference = section(variable, "valueFrom").get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")


def _probe(doc: Document) -> None:
    _fill(doc, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if "httpGet" in doc:
        _fill(doc["httpGet"], path="/", scheme="HTTP")


def _volume(doc: Document) -> None:
    sources = {"secret": 420, "configMap": 420, "projected": 420, "downwardAPI": 420}
    for name, mode in sources.items():
        if is_object(doc.get(name)):
            doc[name].setdefault("defaultMode", mode)
    if is_object(doc.get("hostPath")):
        doc["hostPath"].setdefault("type", "")
    if len(doc) == 1:
        doc["emptyDir"] = {}


def pod_spec(spec: Document) -> None:
    _fill(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    elif "serviceAccount" in spec:
        spec["serviceAccountName"] = spec["serviceAccount"]
    for one in (*entries(spec, "initContainers"), *entries(spec, "containers")):
        container(one)
        if spec.get("hostNetwork"):
            for port in entries(one, "ports"):
                port.setdefault("hostPort", port.get("containerPort"))
    for volume in entries(spec, "volumes"):
        _volume(volume)


def _pod(doc: Document) -> None:
    spec = doc.setdefault("spec", {})
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for one in (*entries(spec, "initContainers"), *entries(spec, "containers")):
        if limits := section(one, "resources", "limits"):
            one["resources"]["requests"] = {**limits, **section(one, "resources", "requests")}


def _template(spec: Document) -> None:
    pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))


def _deployment(doc: Document) -> None:
    spec = doc.setdefault("spec", {})
    _template(spec)
    _fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _fill(strategy.setdefault("rollingUpdate", {}), maxUnavailable="25%", maxSurge="25%")


def _replica_set(doc: Document) -> None:
    spec = doc.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    if "template" in spec:
        _template(spec)


def _stateful_set(doc: Document) -> None:
    spec = doc.setdefault("spec", {})
    _template(spec)
    _fill(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    _fill(
        spec.setdefault("persistentVolumeClaimRetentionPolicy", {}),
        whenDeleted="Retain",
        whenScaled="Retain",
    )
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    for claim in entries(spec, "volumeClaimTemplates"):
        _fill(claim, kind="PersistentVolumeClaim", apiVersion="v1")
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        claim["status"] = {"phase": "Pending"}


def _daemon_set(doc: Document) -> None:
    annotations = doc["metadata"].setdefault("annotations", {})
    annotations.setdefault("deprecated.daemonset.template.generation", "1")
    spec = doc.setdefault("spec", {})
    _template(spec)
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _fill(strategy.setdefault("rollingUpdate", {}), maxUnavailable=1, maxSurge=0)


def _job_spec(spec: Document) -> None:
    _template(spec)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    _fill(
        spec,
        parallelism=1,
        backoffLimit=6,
        manualSelector=False,
        completionMode="NonIndexed",
        suspend=False,
        podReplacementPolicy="TerminatingOrFailed",
    )


def _job(doc: Document) -> None:
    _job_spec(doc.setdefault("spec", {}))


def _cron_job(doc: Document) -> None:
    spec = doc.setdefault("spec", {})
    _fill(
        spec,
        concurrencyPolicy="Allow",
        suspend=False,
        successfulJobsHistoryLimit=3,
        failedJobsHistoryLimit=1,
    )
    _template(spec.setdefault("jobTemplate", {}).setdefault("spec", {}))


def _service(doc: Document) -> None:
    spec = doc.setdefault("spec", {})
    _fill(spec, sessionAffinity="None", type="ClusterIP")
    for port in entries(spec, "ports"):
        port.setdefault("protocol", "TCP")
        if spec["type"] != "ExternalName":
            port.setdefault("targetPort", port.get("port"))
    if spec["type"] == "ExternalName":
        return
    if spec.get("clusterIP") == "None" and not spec.get("selector"):
        _fill(spec, ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="RequireDualStack")
    _fill(spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack", internalTrafficPolicy="Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _claim(doc: Document) -> None:
    doc.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _volume_object(doc: Document) -> None:
    _fill(
        doc.setdefault("spec", {}),
        persistentVolumeReclaimPolicy="Retain",
        volumeMode="Filesystem",
    )


def _storage_class(doc: Document) -> None:
    _fill(doc, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _secret(doc: Document) -> None:
    doc.setdefault("type", "Opaque")


def _role_binding(doc: Document) -> None:
    group = "rbac.authorization.k8s.io"
    section(doc, "roleRef").setdefault("apiGroup", group)
    for subject in entries(doc, "subjects"):
        if subject.get("kind") != "ServiceAccount":
            subject.setdefault("apiGroup", group)


def _network_policy(doc: Document) -> None:
    spec = doc.setdefault("spec", {})
    policies = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    spec.setdefault("policyTypes", policies)


def _definition(doc: Document) -> None:
    spec = section(doc, "spec")
    spec.setdefault("conversion", {"strategy": "None"})
    names = section(spec, "names")
    if "kind" in names:
        _fill(names, singular=names["kind"].lower(), listKind=f"{names['kind']}List")


def _csi_driver(doc: Document) -> None:
    _fill(
        doc.setdefault("spec", {}),
        attachRequired=True,
        podInfoOnMount=False,
        storageCapacity=False,
        fsGroupPolicy="ReadWriteOnceWithFSType",
        volumeLifecycleModes=["Persistent"],
        requiresRepublish=False,
        seLinuxMount=False,
    )


def _priority_class(doc: Document) -> None:
    doc.setdefault("preemptionPolicy", "PreemptLowerPriority")


_DEFAULTS: dict[str, Default] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "CronJob": _cron_job,
    "Service": _service,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume_object,
    "StorageClass": _storage_class,
    "Secret": _secret,
    "RoleBinding": _role_binding,
    "ClusterRoleBinding": _role_binding,
    "NetworkPolicy": _network_policy,
    "CustomResourceDefinition": _definition,
    "CSIDriver": _csi_driver,
    "PriorityClass": _priority_class,
}


# Numbers that Go leaves out when they are zero; all others stand as they were sent.
_NO_ZEROS: dict[str, tuple[str, ...]] = {
    "Deployment": (
        "observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
        "unavailableReplicas",
    ),
    "ReplicaSet": ("observedGeneration", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"),
    "StatefulSet": ("observedGeneration", "readyReplicas", "currentReplicas", "updatedReplicas"),
    "DaemonSet": ("observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable"),
    "Job": ("active", "succeeded", "failed"),
    "PodDisruptionBudget": ("observedGeneration",),
}  # fmt: skip


def drop_zeros(doc: Document) -> None:
    """Leave out what Go's encoding leaves out of a status and of `minReadySeconds`."""
    status, spec = section(doc, "status"), section(doc, "spec")
    for key in _NO_ZEROS.get(doc["kind"], ()):
        if status.get(key, ...) == 0:
            del status[key]
    if spec.get("minReadySeconds", ...) == 0:
        del spec["minReadySeconds"]


def fill(doc: Document) -> None:
    """Fill in the defaults of a built-in kind."""
    default = _DEFAULTS.get(doc["kind"])
    if default is not None:
        default(doc)
