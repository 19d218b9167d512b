"""What a machine is doing: memory, mounts, load, services."""

import asyncio

from google.protobuf.empty_pb2 import Empty
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from windlass.lab.talos.resources import SYSTEM_PARTITIONS
from windlass.lab.talos.rpc import MACHINE, OPERATOR, READER, Call, answers
from windlass.protos.talosapi import machine_pb2 as pb

# What a fresh node uses of its memory, and how much of the rest counts as cache.
USED_SHARE = 0.35
CACHED_SHARE = 0.2
# The kernel and the initramfs keep this for themselves.
RESERVED_KIB = 96 * 1024


@answers(f"{MACHINE}Memory", READER)
async def memory(call: Call[Empty]) -> pb.Memory:
    total = call.machine.hardware.memory * 1024 - RESERVED_KIB
    used, cached = int(total * USED_SHARE), int(total * CACHED_SHARE)
    info = pb.MemInfo(
        memtotal=total,
        memfree=total - used - cached,
        memavailable=total - used,
        buffers=4096,
        cached=cached,
    )
    return pb.Memory(meminfo=info)


@answers(f"{MACHINE}Mounts", READER)
async def mounts(call: Call[Empty]) -> pb.Mounts:
    disk = call.machine.system_disk
    stats = [pb.MountStat(filesystem="tmpfs", size=1 << 26, available=1 << 26, mounted_on="/run")]
    if disk is not None:
        size = max(0, disk.size - SYSTEM_PARTITIONS)
        stats.append(
            pb.MountStat(
                filesystem=f"{disk.device}4", size=size, available=size * 4 // 5, mounted_on="/var"
            )
        )
    return pb.Mounts(stats=stats)


@answers(f"{MACHINE}SystemStat", READER)
async def system_stat(call: Call[Empty]) -> pb.SystemStat:
    machine = call.machine
    booted = machine.boot.time if machine.boot is not None else 0
    up = machine.fleet.world.clock.since(booted)
    cores = machine.hardware.cores
    each = pb.CPUStat(user=up * 0.05, system=up * 0.03, idle=up * 0.92)
    total = pb.CPUStat(user=each.user * cores, system=each.system * cores, idle=each.idle * cores)
    return pb.SystemStat(
        boot_time=int(booted),
        cpu_total=total,
        cpu=[each] * cores,
        process_created=1200,
        process_running=1,
    )


@answers(f"{MACHINE}LoadAvg", READER)
async def load_avg(call: Call[Empty]) -> pb.LoadAvg:
    busy = 0.2 * call.machine.hardware.cores
    return pb.LoadAvg(load1=busy, load5=busy, load15=busy)


@answers(f"{MACHINE}ServiceList", READER)
async def service_list(call: Call[Empty]) -> pb.ServiceList:
    return pb.ServiceList(services=[service.info() for service in call.machine.services])


def _controllable(call: Call[pb.ServiceRequest], operation: str) -> str:
    """The name of the service, if the API may do this to it."""
    name, machine = call.request.id, call.machine
    if name not in machine.services:
        raise GRPCError(Status.UNKNOWN, f'service "{name}" not defined')
    allowed = {"kubelet": {"start", "restart"}}.get(name, set[str]())
    if operation not in allowed and not name.startswith("ext-"):
        text = f'service "{name}" doesn\'t support {operation} operation via API'
        raise GRPCError(Status.UNKNOWN, text)
    return name


@answers(f"{MACHINE}ServiceStart", OPERATOR)
async def service_start(call: Call[pb.ServiceRequest]) -> pb.ServiceAction:
    name = _controllable(call, "start")
    if call.machine.services[name].state != "Running":
        call.machine.services.start(name, f"Started task {name}")
        call.machine.record("service_start", call.caller.actor, after=name)
    return pb.ServiceAction(resp=f'Service "{name}" started')


@answers(f"{MACHINE}ServiceStop", OPERATOR)
async def service_stop(call: Call[pb.ServiceRequest]) -> pb.ServiceAction:
    name = _controllable(call, "stop")
    call.machine.services.set(name, "Finished", "Service finished successfully")
    call.machine.record("service_stop", call.caller.actor, after=name)
    return pb.ServiceAction(resp=f'Service "{name}" stopped')


@answers(f"{MACHINE}ServiceRestart", OPERATOR)
async def service_restart(call: Call[pb.ServiceRequest]) -> pb.ServiceAction:
    name, machine = _controllable(call, "restart"), call.machine
    machine.services.set(name, "Stopping", f"Sending SIGTERM to task {name}")
    machine.services.set(name, "Finished", "Service finished successfully")
    machine.record("service_restart", call.caller.actor, after=name)
    await asyncio.sleep(machine.fleet.world.clock.real(1))
    machine.services.start(name, f"Started task {name}")
    return pb.ServiceAction(resp=f'Service "{name}" restarted')
