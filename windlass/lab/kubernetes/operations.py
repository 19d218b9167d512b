"""What a call does to the keyspace: creation, update, patch, deletion, with the rules that hold for every kind."""

import secrets
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import orjson

from windlass.lab.kubernetes import admission, ownership, patches, status, structural
from windlass.lab.kubernetes.calls import Call, Target, rfc3339
from windlass.lab.kubernetes.cluster import Cluster
from windlass.lab.kubernetes.crds import STORAGE as DEFINITIONS
from windlass.lab.kubernetes.decoding import TypeMismatchError, cannot_handle, prune
from windlass.lab.kubernetes.documents import Document, entries, is_object, section
from windlass.lab.kubernetes.keyspace import Stored
from windlass.lab.kubernetes.ownership import Who
from windlass.lab.kubernetes.resources import Resource
from windlass.lab.kubernetes.schema import Schema
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

_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
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


@dataclass(frozen=True)
class Outcome:
    """An answer: a stored object, or a document that is none. `code` is the HTTP status."""

    stored: Stored | None = None
    doc: Document | None = None
    code: int = 200


class Operations:
    """The verbs that read and write single objects."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.keyspace = cluster.keyspace

    def get(self, target: Target) -> Stored:
        found = self.keyspace.get(*target.key)
        if found is None:
            raise not_found(target.resource.about(target.name))
        return found

    # Bodies

    def decode(self, call: Call, doc: Any, resource: Resource) -> Document:
        """Check and prune a whole object of its kind."""
        doc = self._typed(doc, resource)
        try:
            unknown = self._prune(doc, resource)
        except TypeMismatchError as error:
            raise cannot_handle(resource.kind, resource.version, str(error)) from error
        self._report_unknown(call, unknown, resource)
        metadata = doc.setdefault("metadata", {})
        for name in ("name", "namespace", "generateName"):
            if metadata.get(name) == "":
                del metadata[name]
        return doc

    def _prune(self, doc: Document, resource: Resource) -> list[str]:
        schema = self.cluster.schema(resource)
        if not resource.custom:
            return prune(doc, schema)
        metadata = doc.get("metadata")
        unknown = prune({"metadata": metadata}, Schema(kind="object", go=resource.kind, properties={
            "metadata": schema.properties["metadata"]
        })) if metadata else []  # fmt: skip
        return unknown + structural.prune(doc, schema)

    def _typed(self, doc: Any, resource: Resource) -> Document:
        if not is_object(doc):
            raise bad_request(
                f"the object provided is unrecognized (must be of type {resource.kind}): "
                "couldn't get version/kind; json parse error: json: cannot unmarshal "
                "into Go value of type struct"
            )
        kind = doc.pop("kind", None) or resource.kind
        api_version = doc.pop("apiVersion", None) or resource.api_version
        if kind != resource.kind:
            raise bad_request(
                f'{kind} in version "{api_version.rpartition("/")[2]}" cannot be handled as a '
                f"{resource.kind}: converting ({api_version}.{kind}) to "
                f"({resource.group or 'core'}.{resource.kind}): unknown conversion"
            )
        if api_version != resource.api_version:
            raise bad_request(
                "the API version in the data "
                f"({api_version}) does not match the expected API version ({resource.api_version})"
            )
        return {"kind": kind, "apiVersion": api_version, **doc}

    def _report_unknown(self, call: Call, unknown: list[str], resource: Resource) -> None:
        said = [f'unknown field "{path}"' for path in unknown]
        if not said:
            return
        if call.validation == "Strict":
            why = "strict decoding error: " + ", ".join(said)
            raise cannot_handle(resource.kind, resource.version, why)
        if call.validation == "Warn":
            call.warnings.extend(said)

    # Creation

    def create(self, call: Call, body: Any) -> Outcome:
        target = call.target
        doc = self.decode(call, body, target.resource)
        _place(doc, target)
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
        return Outcome(self._store(call, target, doc), code=201)

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

    def _store(self, call: Call, target: Target, doc: Document) -> Stored:
        doc = _ordered(doc)
        if call.dry_run:
            doc["metadata"].setdefault("resourceVersion", str(self.keyspace.revision))
            tail = orjson.dumps({k: v for k, v in doc.items() if k not in ("kind", "apiVersion")})
            return Stored(target.namespace or "", target.name, doc, 0, tail[1:])
        before = self.keyspace.get(*target.key)
        stored = self.keyspace.put(*target.key, doc)
        self.cluster.record(call, target, before, stored)
        return stored

    # Update

    def update(self, call: Call, body: Any) -> Outcome:
        target = call.target
        doc = self.decode(call, body, target.resource)
        _place(doc, target)
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
            self.cluster.record(call, target, live, None)
            self.keyspace.put(*target.key, _ordered(doc))
            gone = Outcome(self.keyspace.delete(*target.key))
            self._finish_definition(resource)
            return gone
        return Outcome(self._store(call, target, doc))

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
        doc = self.decode(call, doc, resource)
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
        config = self.decode(call, body, resource)
        _place(config, target)
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
        config = _applicable(config, target)
        config["metadata"].pop("resourceVersion", None)
        doc, entries = ownership.apply(live.doc, config, schema, who, force=call.flag("force"))
        doc = ownership.plain_copy(doc)
        # What was taken out may leave empty lists and maps behind, which Go leaves out.
        self._prune(doc, resource)
        return self.replace(call, live, doc, entries)

    # Deletion

    def delete(self, call: Call, options: Document) -> Outcome:
        target = call.target
        live = self.get(target)
        wanted = section(options, "preconditions")
        kind = target.resource.kind
        for key, word, perhaps in (
            ("uid", "UID", "deleted and then recreated"),
            ("resourceVersion", "ResourceVersion", "modified"),
        ):
            has = live.doc["metadata"][key]
            if wanted.get(key) and wanted[key] != has:
                raise conflict(
                    Subject("", kind, kind, target.name),
                    f"the {word} in the precondition ({wanted[key]}) does not match the {word} in record "
                    f"({has}). The object might have been {perhaps}",
                )
        return self.remove(call, live, options)

    def remove(self, call: Call, live: Stored, options: Document) -> Outcome:
        """Delete at once, or mark for deletion when somebody has to finish first."""
        target = replace(call.target, name=live.name, subresource="")
        call = replace(call, target=target)
        doc = ownership.plain_copy(live.doc)
        metadata = doc["metadata"]
        _set_propagation(metadata, options)
        if target.resource.kind == "CustomResourceDefinition" and not call.dry_run:
            self._clean_up(call, live, metadata)
        grace = admission.grace_seconds(doc, options)
        finalizing = bool(metadata.get("finalizers")) or admission.is_held(doc)
        if not grace and not finalizing:
            if not call.dry_run:
                self.cluster.record(call, target, live, None)
                self.keyspace.delete(*target.key)
                self._finish_definition(target.resource)
            return Outcome(doc=_deleted(target, live))
        self._mark(doc, live.doc, grace, call)
        if doc == live.doc:
            return Outcome(live)
        return Outcome(self._store(call, target, doc))

    def _clean_up(self, call: Call, live: Stored, metadata: Document) -> None:
        """A definition goes with its objects; while one is held by a finalizer, so is the definition."""
        for resource in self.cluster.custom.served_by(live.name)[:1]:
            for one in self.keyspace.objects(resource.storage):
                target = Target(resource, one.namespace or None, one.name)
                self.remove(replace(call, target=target), one, {})
            if self.keyspace.objects(resource.storage):
                metadata["finalizers"] = [*entries(metadata, "finalizers"), _CLEANUP]

    def _finish_definition(self, resource: Resource) -> None:
        """The last object of a definition that is being deleted is gone."""
        if not resource.custom or self.keyspace.objects(resource.storage):
            return
        doc = self.cluster.custom.definition(resource)
        if "deletionTimestamp" in doc["metadata"] and entries(doc["metadata"], "finalizers") == [
            _CLEANUP
        ]:
            self.keyspace.delete(DEFINITIONS, "", doc["metadata"]["name"])

    def _mark(self, doc: Document, old: Document, grace: int, call: Call) -> None:
        metadata = doc["metadata"]
        already = old["metadata"].get("deletionGracePeriodSeconds")
        if already is not None and grace >= already:
            return
        metadata["deletionTimestamp"] = rfc3339(call.now + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        if metadata.get("generation"):
            metadata["generation"] += 1
        admission.mark_deleted(doc)

    def delete_collection(
        self, call: Call, options: Document, selects: Callable[[Document], bool]
    ) -> list[Stored]:
        found = [one for one in self.keyspace.objects(*call.target.key[:1], call.target.namespace)
                 if selects(one.doc)]  # fmt: skip
        for live in found:
            target = replace(call.target, namespace=live.namespace or None, name=live.name)
            self.remove(replace(call, target=target), live, options)
        return found


def _restore(doc: Document, old: Document, keys: Iterable[str]) -> None:
    """Make these members what they were."""
    for key in keys:
        doc.pop(key, None)
        if key in old:
            doc[key] = old[key]


def _place(doc: Document, target: Target) -> None:
    """The path decides about name and namespace; a body that says otherwise is refused."""
    metadata = doc["metadata"]
    if target.name:
        said = metadata.get("name", "")
        if said != target.name:
            if said:
                raise bad_request(
                    f"the name of the object ({said}) does not match the name on the URL ({target.name})"
                )
            metadata["name"] = target.name
    if target.resource.namespaced:
        if metadata.get("namespace", target.namespace) != target.namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = target.namespace
    else:
        metadata.pop("namespace", None)


def _empty(config: Document) -> Document:
    return {"kind": config["kind"], "apiVersion": config["apiVersion"], "metadata": {}}


def _applicable(config: Document, target: Target) -> Document:
    """The part of an applied configuration that this endpoint may set."""
    if target.subresource == "status":
        kept = ("kind", "apiVersion", "metadata", "status")
        return {key: value for key, value in config.items() if key in kept}
    if "status" in target.resource.subresources:
        return {key: value for key, value in config.items() if key != "status"}
    return config


def _set_propagation(metadata: Document, options: Document) -> None:
    """Which finalizer keeps the object until the garbage collector has seen to its dependents."""
    policy = options.get("propagationPolicy")
    if policy is None and "orphanDependents" in options:
        policy = "Orphan" if options["orphanDependents"] else "Background"
    if policy is None:
        return
    wanted = {"Foreground": "foregroundDeletion", "Orphan": "orphan", "Background": None}
    if policy not in wanted:
        raise bad_request(
            f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "{policy}": '
            'supported values: "Background", "Foreground", "Orphan"'
        )
    others = [
        f for f in entries(metadata, "finalizers") if f not in ("foregroundDeletion", "orphan")
    ]
    finalizer = wanted[policy]
    if finalizer:
        others.append(finalizer)
    metadata["finalizers"] = others
    if not others:
        del metadata["finalizers"]


def _deleted(target: Target, live: Stored) -> Document:
    details = target.resource.about(target.name).details(uid=live.doc["metadata"]["uid"])
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }


_FIRST = ("kind", "apiVersion", "metadata", "spec")


def _ordered(doc: Document) -> Document:
    """Members in the order people expect, status last."""
    first = {key: doc[key] for key in _FIRST if key in doc}
    last = {"status": doc["status"]} if "status" in doc else {}
    return {**first, **{k: v for k, v in doc.items() if k not in first and k != "status"}, **last}
