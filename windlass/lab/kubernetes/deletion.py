"""How an object goes: at once, or when those who have to finish first are done."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

from windlass.lab.kubernetes import admission, ownership
from windlass.lab.kubernetes.calls import Call, Target, rfc3339
from windlass.lab.kubernetes.cluster import Cluster, Outcome
from windlass.lab.kubernetes.crds import STORAGE as DEFINITIONS
from windlass.lab.kubernetes.documents import Document, entries, section
from windlass.lab.kubernetes.keyspace import Stored
from windlass.lab.kubernetes.resources import Resource
from windlass.lab.kubernetes.status import (
    Cause,
    Subject,
    conflict,
    invalid,
    invalid_value,
    not_found,
    unsupported_value,
)

_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_FINALIZERS = {"Foreground": "foregroundDeletion", "Background": None, "Orphan": "orphan"}


class Deletions:
    """Deletion of single objects and of collections."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._keyspace = cluster.keyspace

    def delete(self, call: Call, options: Document) -> Outcome:
        target, call = call.target, as_asked(call, options)
        live = self._keyspace.get(*target.key)
        if live is None:
            raise not_found(target.resource.about(target.name))
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
                self._cluster.record(call, target, live, None)
                self._keyspace.delete(*target.key)
                self.finish_definition(target.resource)
            return Outcome(doc=_deleted(target, live))
        self._mark(doc, live.doc, grace, call)
        if doc == live.doc:
            return Outcome(live)
        return Outcome(self._cluster.put(call, target, doc))

    def _clean_up(self, call: Call, live: Stored, metadata: Document) -> None:
        """A definition goes with its objects; while one is held by a finalizer, so is the definition."""
        for resource in self._cluster.custom.served_by(live.name)[:1]:
            for one in self._keyspace.objects(resource.storage):
                target = Target(resource, one.namespace or None, one.name)
                self.remove(replace(call, target=target), one, {})
            if self._keyspace.objects(resource.storage):
                metadata["finalizers"] = [*entries(metadata, "finalizers"), _CLEANUP]

    def finish_definition(self, resource: Resource) -> None:
        """The last object of a definition that is being deleted is gone."""
        if not resource.custom or self._keyspace.objects(resource.storage):
            return
        doc = self._cluster.custom.definition(resource)
        if "deletionTimestamp" in doc["metadata"] and entries(doc["metadata"], "finalizers") == [
            _CLEANUP
        ]:
            self._keyspace.delete(DEFINITIONS, "", doc["metadata"]["name"])

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

    def of_collection(self, call: Call, options: Document, found: Iterable[Stored]) -> None:
        call = as_asked(call, options)
        for live in found:
            target = replace(call.target, namespace=live.namespace or None, name=live.name)
            self.delete(replace(call, target=target), options)


def options_of(call: Call, body: Document | None) -> Document:
    """DeleteOptions are in the body or, only without one, in the query."""
    if body:
        return body
    options: Document = {}
    if "propagationPolicy" in call.query:
        options["propagationPolicy"] = call.query["propagationPolicy"]
    if "orphanDependents" in call.query:
        options["orphanDependents"] = call.flag("orphanDependents")
    grace = call.number("gracePeriodSeconds")
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    if call.query.get("dryRun"):
        options["dryRun"] = [call.query["dryRun"]]
    return options


def as_asked(call: Call, options: Document) -> Call:
    """The call with the dry run that these options ask for, whatever its query says.

    Raises:
        ApiError: 422, the options make no sense.
    """
    causes = list(_wrong(options))
    if causes:
        raise invalid(Subject("meta.k8s.io", "deleteoptions", "DeleteOptions"), causes)
    asked = entries(options, "dryRun")
    return replace(call, query={**call.query, "dryRun": asked[0] if asked else ""})


def _wrong(options: Document) -> Iterator[Cause]:
    where, policy = "propagationPolicy", options.get("propagationPolicy")
    if policy is not None and options.get("orphanDependents") is not None:
        yield invalid_value(
            where, policy, "orphanDependents and deletionPropagation cannot be both set"
        )
    if policy is not None and policy not in _FINALIZERS:
        yield unsupported_value(where, policy, ("Foreground", "Background", "Orphan", "nil"))
    asked = entries(options, "dryRun")
    if any(one != "All" for one in asked):
        yield unsupported_value("dryRun", asked, ("All",))


def _set_propagation(metadata: Document, options: Document) -> None:
    """Which finalizer keeps the object until the garbage collector has seen to its dependents."""
    policy = options.get("propagationPolicy")
    if policy is None and options.get("orphanDependents") is not None:
        policy = "Orphan" if options["orphanDependents"] else "Background"
    if policy is None:
        return
    others = [
        f for f in entries(metadata, "finalizers") if f not in ("foregroundDeletion", "orphan")
    ]
    finalizer = _FINALIZERS[policy]
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
