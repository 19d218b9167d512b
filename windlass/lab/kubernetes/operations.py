"""What a call does to the keyspace: creation, update and patch, with the rules that hold for every kind."""

import secrets
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from windlass.lab.kubernetes import admission, ownership, patches, status
from windlass.lab.kubernetes.bodies import applicable, decode, place, prune
from windlass.lab.kubernetes.calls import Call, Target
from windlass.lab.kubernetes.cluster import Cluster, Outcome
from windlass.lab.kubernetes.deletion import Deletions
from windlass.lab.kubernetes.documents import Document, is_object, section
from windlass.lab.kubernetes.keyspace import Stored
from windlass.lab.kubernetes.ownership import Who
from windlass.lab.kubernetes.resources import Resource
from windlass.lab.kubernetes.status import (
    MODIFIED,
    ApiError,
    Subject,
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
    required,
)

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"

# Kinds whose objects count their generations; custom resources always do.
_GENERATIONS = {
    "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Job", "CronJob",
    "Pod", "PodDisruptionBudget", "Ingress", "IngressClass", "NetworkPolicy", "CustomResourceDefinition",
    "HorizontalPodAutoscaler", "ResourceClaim", "PriorityClass", "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
}  # fmt: skip
# A PUT creates these when they are not there.
_CREATED_BY_UPDATE = {"Lease", "Endpoints", "Event", "EndpointSlice", "Role", "ClusterRole",
                      "RoleBinding", "ClusterRoleBinding"}  # fmt: skip
# The kubelet and others may change labels and annotations through these kinds' status.
_STATUS_WITH_METADATA = {"Pod", "Node", "Namespace"}
# Subresources that write status and the rest together.
_WRITES_ALL = ("finalize", "binding")
_SET_BY_SERVER = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
                  "generation", "selfLink")  # fmt: skip


