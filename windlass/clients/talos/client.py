"""One Talos machine: gRPC on grpclib, since only Python's own TLS takes Talos' Ed25519 certificates.

A client dials its machine directly and proves that it is the one: by the site's authority, or in maintenance, where
there is none yet, by the fingerprint of its certificate. Calls: https://docs.siderolabs.com/talos (API reference).
"""

import asyncio
import io
import tarfile
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import yaml
from google.protobuf.empty_pb2 import Empty
from grpclib.events import SendRequest, listen
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from windlass.clients.talos.channel import (
    NotConfiguredError,
    NotConnectedError,
    PinnedChannel,
    WrongCertificateError,
    authenticated,
    maintenance,
)
from windlass.clients.talos.verdict import verdict
from windlass.errors import (
    AmbiguousError,
    NotReadyError,
    PreflightError,
    RefusedError,
    UnreachableError,
    WindlassError,
)
from windlass.models.talos import (
    ApplyMode,
    ApplyResult,
    EtcdMember,
    EtcdStatus,
    MachineIdentity,
    MachineStatus,
    RebootMode,
    ServerTime,
    Service,
    TalosCredentials,
    TalosDisk,
    TalosVersionInfo,
)
from windlass.protos.talosapi import cosi_pb2, machine_pb2
from windlass.protos.talosapi.cosi_grpc import StateStub
from windlass.protos.talosapi.machine_grpc import MachineServiceStub
from windlass.protos.talosapi.storage_grpc import StorageServiceStub
from windlass.protos.talosapi.time_grpc import TimeServiceStub

T = TypeVar("T")

Apply = machine_pb2.ApplyConfigurationRequest
APPLY_MODES: dict[ApplyMode, Apply.Mode] = {
    "auto": Apply.AUTO,
    "no-reboot": Apply.NO_REBOOT,
    "staged": Apply.STAGED,
    "try": Apply.TRY,
}
MODE_NAMES = {number: name for name, number in APPLY_MODES.items()} | {Apply.REBOOT: "reboot"}
REBOOT_MODES: dict[RebootMode, machine_pb2.RebootRequest.Mode] = {
    "default": machine_pb2.RebootRequest.DEFAULT,
    "powercycle": machine_pb2.RebootRequest.POWERCYCLE,
    "force": machine_pb2.RebootRequest.FORCE,
}
# The image factory names what an image was made from as if it were one of its extensions.
SCHEMATIC = "schematic"


