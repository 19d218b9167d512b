"""What changes a machine: configs, bootstrap, reboot, shutdown, reset, and credentials for others."""

import asyncio
import base64
import gzip
import io
import tarfile
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import yaml
from google.protobuf.empty_pb2 import Empty
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from windlass.lab.talos.apid import ConnectionLostError
from windlass.lab.talos.applying import apply
from windlass.lab.talos.calls.etcd import only_on_control_planes
from windlass.lab.talos.machine import Action, Machine
from windlass.lab.talos.pki import CLIENT, YEAR, Subject, issue
from windlass.lab.talos.rpc import ADMIN, MACHINE, OPERATOR, Call, answers
from windlass.protos.talosapi import common_pb2
from windlass.protos.talosapi import machine_pb2 as pb


@answers(f"{MACHINE}ApplyConfiguration", ADMIN, in_old_maintenance=True)
async def apply_configuration(call: Call[pb.ApplyConfigurationRequest]) -> pb.ApplyConfiguration:
    return apply(call)


@answers(f"{MACHINE}Bootstrap", ADMIN)
async def bootstrap(call: Call[pb.BootstrapRequest]) -> common_pb2.Empty:
    machine = call.machine
    if (
        machine.config is None
        or machine.stage not in {"booting", "running"}
        or not machine.services["cri"].is_ok
    ):
        raise GRPCError(Status.FAILED_PRECONDITION, "bootstrap is not available yet")
    if not machine.is_control_plane:
        if machine.version < (1, 13):
            raise GRPCError(
                Status.FAILED_PRECONDITION,
                "bootstrap can only be performed on a control plane node",
            )
        raise GRPCError(Status.UNIMPLEMENTED, "bootstrap is only available on control plane nodes")
    if machine.content.etcd is not None:
        raise GRPCError(Status.ALREADY_EXISTS, "etcd data directory is not empty")
    if call.request.recover_etcd:
        raise GRPCError(Status.UNIMPLEMENTED, "the lab has no recovery of etcd from a snapshot")
    data = machine.fleet.etcd.bootstrap(machine.group, machine.hostname, str(machine.loopback))
    machine.write(etcd=data)
    machine.services.set("etcd", "Finished", "Bootstrap requested")
    machine.services.set("etcd", "Preparing", "Running pre state")
    machine.bootstrapped.set()
    machine.record(
        "bootstrap",
        call.caller.actor,
        after={"cluster": machine.group, "etcd": data.cluster, "member": f"{data.member:016x}"},
    )
    if machine.fault("talos-bootstrap-after"):
        raise ConnectionLostError
    return common_pb2.Empty()


@answers(f"{MACHINE}Reboot", OPERATOR)
async def reboot(call: Call[pb.RebootRequest]) -> pb.Action:
    action = Action(
        "reboot", call.caller.actor, is_powercycle=call.request.mode == pb.RebootRequest.POWERCYCLE
    )
    return pb.Action(actor_id=_asked(call.machine, action))


@answers(f"{MACHINE}Shutdown", OPERATOR)
async def shutdown(call: Call[pb.ShutdownRequest]) -> pb.Action:
    action = Action("shutdown", call.caller.actor, boots_again=False)
    return pb.Action(actor_id=_asked(call.machine, action))


def _asked(machine: Machine, action: Action) -> str:
    """The machine goes down in a while; when that was decided is an effect of its own."""
    machine.record(f"{action.kind}_asked", action.actor, before=machine.boot_id)
    return machine.ask(action)


