"""What a machine says as it goes along: events, logs, the kernel's log, files."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from windlass.lab.talos.machine import Machine
from windlass.lab.talos.rpc import ADMIN, MACHINE, READER, Call, answers
from windlass.protos.talosapi import common_pb2
from windlass.protos.talosapi import machine_pb2 as pb

CHUNK = 1024
_XID = re.compile(r"^[0-9a-v]{20}$")


@answers(f"{MACHINE}Events", READER)
async def events(call: Call[pb.EventsRequest]) -> AsyncIterator[pb.Event]:
    request = call.request
    if request.tail_id and not _XID.match(request.tail_id):
        raise GRPCError(Status.UNKNOWN, "error parsing tail_id: xid: invalid ID")
    if request.tail_seconds:
        raise GRPCError(Status.UNIMPLEMENTED, "the lab has no tail_seconds of events")
    listening = call.machine.events.listen(
        request.tail_events, request.with_actor_id, request.tail_id
    )
    async with aclosing(listening) as stream:
        async for event in stream:
            yield event


@answers(f"{MACHINE}Dmesg", READER)
async def dmesg(call: Call[pb.DmesgRequest]) -> AsyncIterator[common_pb2.Data]:
    """One line a message. `tail` without `follow` is nothing."""
    machine = call.machine
    lines = list(machine.boot.kernel_log) if machine.boot is not None else []
    for line in [] if call.request.tail else lines:
        yield common_pb2.Data(bytes=line.encode())
    seen = len(lines)
    while call.request.follow and machine.boot is not None:
        await asyncio.sleep(machine.fleet.world.clock.real(1))
        fresh = list(machine.boot.kernel_log)[seen:]
        seen += len(fresh)
        for line in fresh:
            yield common_pb2.Data(bytes=line.encode())


@answers(f"{MACHINE}Logs", READER)
async def logs(call: Call[pb.LogsRequest]) -> AsyncIterator[common_pb2.Data]:
    """The log of a service is what its states were: the lab's services write nothing else."""
    request, machine = call.request, call.machine
    if not request.namespace:
        raise GRPCError(Status.INVALID_ARGUMENT, "namespace can't be empty")
    if request.id not in machine.services:
        if request.namespace == "k8s.io":
            raise GRPCError(
                Status.UNIMPLEMENTED, "the lab has no logs of containers in the Talos API"
            )
        raise GRPCError(Status.UNKNOWN, f'log "{request.id}" was not registered')
    seen = 0
    while True:
        said = [f"{event.state}: {event.msg}\n" for event in machine.services[request.id].events]
        fresh = (
            said[seen:]
            if seen or request.tail_lines < 0
            else said[len(said) - min(len(said), request.tail_lines) :]
        )
        seen = len(said)
        for line in fresh:
            yield common_pb2.Data(bytes=line.encode())
        if not request.follow:
            return
        await asyncio.sleep(machine.fleet.world.clock.real(1))


def _files(machine: Machine) -> dict[str, str]:
    """The files of a machine that the lab can show."""
    return {
        "/proc/sys/kernel/random/boot_id": f"{machine.boot_id}\n",
        "/proc/sys/kernel/hostname": f"{machine.hostname}\n",
        "/sys/class/dmi/id/product_uuid": f"{machine.hardware.uuid}\n",
    }


@answers(f"{MACHINE}Read", ADMIN)
async def read(call: Call[pb.ReadRequest]) -> AsyncIterator[common_pb2.Data]:
    text = _files(call.machine).get(call.request.path)
    if text is None:
        raise GRPCError(Status.NOT_FOUND, f"stat {call.request.path}: no such file or directory")
    data = text.encode()
    for start in range(0, len(data), CHUNK):
        yield common_pb2.Data(bytes=data[start : start + CHUNK])
