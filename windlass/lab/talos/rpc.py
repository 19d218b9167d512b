"""Which calls the lab's machines answer, who may make them, and how an answer is wrapped.

Modules named `calls_*` register their functions here by decorator. A function gets a `Call` and returns the element of
the answer (or yields messages); the wrapping, the roles and the forwarding are the same for all.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpclib.const import Cardinality

from windlass.lab.oplog import Actor
from windlass.protos.talosapi import (
    cluster_pb2,
    cosi_pb2,
    lifecycle_pb2,
    machine_pb2,
    storage_pb2,
    time_pb2,
)

if TYPE_CHECKING:
    from windlass.lab.talos.machine import Machine

Req = TypeVar("Req", bound=Message)

MACHINE = "/machine.MachineService/"

ADMIN = frozenset({"os:admin"})
OPERATOR = ADMIN | {"os:operator"}
BACKUP = OPERATOR | {"os:etcd:backup"}
READER = OPERATOR | {"os:reader"}
ETCD_READER = READER | BACKUP

# Services that apid proxies to several nodes at once.
ONE_TO_MANY = frozenset(
    {
        "machine.MachineService",
        "cluster.ClusterService",
        "storage.StorageService",
        "time.TimeService",
    }
)
_SERVICES: tuple[ServiceDescriptor, ...] = tuple(
    service
    for module in (machine_pb2, lifecycle_pb2, storage_pb2, time_pb2, cluster_pb2, cosi_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)


@dataclass(frozen=True)
class Caller:
    """Who calls: roles from the certificate, the actor from the client's own words."""

    roles: frozenset[str]
    actor: Actor

    def has(self, allowed: frozenset[str]) -> bool:
        return bool(self.roles & allowed)


@dataclass(frozen=True)
class Call(Generic[Req]):
    """One call as the machine that answers it sees it. `uploads` is the rest of a client stream."""

    machine: "Machine"
    request: Req
    caller: Caller
    uploads: AsyncIterator[Req] | None = None
    # The connection breaks instead of carrying the answer.
    is_lost: bool = False


Handler = Callable[[Call[Any]], Awaitable[Message] | AsyncIterator[Message]]


@dataclass
class Method:
    """One method of the wire format; `handler` None: the lab lacks it and says so."""

    service: str
    name: str
    uploads: bool
    streams: bool
    request: type[Message]
    reply: type[Message]
    roles: frozenset[str] = ADMIN
    handler: Handler | None = None
    since: tuple[int, int] = (1, 0)
    # Answered in maintenance mode by the separate server that versions up to 1.12 have.
    in_old_maintenance: bool = field(default=False)

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"

    @property
    def cardinality(self) -> Cardinality:
        return Cardinality((self.uploads, self.streams))

    @property
    def element(self) -> type[Message] | None:
        """What the field `messages` of the answer repeats; None for an answer that has none."""
        fields: Any = self.reply.DESCRIPTOR.fields_by_name
        if self.streams or "messages" not in fields:
            return None
        return GetMessageClass(fields["messages"].message_type)


def _method(service: ServiceDescriptor, method: MethodDescriptor) -> Method:
    since = (1, 13) if service.name in {"ImageService", "LifecycleService"} else (1, 0)
    return Method(
        service.full_name,
        method.name,
        method.client_streaming,
        method.server_streaming,
        GetMessageClass(method.input_type),
        GetMessageClass(method.output_type),
        since=since,
    )


METHODS: dict[str, Method] = {
    method.path: method
    for service in _SERVICES
    for method in (_method(service, described) for described in service.methods)
}
SERVICES = frozenset(method.service for method in METHODS.values())

F = TypeVar("F", bound=Callable[..., Any])


def answers(
    path: str, roles: frozenset[str], *, in_old_maintenance: bool = False
) -> Callable[[F], F]:
    """The decorated function answers `/service/Method` for callers with one of `roles`."""

    def register(function: F) -> F:
        method = METHODS[path]
        method.handler = function
        method.roles = roles
        method.in_old_maintenance = in_old_maintenance
        return function

    return register
