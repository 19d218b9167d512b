"""The API port of one machine: TLS, who is calling, which node is meant, and the way there.

A machine that goes down closes its listener and every accepted connection; what it was asked through another machine
ends there with UNAVAILABLE.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from google.protobuf.message import Message
from grpclib import const
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from grpclib.server import Server, Stream
from multidict import MultiDict

from windlass.lab.oplog import Actor
from windlass.lab.talos.pki import is_client_only
from windlass.lab.talos.rpc import METHODS, ONE_TO_MANY, READER, SERVICES, Call, Caller, Method
from windlass.protos.talosapi import common_pb2

if TYPE_CHECKING:
    from windlass.lab.talos.machine import Machine

logger = logging.getLogger(__name__)

PORT = 50000
UNKNOWN_AUTHORITY = (
    "tls: failed to verify certificate: x509: certificate signed by unknown authority"
)
T = TypeVar("T")
GRPC = Stream[Any, Any]
_CODES = {
    Status.UNKNOWN: "Unknown", Status.CANCELLED: "Canceled", Status.INVALID_ARGUMENT: "InvalidArgument",
    Status.DEADLINE_EXCEEDED: "DeadlineExceeded", Status.NOT_FOUND: "NotFound", Status.ALREADY_EXISTS: "AlreadyExists",
    Status.PERMISSION_DENIED: "PermissionDenied", Status.RESOURCE_EXHAUSTED: "ResourceExhausted",
    Status.FAILED_PRECONDITION: "FailedPrecondition", Status.ABORTED: "Aborted", Status.OUT_OF_RANGE: "OutOfRange",
    Status.UNIMPLEMENTED: "Unimplemented", Status.INTERNAL: "Internal", Status.UNAVAILABLE: "Unavailable",
    Status.DATA_LOSS: "DataLoss", Status.UNAUTHENTICATED: "Unauthenticated",
}  # fmt: skip


class ConnectionLostError(Exception):
    """Raised by a call whose connection breaks before the answer is out."""


class _Paths(dict[str, const.Handler]):
    """Every path has a handler: grpclib's own answer to an unknown one is not valid gRPC for other clients."""

    def __init__(self, api: "Api") -> None:
        super().__init__()
        self._api = api

    def get(self, path: str, _default: Any = None) -> const.Handler:
        method = METHODS.get(path)
        if method is None:
            answer = partial(self._api.refuse_unknown, path)
            return const.Handler(
                answer, const.Cardinality.UNARY_UNARY, common_pb2.Data, common_pb2.Data
            )
        return const.Handler(
            partial(self._api.serve, method), method.cardinality, method.request, method.reply
        )


class _Server(Server):
    """A server that remembers what it accepted, because grpclib's own close leaves it open."""

    def __init__(self, api: "Api") -> None:
        super().__init__([])
        self._mapping = _Paths(api)
        self.accepted: list[H2Protocol] = []

    def _protocol_factory(self) -> H2Protocol:
        protocol = super()._protocol_factory()
        self.accepted = [p for p in self.accepted if not _is_gone(p)]
        self.accepted.append(protocol)
        return protocol

    def abort(self) -> None:
        self.close()
        for transport in filter(None, map(_open_transport, self.accepted)):
            transport.abort()


# grpclib keeps its transports private and drops lost ones; only these three functions reach for them.
def _open_transport(protocol: H2Protocol) -> asyncio.Transport | None:
    transport = getattr(getattr(protocol, "connection", None), "_transport", None)
    return None if transport is None or transport.is_closing() else transport


def _is_gone(protocol: H2Protocol) -> bool:
    """Lost, as opposed to not made yet."""
    return hasattr(protocol, "connection") and _open_transport(protocol) is None


def _transport(stream: GRPC) -> asyncio.Transport:
    return stream._stream.connection._transport  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


@dataclass(frozen=True)
class Gate:
    """How the port is open: in maintenance mode anybody may read and nothing is forwarded."""

    context: ssl.SSLContext
    is_maintenance: bool


