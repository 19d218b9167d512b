"""Who a machine is: version, name, time, disks."""

from google.protobuf.empty_pb2 import Empty
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from windlass.lab.talos.rpc import READER, Call, answers
from windlass.lab.talos.services import stamp
from windlass.protos.talosapi import machine_pb2 as pb
from windlass.protos.talosapi import storage_pb2, time_pb2

TIME_SERVER = "time.cloudflare.com"


@answers("/machine.MachineService/Version", READER)
async def version(call: Call[Empty]) -> pb.Version:
    machine = call.machine
    features = pb.FeaturesInfo(rbac=True) if machine.config is not None else None
    return pb.Version(
        version=pb.VersionInfo(
            tag=machine.medium.version,
            sha="lab",
            built="",
            go_version="go1.26",
            os="linux",
            arch="amd64",
        ),
        platform=pb.PlatformInfo(name=machine.medium.platform, mode="cloud"),
        features=features,
    )


@answers("/machine.MachineService/Hostname", READER)
async def hostname(call: Call[Empty]) -> pb.Hostname:
    return pb.Hostname(hostname=call.machine.hostname)


@answers("/storage.StorageService/Disks", READER, in_old_maintenance=True)
async def disks(call: Call[Empty]) -> storage_pb2.Disks:
    machine = call.machine
    return storage_pb2.Disks(
        disks=[
            storage_pb2.Disk(
                size=disk.size,
                model="QEMU HARDDISK",
                device_name=disk.device,
                name=f"drive-scsi{number}",
                type=storage_pb2.Disk.HDD,
                bus_path=f"/pci0000:00/0000:00:05.0/virtio2/host0/target0:0:{number}/0:0:{number}:0/",
                system_disk=disk == machine.system_disk,
                subsystem="/sys/class/block",
            )
            for number, disk in enumerate(machine.hardware.disks)
        ]
    )


@answers("/time.TimeService/Time", READER)
async def time(call: Call[Empty]) -> time_pb2.Time:
    now = stamp(call.machine.fleet.world.clock.time())
    return time_pb2.Time(server=TIME_SERVER, localtime=now, remotetime=now)


@answers("/time.TimeService/TimeCheck", READER)
async def time_check(call: Call[time_pb2.TimeRequest]) -> time_pb2.Time:
    if not call.request.server:
        raise GRPCError(Status.INVALID_ARGUMENT, "no server given")
    now = stamp(call.machine.fleet.world.clock.time())
    return time_pb2.Time(server=call.request.server, localtime=now, remotetime=now)