@answers(f"{MACHINE}Reset", ADMIN)
async def reset(call: Call[pb.ResetRequest]) -> pb.Action:
    request = call.request
    if request.user_disks_to_wipe or request.mode == pb.ResetRequest.USER_DISKS:
        raise GRPCError(Status.UNIMPLEMENTED, "the lab has no reset of user disks")
    labels = frozenset(part.label for part in request.system_partitions_to_wipe if part.wipe)
    if beyond := sorted(labels & {"META", "BOOT", "EFI"}):
        raise GRPCError(Status.UNIMPLEMENTED, f"the lab has no reset of {', '.join(beyond)}")
    for label in sorted(labels - {"STATE", "EPHEMERAL"}):
        raise GRPCError(
            Status.UNKNOWN,
            f'failed to get volume status with label "{label}": resource doesn\'t exist',
        )
    action = Action(
        "reset", call.caller.actor, wipe=labels, is_graceful=request.graceful, boots_again=request.reboot,
        is_powercycle=not labels,
    )  # fmt: skip
    return pb.Action(actor_id=_asked(call.machine, action))


@answers(f"{MACHINE}Kubeconfig", ADMIN)
async def kubeconfig(call: Call[Empty]) -> AsyncIterator[common_pb2.Data]:
    """A gzipped tar with one file, neither padded nor terminated, as Talos sends it."""
    machine = call.machine
    only_on_control_planes(machine, "kubeconfig")
    text = await asyncio.to_thread(_kubeconfig, machine)
    member = tarfile.TarInfo("kubeconfig")
    member.size, member.mode = len(text), 0o600
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as zipped:
        zipped.write(member.tobuf() + text)
    yield common_pb2.Data(bytes=packed.getvalue())


def _kubeconfig(machine: Machine) -> bytes:
    config = machine.config
    if config is None:
        raise GRPCError(Status.FAILED_PRECONDITION, "k8s API server CA config is not set")
    admin = issue(config.cluster_authority, Subject("admin", ("system:masters",)), [CLIENT], YEAR)
    name = config.cluster_name
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": name,
                    "cluster": {
                        "server": config.endpoint,
                        "certificate-authority-data": _b64(config.cluster_ca),
                    },
                }
            ],
            "users": [
                {
                    "name": f"admin@{name}",
                    "user": {
                        "client-certificate-data": _b64(admin.certificate_pem),
                        "client-key-data": _b64(admin.talos_key_pem),
                    },
                }
            ],
            "contexts": [
                {
                    "name": f"admin@{name}",
                    "context": {"cluster": name, "namespace": "default", "user": f"admin@{name}"},
                }
            ],
            "current-context": f"admin@{name}",
        },
        sort_keys=False,
    ).encode()


@answers(f"{MACHINE}GenerateClientConfiguration", ADMIN)
async def generate_client_configuration(
    call: Call[pb.GenerateClientConfigurationRequest],
) -> pb.GenerateClientConfiguration:
    machine, config = call.machine, call.machine.config
    only_on_control_planes(machine, "generate client configuration")
    if config is None:
        raise GRPCError(
            Status.UNIMPLEMENTED,
            "machine type is not set, cannot use generate client configuration API",
        )
    lifetime = timedelta(seconds=call.request.crt_ttl.seconds)
    if lifetime <= timedelta(0):
        raise GRPCError(Status.INVALID_ARGUMENT, "crt_ttl should be positive")
    roles = tuple(sorted(call.request.roles))
    client = issue(config.os_authority, Subject(None, roles), [CLIENT], lifetime)
    context = config.cluster_name
    if len(roles) == 1:
        context = f"{roles[0].removeprefix('os:')}@{context}"
    talosconfig: dict[str, Any] = {
        "context": context,
        "contexts": {
            context: {
                "endpoints": [],
                "ca": _b64(config.os_ca),
                "crt": _b64(client.certificate_pem),
                "key": _b64(client.talos_key_pem),
            }
        },
    }
    machine.record("client_certificate", call.caller.actor, after=list(roles))
    return pb.GenerateClientConfiguration(
        ca=config.os_ca, crt=client.certificate_pem, key=client.talos_key_pem,
        talosconfig=yaml.safe_dump(talosconfig, sort_keys=False).encode(),
    )  # fmt: skip


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
