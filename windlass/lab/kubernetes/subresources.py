"""Subresources and reviews: scale, eviction, binding, finalize, approval, tokens and access reviews."""

from dataclasses import replace
from typing import Any

from windlass.lab.kubernetes import ownership
from windlass.lab.kubernetes.bodies import decode
from windlass.lab.kubernetes.calls import Call, Target, User
from windlass.lab.kubernetes.cluster import Outcome
from windlass.lab.kubernetes.deletion import as_asked
from windlass.lab.kubernetes.documents import Document, entries, is_object, section
from windlass.lab.kubernetes.keyspace import Stored
from windlass.lab.kubernetes.operations import Operations
from windlass.lab.kubernetes.patches import json_patch, merge_patch
from windlass.lab.kubernetes.selectors import matches_label_selector
from windlass.lab.kubernetes.status import (
    ApiError,
    Cause,
    Subject,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    not_found,
    not_implemented,
)

_BUDGETS = "policy/poddisruptionbudgets"
_VIOLATED = "Cannot evict pod as it would violate the pod's disruption budget."
# What a budget's status is believed for before the controller has looked again.
_PROCESSING_SECONDS = 10


class Scales:
    """The `scale` view of whatever has replicas."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def get(self, target: Target) -> Outcome:
        return Outcome(doc=self._view(target, self._operations.get(target)))

    def _paths(self, target: Target) -> tuple[str, str, str]:
        """Where replicas wanted, replicas seen and the selector are."""
        if not target.resource.custom:
            return "spec.replicas", "status.replicas", "spec.selector"
        version = self._operations.cluster.custom.version(target.resource)
        scale = version["subresources"]["scale"]
        return (
            scale["specReplicasPath"].lstrip("."),
            scale["statusReplicasPath"].lstrip("."),
            scale.get("labelSelectorPath", "").lstrip("."),
        )

    def _view(self, target: Target, live: Stored) -> Document:
        wanted, seen, selector = self._paths(target)
        metadata = live.doc["metadata"]
        shown = {
            key: metadata[key]
            for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if key in metadata
        }
        status: Document = {"replicas": _at(live.doc, seen) or 0}
        chosen = _at(live.doc, selector) if selector else None
        if chosen:
            status["selector"] = chosen if isinstance(chosen, str) else selector_text(chosen)
        replicas = _at(live.doc, wanted) or 0
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": shown,
            "spec": {"replicas": replicas} if replicas else {},
            "status": status,
        }

    def write(self, call: Call, body: Any) -> Outcome:
        target = call.target
        live = self._operations.get(target)
        view = self._view(target, live)
        scale = body if call.verb == "update" else _patched(view, body, call)
        version = section(scale, "metadata").get("resourceVersion")
        if version and version != view["metadata"]["resourceVersion"]:
            raise conflict(target.resource.about(target.name), _MODIFIED_SCALE)
        replicas = section(scale, "spec").get("replicas", 0)
        if not isinstance(replicas, int):
            raise bad_request(
                'Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal '
                "string into Go struct field ScaleSpec.spec.replicas of type int32"
            )
        if replicas < 0:
            text = "must be greater than or equal to 0"
            about = Subject("autoscaling", "scales", "Scale", target.name)
            raise invalid(about, [invalid_value("spec.replicas", replicas, text)])
        doc = ownership.plain_copy(live.doc)
        _set(doc, self._paths(target)[0], replicas)
        outcome = self._operations.replace(call, live, doc)
        if outcome.stored is None:
            return outcome
        return Outcome(doc=self._view(target, outcome.stored))


_MODIFIED_SCALE = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def _patched(view: Document, body: Any, call: Call) -> Document:
    if call.content_type == "application/json-patch+json":
        return json_patch(view, body)
    if call.content_type == "application/apply-patch+yaml":
        raise not_implemented("server-side apply of scale")
    return merge_patch(view, body)


def _at(doc: Document, path: str) -> Any:
    value: Any = doc
    for part in path.split("."):
        value = value.get(part) if is_object(value) else None
    return value


def _set(doc: Document, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for part in parents:
        doc = doc.setdefault(part, {})
    doc[last] = value


def selector_text(selector: Document) -> str:
    """A LabelSelector as a query parameter would say it."""
    parts = [f"{k}={v}" for k, v in sorted(section(selector, "matchLabels").items())]
    for one in entries(selector, "matchExpressions"):
        key, values = one["key"], ",".join(entries(one, "values"))
        word = {"In": "in", "NotIn": "notin"}.get(one["operator"])
        if word:
            parts.append(f"{key} {word} ({values})")
        else:
            parts.append(key if one["operator"] == "Exists" else f"!{key}")
    return ",".join(parts)


class Evictions:
    """Deletion of pods that asks the disruption budgets first."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._cluster = operations.cluster

    def create(self, call: Call, body: Document) -> Outcome:
        target = call.target
        live = self._operations.get(target)
        said = section(body, "metadata").get("name", target.name)
        if said != target.name:
            raise bad_request("name in URL does not match name in Eviction object")
        options = section(body, "deleteOptions")
        if call.dry_run:
            options = {**options, "dryRun": ["All"]}
        call = as_asked(call, options)
        if not self._is_free(live.doc):
            self._ask_budget(call, live)
        delete = replace(call, verb="evict", target=replace(target, subresource=""))
        self._operations.deletions.delete(delete, options)
        done: Document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return Outcome(doc={**done, "code": 201}, code=201)

    def _is_free(self, pod: Document) -> bool:
        phase = section(pod, "status").get("phase")
        return "deletionTimestamp" in pod["metadata"] or phase in ("Succeeded", "Failed", "Pending")

    def _ask_budget(self, call: Call, live: Stored) -> None:
        labels = section(live.doc["metadata"], "labels")
        budgets = [
            stored
            for stored in self._cluster.keyspace.objects(_BUDGETS, live.namespace)
            if matches_label_selector(section(stored.doc, "spec").get("selector"), labels)
        ]
        if len(budgets) > 1:
            text = (
                "This pod has more than one PodDisruptionBudget, which the eviction subresource "
                "does not support."
            )
            raise ApiError(500, "InternalError", text)
        if budgets and not self._may_go_unhealthy(live.doc, budgets[0].doc):
            self._take(call, live, budgets[0])

    def _may_go_unhealthy(self, pod: Document, budget: Document) -> bool:
        """A pod that is not ready counts for nothing, if the budget is met without it or says so."""
        conditions = entries(pod, "status", "conditions")
        if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
            return False
        status = section(budget, "status")
        if section(budget, "spec").get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
            return True
        desired = status.get("desiredHealthy", 0)
        return desired > 0 and status.get("currentHealthy", 0) >= desired

    def _take(self, call: Call, pod: Stored, budget: Stored) -> None:
        """Take one disruption from the budget.

        Raises:
            ApiError: 429, there is none left, or its controller has not looked at it yet.
        """
        doc = ownership.plain_copy(budget.doc)
        status: Document = doc.setdefault("status", {})
        if status.get("observedGeneration", 0) < doc["metadata"].get("generation", 0):
            text = f"The disruption budget {budget.name} is still being processed by the server."
            raise _refusal(text, seconds=_PROCESSING_SECONDS)
        allowed = status.get("disruptionsAllowed", 0)
        if allowed < 0:
            about = Subject("policy", "poddisruptionbudgets", "PodDisruptionBudget", budget.name)
            raise forbidden(about, "pdb disruptions allowed is negative")
        if allowed == 0:
            raise _refusal(
                f"The disruption budget {budget.name} needs {status.get('desiredHealthy', 0)} healthy "
                f"pods and has {status.get('currentHealthy', 0)} currently"
            )
        if call.dry_run:
            return
        status["disruptionsAllowed"] = allowed - 1
        status.setdefault("disruptedPods", {})[pod.name] = call.timestamp
        resource = self._cluster.registry.get("policy", "v1", "poddisruptionbudgets")
        assert resource is not None  # the table has it
        target = Target(resource, budget.namespace, budget.name, "status")
        self._operations.replace(replace(call, verb="update", target=target), budget, doc)


