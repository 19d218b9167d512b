"""What a machine does by itself, from power on to power off."""

import asyncio
import logging
import ssl
from dataclasses import replace

from windlass.lab.machine import Disk, Medium
from windlass.lab.oplog import LAB
from windlass.lab.talos import images
from windlass.lab.talos.apid import Gate
from windlass.lab.talos.disks import Content
from windlass.lab.talos.etcd import EtcdError
from windlass.lab.talos.machine import Action, Machine, Stage
from windlass.lab.talos.pki import SERVER, Identity, Subject, issue, server_context
from windlass.lab.talos.startup import open_port, run_configured
from windlass.protos.talosapi import common_pb2
from windlass.protos.talosapi import machine_pb2 as pb

logger = logging.getLogger(__name__)

# talosctl looks again one real second after a reboot began: one that is over by then it would wait for in vain.
NOTICED_S = 1.3
FATAL_PAUSE_S = 10
_STAGE: dict[str, Stage] = {
    "install": "installing", "reboot": "rebooting", "shutdown": "shutting down", "reset": "resetting",
}  # fmt: skip
_PHASES = {
    "install": (
        "env",
        "install",
        "saveMeta",
        "volumeFinalize",
        "stopEverything",
        "kexec",
        "reboot",
    ),
    "reboot": (
        "cleanup",
        "dbus",
        "stopServices",
        "umount",
        "volumeFinalize",
        "kexec",
        "stopEverything",
        "reboot",
    ),
    "shutdown": ("storeShutdown", "drain", "cleanup", "dbus", "stopServices", "shutdown"),
    "reset": ("cleanup", "dbus", "leave", "preReset", "stopServices", "reset", "reboot"),
}
_TASKS = {
    "cleanup": "stopAllPods", "stopServices": "stopAllServices", "leave": "leaveEtcd", "kexec": "kexecPrepare",
    "reboot": "reboot", "install": "install", "drain": "cordonAndDrainNode", "shutdown": "shutdown",
}  # fmt: skip


class SequenceFailedError(Exception):
    """The sequence cannot go on; the message is what the console says."""


async def live(machine: Machine) -> None:
    """From power on until the machine switches itself off. Cancelled when somebody pulls the plug."""
    is_cold = True
    while True:
        booting = asyncio.create_task(_boot(machine, is_cold=is_cold), name=f"boot {machine.label}")
        try:
            action = await _next_action(machine, booting)
        finally:
            booting.cancel()
            await asyncio.wait({booting})
        began = asyncio.get_running_loop().time()
        again = await _carry_out(machine, action)
        if again is None:
            break
        is_cold = again
        if action.kind == "reboot":
            await asyncio.sleep(max(0, NOTICED_S - (asyncio.get_running_loop().time() - began)))
    machine.stage, machine.boot = "off", None
    await machine.fleet.stopped(machine.hardware.vmid)


async def _next_action(machine: Machine, booting: asyncio.Task[None]) -> Action:
    asking = asyncio.create_task(machine.asked.get())
    try:
        await asyncio.wait({asking, booting}, return_when=asyncio.FIRST_COMPLETED)
        if booting.done() and not asking.done():
            booting.result()
        return await asking
    finally:
        asking.cancel()


async def go_dark(machine: Machine) -> None:
    """Everything that ran on the machine is gone, however that came about."""
    await machine.api.close()
    etcd = machine.content.etcd
    if etcd is not None:
        machine.fleet.etcd.down(etcd)
    if machine.fleet.kubernetes is not None:
        await machine.fleet.kubernetes.machine_down(machine)


# Booting


async def _boot(machine: Machine, *, is_cold: bool) -> None:
    clock, latency = machine.fleet.world.clock, machine.latency
    machine.stage = "firmware"
    await clock.sleep(latency.firmware if is_cold else latency.kexec)
    if machine.fault("talos-not-booting"):
        await asyncio.Event().wait()
    found = _boot_source(machine, is_cold=is_cold)
    if found is None:
        logger.info("%s: no bootable device", machine.label)
        await asyncio.Event().wait()
        return
    medium, is_from_disk = found
    if not is_from_disk and machine.system_disk is not None:
        machine.stage = "halted"
        logger.info(
            "%s: Talos is already installed to disk but booted from another media", machine.label
        )
        await asyncio.Event().wait()
    machine.begin(medium, is_from_disk=is_from_disk)
    machine.record(
        "boot", LAB, after={"version": medium.version, "disk": is_from_disk, "id": machine.boot_id}
    )
    await clock.sleep(latency.boot)
    if machine.config is None:
        await _maintenance(machine)
    await run_configured(machine)


