"""What all parts of the API server share: keyspace, registry, schemas and the record of effects."""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from windlass.lab.kubernetes.calls import Call, Target
from windlass.lab.kubernetes.crds import CustomKinds
from windlass.lab.kubernetes.documents import Document, section
from windlass.lab.kubernetes.keyspace import Keyspace, Stored
from windlass.lab.kubernetes.resources import Registry, Resource
from windlass.lab.kubernetes.schema import Schema, definitions, minor_of
from windlass.lab.kubernetes.status import Cause, forbidden, not_found
from windlass.lab.oplog import Actor
from windlass.lab.world import World

# Too many, and nobody's decision.
_NOISE = {"Event", "Lease", "EndpointSlice", "Endpoints"}


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Outcome:
    """An answer: a stored object, or a document that is none. `code` is the HTTP status."""

    stored: Stored | None = None
    doc: Document | None = None
    code: int = 200


@dataclass
class Cluster:
    """One cluster's state; `version` is what the API server reports to be."""

    world: World
    version: str
    keyspace: Keyspace
    registry: Registry
    custom: CustomKinds
    available: Callable[[], bool] = field(default=_always)

    @classmethod
    def open(cls, world: World, version: str) -> "Cluster":
        keyspace = Keyspace(world.store)
        registry = Registry()
        return cls(world, version, keyspace, registry, CustomKinds(keyspace, registry))

    @property
    def minor(self) -> str:
        return minor_of(self.version)

    def wipe(self) -> None:
        self.keyspace.wipe()
        self.custom.forget()

    def schema(self, resource: Resource) -> Schema:
        if resource.custom:
            return self.custom.schema(resource, self.minor)
        return definitions(self.minor).get(resource.definition)

    def check_namespace(self, target: Target) -> None:
        """New objects need a namespace that is there and stays."""
        if not target.namespace or target.resource.kind == "Namespace":
            return
        space = self.keyspace.get("/namespaces", "", target.namespace)
        if space is None:
            about = self.registry.get("", "v1", "namespaces")
            assert about is not None  # the table has it
            raise not_found(about.about(target.namespace))
        if "deletionTimestamp" in space.doc["metadata"]:
            cause = Cause(
                "NamespaceTerminating",
                f"namespace {target.namespace} is being terminated",
                "metadata.namespace",
            )
            why = (
                f"unable to create new content in namespace {target.namespace} "
                "because it is being terminated"
            )
            raise forbidden(target.resource.about(target.name), why, [cause])

    def put(self, call: Call, target: Target, doc: Document) -> Stored:
        """Store an object and record it, or show what a dry run would have stored."""
        if call.dry_run:
            return self.unstored(target, doc)
        before = self.keyspace.get(*target.key)
        stored = self.keyspace.put(*target.key, ordered(doc))
        self.record(call, target, before, stored)
        return stored

    def unstored(self, target: Target, doc: Document) -> Stored:
        """An answer that shows an object as nobody keeps it."""
        doc = ordered(doc)
        doc["metadata"].setdefault("resourceVersion", str(self.keyspace.revision))
        tail = orjson.dumps({k: v for k, v in doc.items() if k not in ("kind", "apiVersion")})
        return Stored(target.namespace or "", target.name, doc, 0, tail[1:])

    def record(
        self, call: Call, target: Target, before: Stored | None, after: Stored | None
    ) -> None:
        """Write an effect that takes place into the oplog, unless it is a heartbeat."""
        kind = target.resource.kind
        if kind in _NOISE or target.subresource == "status":
            return
        where = f"{target.namespace}/" if target.namespace else ""
        self.world.oplog.append(
            f"kubernetes.{call.verb}",
            f"{kind}/{where}{target.name}",
            before=_summary(before),
            after=_summary(after),
            actor=Actor.of_user_agent(call.user_agent),
        )


_FIRST = ("kind", "apiVersion", "metadata", "spec")


def ordered(doc: Document) -> Document:
    """Members in the order people expect, status last."""
    first = {key: doc[key] for key in _FIRST if key in doc}
    last = {"status": doc["status"]} if "status" in doc else {}
    return {**first, **{k: v for k, v in doc.items() if k not in first and k != "status"}, **last}


def _summary(stored: Stored | None) -> Document | None:
    if stored is None:
        return None
    metadata = stored.doc["metadata"]
    found: Document = {"resourceVersion": metadata["resourceVersion"]}
    if "deletionTimestamp" in metadata:
        found["deletionTimestamp"] = metadata["deletionTimestamp"]
    if stored.doc["kind"] == "Node":
        found["unschedulable"] = bool(section(stored.doc, "spec").get("unschedulable"))
    return found