class Operations:
    """The verbs that read and write single objects."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.keyspace = cluster.keyspace
        self.deletions = Deletions(cluster)

    def get(self, target: Target) -> Stored:
        found = self.keyspace.get(*target.key)
        if found is None:
            raise not_found(target.resource.about(target.name))
        return found

    # Creation

    def create(self, call: Call, body: Any) -> Outcome:
        target = call.target
        doc = decode(call, body, target.resource, self.cluster)
        place(doc, target)
        return self.insert(call, doc)

    def insert(
        self, call: Call, doc: Document, entries: list[ownership.Entry] | None = None
    ) -> Outcome:
        """Store a decoded object that is not there yet; `entries` when an apply made it."""
        resource = call.target.resource
        metadata = doc["metadata"]
        self._name(metadata, resource)
        target = replace(call.target, name=metadata["name"])
        self.cluster.check_namespace(target)
        self._identify(call, metadata)
        admission.drop_status_at_birth(doc, resource)
        admission.complete(doc, resource, self.cluster)
        if entries is None:
            who = Who(call.manager, resource.api_version, call.timestamp)
            ownership.track_update(None, doc, self.cluster.schema(resource), who)
        else:
            ownership.write_entries(doc, entries)
        admission.prepare_create(doc, resource, self.cluster, call)
        if self.keyspace.get(*target.key) is not None:
            raise already_exists(resource.about(target.name))
        return Outcome(self.cluster.put(call, target, doc), code=201)

    def _name(self, metadata: Document, resource: Resource) -> None:
        if metadata.get("generateName") and not metadata.get("name"):
            suffix = "".join(secrets.choice(_SUFFIX) for _ in range(5))
            metadata["name"] = metadata["generateName"][:58] + suffix
        if metadata.get("resourceVersion") not in (None, "", "0"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        if not metadata.get("name"):
            cause = required("metadata.name", "name or generateName is required")
            raise invalid(resource.about(), [cause])

    def _identify(self, call: Call, metadata: Document) -> None:
        for name in (*_SET_BY_SERVER, "managedFields"):
            metadata.pop(name, None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = call.timestamp
        resource = call.target.resource
        if resource.custom or resource.kind in _GENERATIONS:
            metadata["generation"] = 1

    # Update

    def update(self, call: Call, body: Any) -> Outcome:
        target = call.target
        doc = decode(call, body, target.resource, self.cluster)
        place(doc, target)
        live = self.keyspace.get(*target.key)
        if live is None:
            if target.resource.kind in _CREATED_BY_UPDATE and not target.subresource:
                doc["metadata"].pop("resourceVersion", None)
                return self.insert(call, doc)
            raise not_found(target.resource.about(target.name))
        self._check_version(doc, live, target, must=target.resource.custom)
        return self.replace(call, live, doc)

    def _check_version(self, doc: Document, live: Stored, target: Target, *, must: bool) -> None:
        about = target.resource.about(target.name)
        metadata = doc["metadata"]
        version = metadata.get("resourceVersion") or ""
        if not version and must:
            message = "Invalid value: 0: must be specified for an update"
            cause = status.Cause("FieldValueInvalid", message, "metadata.resourceVersion")
            raise invalid(about, [cause])
        if version and not version.isdigit():
            raise invalid(about, [status.invalid_value(
                "metadata.resourceVersion", version, f'strconv.ParseUint: parsing "{version}": invalid syntax'
            )])  # fmt: skip
        if version and version != live.doc["metadata"]["resourceVersion"]:
            raise conflict(about, MODIFIED)
        uid, lives = metadata.get("uid"), live.doc["metadata"]["uid"]
        if uid and uid != lives:
            raise conflict(
                about,
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {lives}",
            )

    def replace(
        self,
        call: Call,
        live: Stored,
        doc: Document,
        entries: list[ownership.Entry] | None = None,
    ) -> Outcome:
        """Store a new state of an object; `entries` when an apply made it. Writes nothing when nothing changed."""
        target, resource = call.target, call.target.resource
        schema = self.cluster.schema(resource)
        old = live.doc
        self._keep(doc, old, target)
        if not target.subresource:
            admission.keep(doc, old)
        admission.complete(doc, resource, self.cluster)
        if entries is None:
            who = Who(call.manager, resource.api_version, call.timestamp, target.subresource)
            ownership.track_update(old, doc, schema, who)
        else:
            ownership.write_entries(doc, entries)
        admission.prepare_update(doc, old, target, call)
        if resource.custom or resource.kind in _GENERATIONS:
            self._count_generation(doc, old)
        doc["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if doc == old:
            return Outcome(live)
        if self._is_finished(doc) and not call.dry_run:
            # One commit: watchers see the end of what was stored before, only the caller sees the rest.
            self.cluster.record(call, target, live, None)
            self.keyspace.delete(*target.key)
            self.deletions.finish_definition(resource)
            return Outcome(self.cluster.unstored(target, doc))
        return Outcome(self.cluster.put(call, target, doc))

    def _keep(self, doc: Document, old: Document, target: Target) -> None:
        """Restore what this kind of write cannot change."""
        metadata, before = doc["metadata"], old["metadata"]
        for name in _SET_BY_SERVER:
            metadata.pop(name, None)
            if name in before:
                metadata[name] = before[name]
        metadata.setdefault("name", before["name"])
        resource = target.resource
        if target.subresource == "status":
            _restore(doc, old, [key for key in (*doc, *old) if key not in ("metadata", "status")])
            if resource.kind not in _STATUS_WITH_METADATA:
                doc["metadata"] = dict(before)
        elif "status" in resource.subresources and target.subresource not in _WRITES_ALL:
            _restore(doc, old, ["status"])

    def _count_generation(self, doc: Document, old: Document) -> None:
        def spec(one: Document) -> Document:
            return {k: v for k, v in one.items() if k not in ("metadata", "status")}

        if spec(doc) != spec(old):
            doc["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def _is_finished(self, doc: Document) -> bool:
        metadata = doc["metadata"]
        if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
            return False
        if doc["kind"] == "Namespace" and section(doc, "spec").get("finalizers"):
            return False
        return not metadata.get("deletionGracePeriodSeconds")

    # Patches

    def patch(self, call: Call, body: Any) -> Outcome:
        target = call.target
        media = call.content_type
        if media in ("application/apply-patch+yaml", "application/apply-patch+cbor"):
            return self.apply(call, body)
        live = self.get(target)
        resource = target.resource
        before = ownership.plain_copy(live.doc)
        if media == "application/json-patch+json":
            doc = patches.json_patch(before, body)
        elif not is_object(body):
            raise bad_request(
                "error decoding patch: json: cannot unmarshal into Go value of type map"
            )
        elif media == "application/merge-patch+json":
            doc = patches.merge_patch(before, body)
        elif resource.custom:
            raise ApiError(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )
        else:
            schema = self.cluster.schema(resource)
            doc = patches.strategic_merge_patch(before, body, schema)
        doc = decode(call, doc, resource, self.cluster)
        if doc["metadata"].get("name") != target.name:
            raise bad_request(
                f"the name of the object ({doc['metadata'].get('name', '')}) does not match the name "
                f"on the URL ({target.name})"
            )
        self._check_version(doc, live, target, must=False)
        return self.replace(call, live, doc)

    def apply(self, call: Call, body: Any) -> Outcome:
        target, resource = call.target, call.target.resource
        if not call.query.get("fieldManager"):
            cause = required("fieldManager", "is required for apply patch")
            raise invalid(Subject("meta.k8s.io", "patchoptions", "PatchOptions"), [cause])
        config = decode(call, body, resource, self.cluster)
        place(config, target)
        if "managedFields" in config["metadata"]:
            raise bad_request("metadata.managedFields must be nil")
        schema = self.cluster.schema(resource)
        who = Who(call.manager, resource.api_version, call.timestamp, target.subresource, "Apply")
        live = self.keyspace.get(*target.key)
        if live is None:
            if target.subresource:
                raise not_found(resource.about(target.name))
            _, entries = ownership.apply(_empty(config), config, schema, who, force=True)
            return self.insert(call, config, entries)
        self._check_version(config, live, target, must=False)
        config = applicable(config, target)
        config["metadata"].pop("resourceVersion", None)
        doc, entries = ownership.apply(live.doc, config, schema, who, force=call.flag("force"))
        doc = ownership.plain_copy(doc)
        # What was taken out may leave empty lists and maps behind, which Go leaves out.
        prune(doc, resource, self.cluster)
        return self.replace(call, live, doc, entries)


def _restore(doc: Document, old: Document, keys: Iterable[str]) -> None:
    """Make these members what they were."""
    for key in keys:
        doc.pop(key, None)
        if key in old:
            doc[key] = old[key]


def _empty(config: Document) -> Document:
    return {"kind": config["kind"], "apiVersion": config["apiVersion"], "metadata": {}}
