"""The boot sequence of a machine that has its config: services one after another, until it runs."""

import asyncio
import logging
import ssl

from windlass.lab.oplog import LAB
from windlass.lab.talos.apid import Gate
from windlass.lab.talos.disks import EtcdData
from windlass.lab.talos.machine import Action, Machine
from windlass.lab.talos.pki import SERVER, YEAR, Identity, Subject, issue, server_context
from windlass.protos.talosapi import machine_pb2 as pb

logger = logging.getLogger(__name__)

FLAP_CHECK_S = 5


async def run_configured(machine: Machine) -> None:
    """Ends only by being cancelled."""
    if machine.boot is not None:
        machine.boot.is_configured = True
    machine.events.publish(pb.SequenceEvent(sequence="boot", action=pb.SequenceEvent.Action.START))
    for name in ("machined", "auditd", "containerd", "dashboard", "syslogd", "udevd"):
        machine.services.start(name, f"Started {name}")
    for name in ("apid", "cri", "kubelet"):
        machine.services.set(name, "Starting", "Starting service")
    starters = [_start_apid(machine), _start_kubelet(machine)]
    if machine.is_control_plane:
        starters.append(_start_etcd(machine))
    async with asyncio.TaskGroup() as group:
        started = [group.create_task(starter) for starter in starters]
        await asyncio.wait(started)
        for task in started:
            task.result()
        machine.events.publish(
            pb.SequenceEvent(sequence="boot", action=pb.SequenceEvent.Action.STOP)
        )
        machine.set_stage("running")
        machine.log("boot sequence: done")
        await _run(machine)


async def _run(machine: Machine) -> None:
    """A machine that runs; one that flaps reboots by itself now and then."""
    while True:
        await machine.fleet.world.clock.sleep(FLAP_CHECK_S)
        machine.changed()
        if machine.fault("node-flap"):
            machine.ask(Action("reboot", is_powercycle=True))


async def _start_apid(machine: Machine) -> None:
    """Control planes sign their own certificate; a worker's is signed by the trustd of a control plane."""
    clock, latency = machine.fleet.world.clock, machine.latency
    await clock.sleep(latency.apid)
    while (signer := _signer(machine)) is None:
        machine.services.set("apid", "Waiting", "Waiting for api certificates")
        await clock.sleep(latency.trustd_retry)
    alternatives = (
        *machine.names(),
        "127.0.0.1",
        *(machine.config.cert_sans if machine.config else ()),
    )
    subject = Subject(machine.hostname, (), tuple(dict.fromkeys(alternatives)))
    # Real ones last a day and are replaced in time; a lab that is left running must not outlive its own.
    identity = issue(signer, subject, [SERVER], YEAR)
    await _open(machine, identity)
    machine.services.start("apid", "Started task apid (PID 1301) for container apid")
    if machine.is_control_plane:
        machine.services.start("trustd", "Started task trustd (PID 1302) for container trustd")


def _signer(machine: Machine) -> Identity | None:
    """The authority that signs this machine's API certificate, if it can be reached now."""
    if machine.config is None:
        return None
    if machine.is_control_plane:
        return machine.config.os_authority
    for peer in machine.fleet.peers(machine):
        if peer.is_control_plane and peer.services["trustd"].is_ok and peer.config is not None:
            return peer.config.os_authority if peer.config.token == machine.config.token else None
    return None


async def _open(machine: Machine, identity: Identity) -> None:
    folder = machine.fleet.world.folder / "talos"
    context = server_context(*identity.files(folder, f"{machine.hardware.vmid}-apid"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=machine.config.os_ca.decode() if machine.config else None)
    await open_port(machine, Gate(context, is_maintenance=False))


async def open_port(machine: Machine, gate: Gate) -> None:
    """The API answers at the machine's address as soon as nobody else does."""
    said = False
    while True:
        try:
            await machine.api.open(str(machine.loopback), gate)
        except OSError as taken:
            if not said:
                logger.warning(
                    "%s cannot have its address %s: %s", machine.label, machine.address, taken
                )
            said = True
            await machine.fleet.world.clock.sleep(machine.latency.apid)
        else:
            return


async def _start_kubelet(machine: Machine) -> None:
    clock, latency = machine.fleet.world.clock, machine.latency
    await clock.sleep(latency.cri)
    machine.services.start("cri", 'Process Process(["/bin/containerd"]) started with PID 1288')
    machine.services.set("kubelet", "Preparing", "Running pre state")
    await clock.sleep(latency.kubelet)
    machine.services.start("kubelet", "Started task kubelet (PID 1410) for container kubelet")
    if machine.fleet.kubernetes is not None:
        await machine.fleet.kubernetes.kubelet_up(machine)


async def _start_etcd(machine: Machine) -> None:
    """Etcd runs on what its data directory holds; an empty one waits for a bootstrap or a cluster to join."""
    clock, latency, etcd = machine.fleet.world.clock, machine.latency, machine.fleet.etcd
    machine.services.set(
        "etcd", "Waiting", 'Waiting for service "cri" to be "up", time sync, network, etcd spec'
    )
    await clock.sleep(latency.cri)
    machine.services.set("etcd", "Preparing", "Running pre state")
    data = machine.content.etcd
    if data is None or not etcd.is_member(data):
        data = await _join(machine)
    machine.services.set("etcd", "Preparing", "Creating service runner")
    await clock.sleep(latency.etcd_start)
    machine.services.set("etcd", "Running", "Started task etcd (PID 2345) for container etcd")
    machine.services.check("etcd", healthy=False, message="context deadline exceeded")
    etcd.up(data)
    if etcd.is_learner(data):
        await _promote(machine, data)
    while not etcd.has_quorum(data.cluster):
        await clock.sleep(latency.etcd_health)
    await clock.sleep(latency.etcd_health)
    machine.services.check("etcd", healthy=True)
    machine.record("etcd_healthy", LAB, after=f"{data.member:016x}")
    if machine.fleet.kubernetes is not None:
        await machine.fleet.kubernetes.control_plane_up(machine)


async def _join(machine: Machine) -> EtcdData:
    """Becomes the first member when told to, else a learner of a cluster that can take one."""
    clock, etcd = machine.fleet.world.clock, machine.fleet.etcd
    while True:
        if machine.bootstrapped.is_set():
            data = machine.content.etcd
            if data is not None:
                return data
        data = etcd.join(machine.group, machine.hostname, str(machine.loopback))
        if data is not None:
            machine.write(etcd=data)
            machine.record("etcd_join", LAB, after=f"{data.member:016x}")
            return data
        waiting = asyncio.ensure_future(machine.bootstrapped.wait())
        await asyncio.wait({waiting}, timeout=clock.real(machine.latency.etcd_join_retry))
        waiting.cancel()


async def _promote(machine: Machine, data: EtcdData) -> None:
    clock, etcd = machine.fleet.world.clock, machine.fleet.etcd
    await clock.sleep(machine.latency.etcd_learner)
    while machine.fault("etcd-learner-stuck") or not etcd.promote(data):
        await clock.sleep(machine.latency.etcd_join_retry)
    machine.record("etcd_promote", LAB, after=f"{data.member:016x}")
    machine.log("successfully promoted etcd member")