class Api:
    """The port of one machine. Open while the machine's API service runs."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self._server: _Server | None = None
        self._gate: Gate | None = None
        self.closed = asyncio.Event()
        self.closed.set()

    @property
    def is_open(self) -> bool:
        return self._server is not None

    @property
    def is_maintenance(self) -> bool:
        return self._gate is not None and self._gate.is_maintenance

    async def open(self, address: str, gate: Gate) -> None:
        """Raises OSError while somebody else has the address."""
        await self.close()
        server = _Server(self)
        await server.start(address, PORT, ssl=gate.context, reuse_address=True)
        self._server, self._gate, self.closed = server, gate, asyncio.Event()

    async def close(self) -> None:
        """Nobody is answered any more, and everybody notices at once."""
        server, self._server = self._server, None
        self.closed.set()
        if server is not None:
            server.abort()
            await server.wait_closed()

    async def refuse_unknown(self, path: str, stream: GRPC) -> None:
        await stream.recv_message()
        service, _, name = path.strip("/").rpartition("/")
        if service in SERVICES:
            raise GRPCError(Status.UNIMPLEMENTED, f"unknown method {name} for service {service}")
        raise GRPCError(Status.UNIMPLEMENTED, f"unknown service {service}")

    async def serve(self, method: Method, stream: GRPC) -> None:
        """Answer one call: here, at another machine, or at several."""
        faults, node = self._machine.fleet.world.faults, self._machine.label
        if faults.fires("talos-hang", node=node, method=method.name):
            await asyncio.Event().wait()
        lost = faults.fires("talos-reset-connection", node=node, method=method.name)
        try:
            if lost is not None and lost.args.get("when", "before") == "before":
                raise ConnectionLostError  # noqa: TRY301 - one way out for all that breaks
            await self._dispatch(method, stream, self._caller(stream), is_lost=lost is not None)
        except ConnectionLostError:
            _transport(stream).abort()

    def _caller(self, stream: GRPC) -> Caller:
        metadata = stream.metadata if stream.metadata is not None else MultiDict[str | bytes]()
        agent = str(metadata.get("windlass-agent") or stream.user_agent or "unknown")
        actor = Actor.of_user_agent(agent)
        if self.is_maintenance:
            return Caller(frozenset({"os:reader"}), actor)
        peer = _transport(stream).get_extra_info("ssl_object")
        if not is_client_only(peer.getpeercert(True)):
            raise ConnectionLostError
        subject: Any = (stream.peer.cert() or {}).get("subject", ())
        roles = frozenset(
            value for part in subject for key, value in part if key == "organizationName"
        )
        return Caller(roles, actor)

    async def _dispatch(
        self, method: Method, stream: GRPC, caller: Caller, *, is_lost: bool
    ) -> None:
        nodes, is_single = self._targets(method, stream)
        first = await stream.recv_message()
        if first is None:
            raise GRPCError(Status.INTERNAL, "no request")
        uploads = aiter(stream) if method.uploads else None
        call = Call(self._machine, first, caller, uploads, is_lost)
        if not nodes:
            await _one(method, call, stream, self.closed)
        elif is_single:
            target = await self._dial(nodes[0])
            await _one(method, replace(call, machine=target), stream, target.api.closed)
        else:
            await self._many(method, call, stream, nodes)

    def _targets(self, method: Method, stream: GRPC) -> tuple[list[str], bool]:
        """The nodes that are meant, and whether one node is meant to answer as if called directly."""
        if self.is_maintenance or stream.metadata is None:
            return [], False
        many = [str(node) for node in stream.metadata.getall("nodes", [])]
        one = [str(node) for node in stream.metadata.getall("node", []) if node]
        if many:
            if method.service not in ONE_TO_MANY:
                text = f"one-2-many proxying is not supported for method {method.path}"
                raise GRPCError(Status.INVALID_ARGUMENT, text)
            targets, is_single = many, False
        else:
            targets, is_single = one, True
            if len(one) > 1:
                raise GRPCError(Status.INVALID_ARGUMENT, "node metadata must be single-valued")
        foreign = [target for target in targets if target not in self._machine.names()]
        if foreign and not self._machine.may_forward:
            raise GRPCError(Status.PERMISSION_DENIED, "no request forwarding")
        return targets, is_single

    async def _dial(self, node: str) -> "Machine":
        """The machine behind an address, if its API can be reached from here.

        Raises GRPCError as a caller sees it through this machine.
        """
        if node in self._machine.names():
            return self._machine
        if ":" in node or "/" in node or not node:
            raise GRPCError(Status.INTERNAL, f'invalid target "{node}"')
        target, dialing = self._machine.fleet.find(node), 'connection error: desc = "transport: '
        if target is None or not target.is_up:
            await self._machine.fleet.world.clock.sleep(self._machine.latency.api_dial_timeout)
            text = f'{dialing}Error while dialing: dial tcp {node}:{PORT}: i/o timeout"'
            raise GRPCError(Status.UNAVAILABLE, text)
        if not target.api.is_open:
            text = f'{dialing}Error while dialing: dial tcp {node}:{PORT}: connect: connection refused"'
            raise GRPCError(Status.UNAVAILABLE, text)
        if target not in self._machine.fleet.peers(self._machine) or target.api.is_maintenance:
            text = f'{dialing}authentication handshake failed: {UNKNOWN_AUTHORITY}"'
            raise GRPCError(Status.UNAVAILABLE, text)
        return target

    async def _many(self, method: Method, call: Call[Any], stream: GRPC, nodes: list[str]) -> None:
        if method.uploads and len(nodes) > 1:
            raise GRPCError(
                Status.INVALID_ARGUMENT, "one-2-many proxying is not supported for client streams"
            )
        if method.streams:
            await _merge([self._stream_of(method, call, node) for node in nodes], stream)
            return
        elements = await asyncio.gather(*(self._element_of(method, call, node) for node in nodes))
        if call.is_lost:
            raise ConnectionLostError
        reply: Any = method.reply()
        reply.messages.extend(elements)
        await stream.send_message(reply)

    async def _element_of(self, method: Method, call: Call[Any], node: str) -> Message:
        try:
            target = await self._dial(node)
            element: Any = await _unary(method, replace(call, machine=target), target.api.closed)
        except GRPCError as error:
            element = cast(Any, method.element)(metadata=_failure(error))
        element.metadata.hostname = node
        return element

    async def _stream_of(
        self, method: Method, call: Call[Any], node: str
    ) -> AsyncGenerator[Message, None]:
        try:
            target = await self._dial(node)
            messages = _streaming(method, replace(call, machine=target), target.api.closed)
            async with aclosing(messages) as stream:
                async for message in stream:
                    named: Any = message
                    named.metadata.hostname = node
                    yield named
        except GRPCError as error:
            failed: Any = method.reply(metadata=_failure(error))
            failed.metadata.hostname = node
            yield failed


def _failure(error: GRPCError) -> common_pb2.Metadata:
    text = f"rpc error: code = {_CODES[error.status]} desc = {error.message or ''}"
    status = common_pb2.Status(code=error.status.value, message=error.message or "")
    return common_pb2.Metadata(error=text, status=status)


async def _one(method: Method, call: Call[Any], stream: GRPC, closed: asyncio.Event) -> None:
    if method.streams:
        async with aclosing(_streaming(method, call, closed)) as messages:
            async for message in messages:
                await stream.send_message(message)
        return
    element = await _unary(method, call, closed)
    if call.is_lost:
        raise ConnectionLostError
    reply: Any = element
    if method.element is not None:
        reply = method.reply()
        reply.messages.append(element)
    await stream.send_message(reply)


async def _unary(method: Method, call: Call[Any], closed: asyncio.Event) -> Message:
    handler = _allowed(method, call)
    return await _until(closed, cast(Awaitable[Message], handler))


async def _streaming(
    method: Method, call: Call[Any], closed: asyncio.Event
) -> AsyncGenerator[Message, None]:
    messages = cast(AsyncGenerator[Message, None], _allowed(method, call))
    async with aclosing(messages):
        while True:
            try:
                message = await _until(closed, anext(messages))
            except StopAsyncIteration:
                return
            yield message


def _allowed(method: Method, call: Call[Any]) -> Awaitable[Message] | AsyncIterator[Message]:
    """The started handler, if this machine has the method and the caller may use it."""
    machine = call.machine
    if machine.version < method.since:
        raise GRPCError(Status.UNIMPLEMENTED, f"unknown service {method.service}")
    if machine.api.is_maintenance and machine.version < (1, 13):
        if not method.in_old_maintenance:
            raise GRPCError(Status.UNIMPLEMENTED, "API is not implemented in maintenance mode")
    elif not call.caller.has(_roles(method, machine)):
        raise GRPCError(Status.PERMISSION_DENIED, "not authorized")
    if method.handler is None:
        raise GRPCError(Status.UNIMPLEMENTED, f"the lab has no {method.path.strip('/')}")
    return method.handler(call)


def _roles(method: Method, machine: "Machine") -> frozenset[str]:
    if machine.api.is_maintenance and method.name == "ApplyConfiguration":
        return READER
    return method.roles


async def _until(closed: asyncio.Event, work: Awaitable[T]) -> T:
    """What `work` returns, unless the machine that does it goes down first."""
    doing = asyncio.ensure_future(cast(Coroutine[Any, Any, T], work))
    ending = asyncio.ensure_future(closed.wait())
    try:
        await asyncio.wait({doing, ending}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
    finally:
        ending.cancel()
        if not doing.done():
            doing.cancel()
            await asyncio.wait({doing})
    raise GRPCError(Status.UNAVAILABLE, "error reading from server: EOF")


async def _merge(streams: list[AsyncGenerator[Message, None]], out: GRPC) -> None:
    queue: asyncio.Queue[Message | None] = asyncio.Queue(maxsize=16)

    async def pump(messages: AsyncGenerator[Message, None]) -> None:
        async with aclosing(messages):
            async for message in messages:
                await queue.put(message)
        await queue.put(None)

    async with asyncio.TaskGroup() as group:
        for messages in streams:
            group.create_task(pump(messages))
        left = len(streams)
        while left:
            message = await queue.get()
            if message is None:
                left -= 1
            else:
                await out.send_message(message)