class TalosClient:
    """One machine; the caller closes it. Every call has a total deadline: `probe` reads, `call` changes."""

    def __init__(  # noqa: PLR0913 - where, who it must be, who we are, how long
        self,
        host: str,
        port: int,
        *,
        node_address: str | None,
        credentials: TalosCredentials | None,
        pins: Collection[str] = (),
        agent: str,
        probe: timedelta,
        call: timedelta,
    ) -> None:
        self._where = node_address or host
        self._agent = agent
        self._probe, self._call = probe.total_seconds(), call.total_seconds()
        self._may_write = credentials is not None or bool(pins)
        context = maintenance() if credentials is None else authenticated(credentials)
        self._runner = asyncio.Runner()
        self._channel = self._runner.run(self._open(host, port, PinnedChannel.to(context, pins)))
        self._machine = MachineServiceStub(self._channel)
        self._state = StateStub(self._channel)

    async def _open(
        self, host: str, port: int, make: Callable[..., PinnedChannel]
    ) -> PinnedChannel:
        channel = make(host, port, server_hostname=self._where)

        async def say_who(event: SendRequest) -> None:
            event.metadata["windlass-agent"] = self._agent

        listen(channel, SendRequest, say_who)
        return channel

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        try:
            self._runner.run(self._channel.finish())
        finally:
            self._runner.close()

    # Reading

    def fingerprint(self) -> str:
        """The certificate's fingerprint as Talos prints it on its console: base64 of SHA-256 of the public key."""
        self._read("connect", _nothing)
        return self._channel.seen

    def version(self) -> TalosVersionInfo:
        """What runs. A machine of 1.12 does not say it in maintenance: RefusedError."""
        reply = self._read("Version", lambda: self._machine.Version(Empty()))
        found = _one(reply.messages)
        return TalosVersionInfo(
            tag=found.version.tag,
            arch=found.version.arch,
            platform=found.platform.name,
            mode=found.platform.mode,
        )

    def machine_status(self) -> MachineStatus:
        spec = self._resource("runtime", "MachineStatuses.runtime.talos.dev", "machine")
        status: dict[str, Any] = spec.get("status") or {}
        unmet: list[dict[str, Any]] = status.get("unmetConditions") or []
        return MachineStatus(
            stage=str(spec.get("stage", "unknown")),
            ready=bool(status.get("ready")),
            unmet=tuple(f"{one.get('name')}: {one.get('reason')}" for one in unmet),
        )

    def identity(self) -> MachineIdentity:
        """UUID and MACs, readable in maintenance too."""
        system = self._resource(
            "hardware", "SystemInformations.hardware.talos.dev", "systeminformation"
        )
        links = self._resources("network", "LinkStatuses.net.talos.dev")
        macs = {str(link.get("hardwareAddr") or "").lower() for link in links}
        return MachineIdentity(str(system.get("uuid") or "").lower(), frozenset(macs - {""}))

    def disks(self) -> tuple[TalosDisk, ...]:
        storage = StorageServiceStub(self._channel)
        reply = self._read("Disks", lambda: storage.Disks(Empty()))
        return tuple(
            TalosDisk(
                device=disk.device_name,
                size=disk.size,
                model=disk.model,
                serial=disk.serial,
                system=disk.system_disk,
                readonly=disk.readonly,
            )
            for disk in _one(reply.messages).disks
        )

    def services(self) -> tuple[Service, ...]:
        reply = self._read("ServiceList", lambda: self._machine.ServiceList(Empty()))
        return tuple(
            Service(
                id=found.id,
                state=found.state,
                healthy=found.health.healthy or found.health.unknown,
                message=found.health.last_message,
                events=tuple(event.msg for event in found.events.events),
            )
            for found in _one(reply.messages).services
        )

    def etcd_members(self) -> tuple[EtcdMember, ...]:
        """The members as this machine's own etcd knows them."""
        request = machine_pb2.EtcdMemberListRequest(query_local=True)
        reply = self._read("EtcdMemberList", lambda: self._machine.EtcdMemberList(request))
        return tuple(
            EtcdMember(m.id, m.hostname, tuple(m.peer_urls), m.is_learner)
            for m in _one(reply.messages).members
        )

    def etcd_status(self) -> EtcdStatus:
        reply = self._read("EtcdStatus", lambda: self._machine.EtcdStatus(Empty()))
        found = _one(reply.messages).member_status
        return EtcdStatus(
            member_id=found.member_id,
            leader=found.leader,
            is_learner=found.is_learner,
            db_size=found.db_size,
            db_size_in_use=found.db_size_in_use,
            raft_term=found.raft_term,
            raft_index=found.raft_index,
            raft_applied_index=found.raft_applied_index,
            version=found.storage_version,
            errors=tuple(found.errors),
        )

    def kubeconfig(self) -> str:
        """An administrator's kubeconfig, signed by this control plane; each call signs a new one."""

        async def collect() -> bytes:
            async with self._machine.Kubeconfig.open() as stream:
                await stream.send_message(Empty(), end=True)
                return b"".join([chunk.bytes async for chunk in stream])

        return _unpacked(self._read("Kubeconfig", collect))

    def boot_time(self) -> datetime:
        """When the kernel started; another value means that it rebooted."""
        reply = self._read("SystemStat", lambda: self._machine.SystemStat(Empty()))
        return datetime.fromtimestamp(_one(reply.messages).boot_time, UTC)

    def extensions(self) -> dict[str, str]:
        """The system extensions of the running image, name to version."""
        return {name: version for name, version in self._statuses().items() if name != SCHEMATIC}

    def schematic(self) -> str:
        """The id of the schematic that the running image was made from; empty for one that no factory made."""
        return self._statuses().get(SCHEMATIC, "")

    def server_time(self) -> ServerTime:
        """The machine's clock beside its time server's, which it asks for this."""
        service = TimeServiceStub(self._channel)
        found = _one(self._read("Time", lambda: service.Time(Empty())).messages)
        return ServerTime(
            server=found.server,
            local=found.localtime.ToDatetime(UTC),
            remote=found.remotetime.ToDatetime(UTC),
        )

    # Changing

    def apply_config(self, config: str, *, mode: ApplyMode, dry_run: bool = False) -> ApplyResult:
        """Hand the machine its config. The same config again changes nothing.

        Raises:
            RefusedError: it does not accept it; the message is Talos' own.
        """
        request = Apply(data=config.encode(), mode=APPLY_MODES[mode], dry_run=dry_run)
        run = self._read if dry_run else self._change
        reply = run("ApplyConfiguration", lambda: self._machine.ApplyConfiguration(request))
        said = _one(reply.messages)
        return ApplyResult(
            mode=MODE_NAMES.get(said.mode, str(said.mode)),
            details=said.mode_details,
            warnings=tuple(said.warnings),
        )

    def bootstrap(self) -> None:
        """Begin a new etcd on this machine. Whether one exists anywhere is the caller's to know.

        Raises:
            NotReadyError: it does not take it yet; nothing was begun.
            RefusedError: it says that it has one (ALREADY_EXISTS), or is no control plane.
        """
        request = machine_pb2.BootstrapRequest()
        self._change("Bootstrap", lambda: self._machine.Bootstrap(request))

    def reboot(self, mode: RebootMode = "default") -> str:
        """Begin a reboot; the id of the actor in the machine's events."""
        request = machine_pb2.RebootRequest(mode=REBOOT_MODES[mode])
        reply = self._change("Reboot", lambda: self._machine.Reboot(request))
        return _one(reply.messages).actor_id

    # The wire

    def _statuses(self) -> dict[str, str]:
        found = self._resources("runtime", "ExtensionStatuses.runtime.talos.dev")
        named: list[dict[str, Any]] = [one.get("metadata") or {} for one in found]
        return {str(one.get("name")): str(one.get("version")) for one in named}

    def _resource(self, namespace: str, kind: str, name: str) -> dict[str, Any]:
        request = cosi_pb2.GetRequest(
            namespace=namespace, type=kind, id=name, options=cosi_pb2.GetOptions()
        )
        reply = self._read(f"Get {kind}", lambda: self._state.Get(request))
        return _parsed(reply.resource.spec.yaml_spec)

    def _resources(self, namespace: str, kind: str) -> list[dict[str, Any]]:
        request = cosi_pb2.ListRequest(
            namespace=namespace, type=kind, options=cosi_pb2.ListOptions()
        )

        async def collect() -> list[dict[str, Any]]:
            async with self._state.List.open() as stream:
                await stream.send_message(request, end=True)
                return [_parsed(reply.resource.spec.yaml_spec) async for reply in stream]

        return self._read(f"List {kind}", collect)

    def _read(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        return self._run(what, call, self._probe, UnreachableError)

    def _change(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        if not self._may_write:
            raise PreflightError(
                f"{self._where}: {what} needs the fingerprint that was seen before; nothing was sent"
            )
        return self._run(what, call, self._call, AmbiguousError)

    def _run(
        self,
        what: str,
        call: Callable[[], Awaitable[T]],
        seconds: float,
        unanswered: type[WindlassError],
    ) -> T:
        try:
            return self._runner.run(self._within(seconds, call))
        except NotConnectedError as error:
            raise UnreachableError(f"{self._where}: no connection for {what}: {error}") from error
        except NotConfiguredError as error:
            raise NotReadyError(f"{self._where}: {error}") from error
        except WrongCertificateError as error:
            raise RefusedError(f"{self._where}: {error}") from error
        except GRPCError as error:
            said = f"{self._where} answered {what} with {error.status.name}: {error.message}"
            raise verdict(what, error, unanswered)(said) from error
        except (OSError, TimeoutError, StreamTerminatedError, ProtocolError) as error:
            if self._channel.unwanted:
                raise RefusedError(
                    f"{self._where} wants another client certificate for {what}: {self._channel.alert}"
                ) from error
            why = str(error) or type(error).__name__
            raise unanswered(f"{self._where} did not answer {what}: {why}") from error

    async def _within(self, seconds: float, call: Callable[[], Awaitable[T]]) -> T:
        """The answer, in `seconds` all in all: the deadline of a gRPC call does not cover the connection under it."""
        async with asyncio.timeout(seconds) as deadline:
            try:
                await self._channel.__connect__()
            except asyncio.CancelledError:
                if deadline.expired():
                    raise NotConnectedError(f"none within {seconds:g} s") from None
                raise
            return await call()


async def _nothing() -> None:
    return None


def _one(messages: Collection[T]) -> T:
    """The only element of an answer that was not asked of several nodes."""
    if not messages:
        raise NotReadyError("the answer was empty")
    return next(iter(messages))


def _parsed(spec: str) -> dict[str, Any]:
    found: Any = yaml.safe_load(spec)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise NotReadyError(f"a resource that is no map: {type(found).__name__}")
    return found  # pyright: ignore[reportUnknownVariableType] - YAML is untyped until its fields are read


def _unpacked(archive: bytes) -> str:
    """The kubeconfig in the archive. Talos does not terminate it, so only the first member can be asked for."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            member = tar.next()
            content = tar.extractfile(member) if member and member.name == "kubeconfig" else None
            if content is not None:
                return content.read().decode()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise NotReadyError(f"the archive with the kubeconfig is broken: {error}") from error
    raise NotReadyError("the archive holds no kubeconfig")