def _boot_source(machine: Machine, *, is_cold: bool) -> tuple[Medium, bool] | None:
    """What boots, and whether it comes from a disk. kexec does not ask the firmware."""
    hardware, disks = machine.hardware, machine.fleet.disks
    if not is_cold and machine.content.boots is not None:
        return machine.content.boots, True
    volumes = {disk.volume for disk in hardware.disks}
    for device in hardware.boot_order:
        if device in volumes:
            medium = disks.read(device).boots
            if medium is not None:
                return medium, True
        elif hardware.cdrom is not None:
            return hardware.cdrom, False
    return None


async def _maintenance(machine: Machine) -> None:
    """Waits for a config that needs no installation; a config that does ends the boot instead."""
    identity = issue(
        None,
        Subject("maintenance-service.talos.dev", (), (*machine.names(), "127.0.0.1", "::1")),
        [SERVER],
    )
    machine.maintenance_fingerprint = identity.fingerprint
    machine.events.publish(
        pb.TaskEvent(task="runningMaintenance", action=pb.TaskEvent.Action.START)
    )
    await open_port(machine, Gate(_maintenance_context(machine, identity), is_maintenance=True))
    machine.services.start("machined", "Service started as goroutine")
    machine.services.start("apid", "Started task apid (PID 1234) for container apid")
    machine.set_stage("maintenance")
    for line in (
        "this machine is reachable at:", f"\t{machine.address}",
        f'server certificate issued {{"fingerprint": "{identity.fingerprint}"}}',
        "upload configuration using talosctl:",
        f"\ttalosctl apply-config --insecure --nodes {machine.address} --file <config.yaml>",
    ):  # fmt: skip
        machine.log(line)
    await machine.acquired.wait()
    machine.events.publish(pb.TaskEvent(task="runningMaintenance", action=pb.TaskEvent.Action.STOP))
    await machine.fleet.world.clock.sleep(machine.latency.config_acquired)
    await machine.api.close()
    machine.reload_services()
    machine.set_stage("booting")


def _maintenance_context(machine: Machine, identity: Identity) -> ssl.SSLContext:
    folder = machine.fleet.world.folder / "talos"
    context = server_context(*identity.files(folder, f"{machine.hardware.vmid}-maintenance"))
    impostor = issue(None, Subject("maintenance-service.talos.dev", (), machine.names()), [SERVER])
    other = server_context(*impostor.files(folder, f"{machine.hardware.vmid}-impostor"))

    def choose(connection: ssl.SSLObject, _name: str, _context: ssl.SSLContext) -> None:
        if machine.fault("talos-impostor"):
            connection.context = other

    context.sni_callback = choose
    return context


# Going down


async def _carry_out(machine: Machine, action: Action) -> bool | None:
    """Do what was asked. Returns whether the firmware starts next (or a kernel directly); None: switched off."""
    name = action.kind
    machine.events.publish(
        pb.SequenceEvent(sequence=name, action=pb.SequenceEvent.Action.START), action.id
    )
    machine.set_stage(_STAGE[action.kind])
    try:
        await _prepare(machine, action)
    except SequenceFailedError as error:
        return await _fail(machine, name, str(error))
    for phase in _PHASES[action.kind]:
        _say_phase(machine, phase, action.id)
        if phase == "stopServices":
            machine.services.stop_all()
            await machine.fleet.world.clock.sleep(machine.latency.stop_services)
    await go_dark(machine)
    if action.kind == "reset":
        _wipe(machine, action)
    if action.kind != "install":
        after = "boot" if action.boots_again else "off"
        machine.record(action.kind, action.actor, before=machine.boot_id, after=after)
    return action.is_powercycle if action.boots_again else None