def _refusal(text: str, seconds: int = 0) -> ApiError:
    details: Document = {"causes": [Cause("DisruptionBudget", text).json()]}
    headers = {"Retry-After": str(seconds)} if seconds else {}
    if seconds:
        details["retryAfterSeconds"] = seconds
    return ApiError(429, "TooManyRequests", _VIOLATED, details=details, headers=headers)


class Bindings:
    """The scheduler's one write: a pod gets its node."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def create(self, call: Call, body: Document) -> Outcome:
        name = call.target.name or section(body, "metadata").get("name", "")
        pods = self._operations.cluster.registry.get("", "v1", "pods")
        assert pods is not None  # the table has it
        target = Target(pods, call.target.namespace, name)
        live = self._operations.get(target)
        node = section(body, "target").get("name")
        about = target.resource.about(name)
        if "deletionTimestamp" in live.doc["metadata"]:
            raise conflict(about, f"pod {name} is being deleted, cannot be assigned to a host")
        if live.doc["spec"].get("nodeName"):
            where = live.doc["spec"]["nodeName"]
            raise conflict(about, f'pod {name} is already assigned to node "{where}"')
        doc = ownership.plain_copy(live.doc)
        doc["spec"]["nodeName"] = node
        status: Document = doc.setdefault("status", {})
        others = [c for c in entries(status, "conditions") if c["type"] != "PodScheduled"]
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None,
                     "lastTransitionTime": call.timestamp}  # fmt: skip
        status["conditions"] = [*others, scheduled]
        bind = replace(call, verb="bind", target=replace(target, subresource="binding"))
        self._operations.replace(bind, live, doc)
        done: Document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return Outcome(doc={**done, "code": 201}, code=201)


def review(call: Call, body: Document) -> Outcome:
    """Answer a review from what this server really does: groups decide, rules are not evaluated."""
    kind = call.target.resource.kind
    spec: Document = section(body, "spec")
    head = {"kind": kind, "apiVersion": call.target.resource.api_version}
    user = call.user
    if kind == "SelfSubjectReview":
        info = {"username": user.name, "groups": list(user.groups)}
        metadata = {"creationTimestamp": call.timestamp}
        return Outcome(doc={**head, "metadata": metadata, "status": {"userInfo": info}}, code=201)
    if kind == "SelfSubjectRulesReview":
        rules = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        found = rules if user.may_everything else []
        status: Document = {"incomplete": False, "nonResourceRules": [], "resourceRules": found}
        return Outcome(doc={**head, "metadata": {}, "spec": spec, "status": status}, code=201)
    if kind == "TokenReview":
        raise not_implemented("bearer tokens")
    if kind != "SelfSubjectAccessReview":
        user = User(spec.get("user", ""), tuple(entries(spec, "groups")))
    allowed: Document = {"allowed": user.may_everything}
    return Outcome(doc={**head, "metadata": {}, "spec": spec, "status": allowed}, code=201)


def finalize(operations: Operations, call: Call, body: Any) -> Outcome:
    """Set the finalizers of a namespace; without any it is gone, once it was deleted."""
    target = call.target
    live = operations.keyspace.get(*target.key)
    if live is None:
        raise not_found(target.resource.about(target.name))
    sent = decode(call, body, target.resource, operations.cluster)
    doc = ownership.plain_copy(live.doc)
    finalizers = entries(sent, "spec", "finalizers")
    doc["spec"] = {"finalizers": finalizers} if finalizers else {}
    return operations.replace(call, live, doc)
