"""etcd through the Talos API."""

from google.protobuf.empty_pb2 import Empty
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from windlass.lab.talos.disks import EtcdData
from windlass.lab.talos.etcd import EtcdError, Member
from windlass.lab.talos.machine import Machine
from windlass.lab.talos.rpc import ADMIN, ETCD_READER, MACHINE, OPERATOR, Call, answers
from windlass.protos.talosapi import common_pb2
from windlass.protos.talosapi import machine_pb2 as pb

VERSION = "3.6.12"
DB_SIZE, DB_IN_USE = 24 << 20, 9 << 20


def only_on_control_planes(machine: Machine, name: str) -> None:
    """Raises as Talos does where there is no such thing."""
    if machine.config is None:
        raise GRPCError(Status.UNIMPLEMENTED, f"machine type is not set, cannot use {name} API")
    if not machine.is_control_plane:
        raise GRPCError(Status.UNIMPLEMENTED, f"{name} is only available on control plane nodes")


def _data(machine: Machine, name: str) -> EtcdData:
    """The member that runs here.

    Raises GRPCError where none does.
    """
    only_on_control_planes(machine, name)
    data = machine.content.etcd
    if data is None or not machine.fleet.etcd.is_running(data.member):
        text = (
            "error creating etcd client: context deadline exceeded: dial tcp 127.0.0.1:2379: connect: connection"
            " refused"
        )
        raise GRPCError(Status.UNKNOWN, text)
    return data


def _listed(member: Member) -> pb.EtcdMember:
    return pb.EtcdMember(
        id=member.id, hostname=member.name, peer_urls=[member.peer_url], client_urls=[member.client_url],
        is_learner=member.learner,
    )  # fmt: skip


@answers(f"{MACHINE}EtcdMemberList", ETCD_READER)
async def member_list(call: Call[pb.EtcdMemberListRequest]) -> pb.EtcdMembers:
    machine = call.machine
    data = _data(machine, "member list")
    if not call.request.query_local and not machine.fleet.etcd.has_quorum(data.cluster):
        raise GRPCError(Status.UNKNOWN, "etcdserver: request timed out")
    members = machine.fleet.etcd.members(data.cluster)
    return pb.EtcdMembers(
        legacy_members=[m.name for m in members], members=[_listed(m) for m in members]
    )


@answers(f"{MACHINE}EtcdStatus", ETCD_READER)
async def status(call: Call[Empty]) -> pb.EtcdStatus:
    etcd, data = call.machine.fleet.etcd, _data(call.machine, "etcd status")
    leader = etcd.leader(data.cluster) or 0
    index = (
        int(
            call.machine.fleet.world.clock.since(call.machine.boot.time if call.machine.boot else 0)
        )
        + 100
    )
    return pb.EtcdStatus(
        member_status=pb.EtcdMemberStatus(
            protocol_version=VERSION, storage_version="3.6.0", db_size=DB_SIZE, db_size_in_use=DB_IN_USE, leader=leader,
            raft_index=index, raft_term=etcd.term(data.cluster), raft_applied_index=index,
            errors=[] if leader else ["etcdserver: no leader"], is_learner=etcd.is_learner(data), member_id=data.member,
        )
    )  # fmt: skip


@answers(f"{MACHINE}EtcdAlarmList", ETCD_READER)
async def alarm_list(call: Call[Empty]) -> pb.EtcdAlarm:
    _data(call.machine, "etcd alarm list")
    return pb.EtcdAlarm()


@answers(f"{MACHINE}EtcdAlarmDisarm", OPERATOR)
async def alarm_disarm(call: Call[Empty]) -> pb.EtcdAlarm:
    _data(call.machine, "etcd alarm disarm")
    return pb.EtcdAlarm()


@answers(f"{MACHINE}EtcdDefragment", OPERATOR)
async def defragment(call: Call[Empty]) -> common_pb2.Empty:
    _data(call.machine, "etcd defragment")
    call.machine.record("etcd_defragment", call.caller.actor)
    return common_pb2.Empty()


@answers(f"{MACHINE}EtcdRemoveMemberByID", ADMIN)
async def remove_member(call: Call[pb.EtcdRemoveMemberByIDRequest]) -> common_pb2.Empty:
    data, member = _data(call.machine, "etcd remove member"), call.request.member_id
    try:
        call.machine.fleet.etcd.remove(data.cluster, member)
    except EtcdError as error:
        text = f"failed to remove member {member}: {error}"
        code = Status.NOT_FOUND if "not found" in str(error) else Status.UNKNOWN
        raise GRPCError(code, text) from error
    call.machine.record("etcd_remove", call.caller.actor, before=f"{member:016x}")
    return common_pb2.Empty()


@answers(f"{MACHINE}EtcdLeaveCluster", ADMIN)
async def leave(call: Call[pb.EtcdLeaveClusterRequest]) -> common_pb2.Empty:
    machine = call.machine
    data = _data(machine, "etcd leave")
    try:
        machine.fleet.etcd.remove(data.cluster, data.member)
    except EtcdError as error:
        raise GRPCError(Status.UNKNOWN, f"failed to leave cluster: {error}") from error
    machine.write(etcd=None)
    machine.services.set("etcd", "Finished", "Service finished successfully")
    machine.record("etcd_leave", call.caller.actor, before=f"{data.member:016x}")
    return common_pb2.Empty()


@answers(f"{MACHINE}EtcdForfeitLeadership", ADMIN)
async def forfeit(call: Call[pb.EtcdForfeitLeadershipRequest]) -> pb.EtcdForfeitLeadership:
    machine = call.machine
    data = _data(machine, "etcd forfeit leadership")
    try:
        leader = machine.fleet.etcd.move_leader(data.cluster, data.member)
    except EtcdError as error:
        raise GRPCError(Status.UNKNOWN, f"failed to forfeit leadership: {error}") from error
    if leader is None:
        return pb.EtcdForfeitLeadership()
    name = next(m.name for m in machine.fleet.etcd.members(data.cluster) if m.id == leader)
    machine.record("etcd_forfeit", call.caller.actor, before=machine.hostname, after=name)
    return pb.EtcdForfeitLeadership(member=name)