async def _prepare(machine: Machine, action: Action) -> None:
    """What can go wrong before anything stops."""
    if action.kind == "install":
        await _install(machine, action)
    elif action.kind == "reset" and action.is_graceful:
        await _leave_etcd(machine, action)


def _say_phase(machine: Machine, phase: str, actor: str) -> None:
    events, task = machine.events, _TASKS.get(phase)
    events.publish(pb.PhaseEvent(phase=phase, action=pb.PhaseEvent.Action.START), actor)
    if task is not None:
        events.publish(pb.TaskEvent(task=task, action=pb.TaskEvent.Action.START), actor)
        events.publish(pb.TaskEvent(task=task, action=pb.TaskEvent.Action.STOP), actor)
    events.publish(pb.PhaseEvent(phase=phase, action=pb.PhaseEvent.Action.STOP), actor)


async def _fail(machine: Machine, sequence: str, text: str) -> bool:
    """A fatal error: said on the console and to the watchers, and ten seconds later the machine starts again."""
    machine.log(f"{sequence} sequence: failed: {text}")
    logger.info("%s: %s failed: %s", machine.label, sequence, text)
    error = common_pb2.Error(code=common_pb2.Error.FATAL, message=f"sequence failed: {text}")
    machine.events.publish(
        pb.SequenceEvent(sequence=sequence, action=pb.SequenceEvent.Action.NOOP, error=error)
    )
    machine.set_stage("rebooting")
    await machine.fleet.world.clock.sleep(FATAL_PAUSE_S)
    await go_dark(machine)
    return True


async def _install(machine: Machine, action: Action) -> None:
    """Talos is on the disk that the config names, with that config; the content it had is gone."""
    config, clock = machine.config, machine.fleet.world.clock
    if config is None:
        raise RuntimeError(f"{machine.label} is told to install and has no config")
    await clock.sleep(machine.latency.config_acquired)
    disk = _install_disk(machine, config.install_disk)
    machine.events.publish(
        pb.PhaseEvent(phase="install", action=pb.PhaseEvent.Action.START), action.id
    )
    machine.log(f"pulling {config.installer}")
    await clock.sleep(machine.latency.image_pull)
    try:
        medium = images.installer(machine.fleet.world, config.installer)
    except images.UnknownImageError as error:
        text = f"error running phase 2 in install sequence: task 1/1: failed, {error}"
        raise SequenceFailedError(text) from error
    machine.log(f"running Talos installer {medium.version}")
    await clock.sleep(machine.latency.install)
    machine.fleet.disks.write(
        disk.volume, Content(boots=medium, config=config.text, node_id=machine.hardware.uuid)
    )
    machine.log(f"installation of {medium.version} complete")
    machine.record(
        "install",
        action.actor,
        after={"version": medium.version, "schematic": medium.schematic, "disk": disk.volume},
    )


def _install_disk(machine: Machine, device: str) -> Disk:
    """A config without a device has a selector; the lab takes the first disk for any."""
    disks = machine.hardware.disks
    found = (
        next((disk for disk in disks if disk.device == device), None)
        if device
        else next(iter(disks), None)
    )
    if found is None:
        raise SequenceFailedError(
            f"error running phase 2 in install sequence: task 1/1: failed, no disk {device!r}"
        )
    return found


async def _leave_etcd(machine: Machine, action: Action) -> None:
    data = machine.content.etcd
    if data is None or not machine.is_control_plane:
        return
    await machine.fleet.world.clock.sleep(machine.latency.leave)
    try:
        machine.fleet.etcd.remove(data.cluster, data.member)
    except EtcdError as error:
        raise SequenceFailedError(f"failed to leave cluster: {error}") from error
    machine.write(etcd=None)
    machine.record("etcd_leave", action.actor, before=f"{data.member:016x}")


def _wipe(machine: Machine, action: Action) -> None:
    disk = machine.system_disk
    if disk is None:
        return
    if not action.wipe:
        machine.fleet.disks.remove(disk.volume)
        return
    content = machine.content
    if "STATE" in action.wipe:
        content = replace(content, config=None)
    if "EPHEMERAL" in action.wipe:
        content = replace(content, etcd=None)
    machine.fleet.disks.write(disk.volume, content)
