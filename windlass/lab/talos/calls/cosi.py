"""The resources of a machine over the COSI API: read, list, watch; writing is refused."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from google.protobuf.timestamp_pb2 import Timestamp
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from windlass.lab.talos.definitions import BY_TYPE
from windlass.lab.talos.machine import Boot, Machine
from windlass.lab.talos.resources import Described, describe
from windlass.lab.talos.rpc import ADMIN, READER, Call, answers
from windlass.lab.talos.services import stamp
from windlass.protos.talosapi import cosi_pb2 as pb

State = "/cosi.resource.State/"


@dataclass
class Version:
    """One resource as it was last seen: its spec, its version and when it got them."""

    spec: pb.Spec
    number: int
    created: Timestamp
    updated: Timestamp
    source: Described = field(repr=False)

    def message(self) -> pb.Resource:
        kind = BY_TYPE[self.source.type]
        metadata = pb.Metadata(
            namespace=kind.namespace, type=kind.type, id=self.source.id, version=str(self.number),
            owner=f"{kind.display}Controller", phase="running", created=self.created, updated=self.updated,
            annotations=dict(self.source.annotations),
        )  # fmt: skip
        return pb.Resource(metadata=metadata, spec=self.spec)


class Memory:
    """Versions of all resources of one boot; a resource that changed has a higher one."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[str, Version]] = {}

    def refresh(self, machine: Machine, kind: str) -> dict[str, Version]:
        """The resources of this kind as they are now, by id."""
        now, known = stamp(machine.fleet.world.clock.time()), self._versions.get(kind, {})
        fresh: dict[str, Version] = {}
        for resource in describe(machine, kind):
            spec = pb.Spec(proto_spec=resource.proto_spec(), yaml_spec=resource.yaml_spec())
            before = known.get(resource.id)
            if before is None:
                fresh[resource.id] = Version(spec, 1, now, now, resource)
            elif before.spec != spec:
                fresh[resource.id] = Version(spec, before.number + 1, before.created, now, resource)
            else:
                fresh[resource.id] = before
        self._versions[kind] = fresh
        return fresh


_memories: WeakKeyDictionary[Boot, Memory] = WeakKeyDictionary()


def resources(machine: Machine, kind: str) -> dict[str, Version]:
    """All resources of one kind of a machine as they are now, by id."""
    if machine.boot is None:
        raise GRPCError(Status.UNAVAILABLE, "error reading from server: EOF")
    return _memories.setdefault(machine.boot, Memory()).refresh(machine, kind)


def _check(call: Call[pb.GetRequest] | Call[pb.ListRequest] | Call[pb.WatchRequest]) -> None:
    kind = BY_TYPE.get(call.request.type)
    if kind is None:
        text = f'resource type "{call.request.type}" is not supported'
        raise GRPCError(Status.PERMISSION_DENIED, text)
    if kind.namespace != call.request.namespace:
        raise GRPCError(
            Status.PERMISSION_DENIED, f'namespace "{call.request.namespace}" is not supported'
        )
    if kind.is_sensitive and not call.caller.has(ADMIN):
        raise GRPCError(Status.PERMISSION_DENIED, "not authorized")


@answers(f"{State}Get", READER, in_old_maintenance=True)
async def get(call: Call[pb.GetRequest]) -> pb.GetResponse:
    _check(call)
    request = call.request
    found = resources(call.machine, request.type).get(request.id)
    if found is None:
        name = f"{request.type}({request.namespace}/{request.id}@undefined)"
        raise GRPCError(Status.NOT_FOUND, f"resource {name} doesn't exist")
    return pb.GetResponse(resource=found.message())


@answers(f"{State}List", READER, in_old_maintenance=True)
async def list_(call: Call[pb.ListRequest]) -> AsyncIterator[pb.ListResponse]:
    _check(call)
    options = call.request.options
    if options.label_query:
        raise GRPCError(Status.UNIMPLEMENTED, "the lab has no label queries")
    wanted = re.compile(options.id_query.regexp)
    for name, version in resources(call.machine, call.request.type).items():
        if wanted.search(name):
            yield pb.ListResponse(resource=version.message())


@answers(f"{State}Watch", READER, in_old_maintenance=True)
async def watch(call: Call[pb.WatchRequest]) -> AsyncIterator[pb.WatchResponse]:
    """An empty message says that the watch stands; then what is, if asked for, then what changes."""
    _check(call)
    changed = asyncio.Event()
    stop = call.machine.watch(changed.set)
    try:
        yield pb.WatchResponse()
        seen = _selected(call)
        if call.request.HasField("id"):
            yield _first(call, seen)
        elif call.request.options.bootstrap_contents:
            for version in seen.values():
                yield _event(pb.Event.CREATED, version)
            if call.request.api_version:
                yield pb.WatchResponse(
                    event=[pb.Event(event_type=pb.Event.BOOTSTRAPPED, resource=pb.Resource())]
                )
        while True:
            await changed.wait()
            changed.clear()
            now = _selected(call)
            for response in _differences(seen, now):
                yield response
            seen = now
    finally:
        stop()


def _selected(call: Call[pb.WatchRequest]) -> dict[str, Version]:
    request = call.request
    found = resources(call.machine, request.type)
    if not request.HasField("id"):
        return found
    return {request.id: found[request.id]} if request.id in found else {}


def _first(call: Call[pb.WatchRequest], seen: dict[str, Version]) -> pb.WatchResponse:
    """A watch of one resource begins with it, or with the tombstone of what is not there."""
    if seen:
        return _event(pb.Event.CREATED, next(iter(seen.values())))
    request = call.request
    metadata = pb.Metadata(
        namespace=request.namespace,
        type=request.type,
        id=request.id,
        version="undefined",
        phase="running",
    )
    gone = pb.Resource(metadata=metadata, spec=pb.Spec(yaml_spec="{}"))
    return pb.WatchResponse(event=[pb.Event(event_type=pb.Event.DESTROYED, resource=gone)])


def _event(kind: pb.Event.Type, version: Version, old: Version | None = None) -> pb.WatchResponse:
    before = old.message() if old is not None else None
    return pb.WatchResponse(
        event=[pb.Event(event_type=kind, resource=version.message(), old=before)]
    )


def _differences(old: dict[str, Version], new: dict[str, Version]) -> Iterable[pb.WatchResponse]:
    gone = (_event(pb.Event.DESTROYED, old[key]) for key in old if key not in new)
    fresh = (
        _event(pb.Event.UPDATED if key in old else pb.Event.CREATED, version, old.get(key))
        for key, version in new.items()
        if key not in old or old[key].number != version.number
    )
    return itertools.chain(gone, fresh)


async def _refuse(_call: Call[pb.WriteRequest]) -> pb.WriteResponse:
    raise GRPCError(Status.PERMISSION_DENIED, "write access is not allowed")


for _name in ("Create", "Update", "Destroy"):
    answers(f"{State}{_name}", READER)(_refuse)
