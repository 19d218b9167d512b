"""Taking a machine config: in maintenance mode it starts the installation, later it changes a running machine."""

import difflib
from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from windlass.lab.talos.configuration import ConfigError, MachineConfig
from windlass.lab.talos.decoding import decode
from windlass.lab.talos.machine import Action, Machine
from windlass.lab.talos.rpc import Call
from windlass.lab.talos.trees import Tree, table
from windlass.lab.talos.validation import Setting, check
from windlass.protos.talosapi import machine_pb2 as pb

Mode = pb.ApplyConfigurationRequest
# Parts of the machine section that a running machine takes at once.
IMMEDIATE = frozenset({
    "ca", "acceptedCAs", "time", "certSANs", "install", "network", "sysfs", "sysctls", "logging", "controlPlane",
    "kubelet", "kernel", "registries", "pods", "seccompProfiles", "nodeAnnotations", "nodeLabels", "nodeTaints",
})  # fmt: skip
IMMEDIATE_FEATURES = frozenset({
    "kubernetesTalosAPIAccess", "kubePrism", "hostDNS", "imageCache", "nodeAddressSortAlgorithm",
})  # fmt: skip
WITH_REBOOT = "Applied configuration with a reboot"
WITHOUT_REBOOT = "Applied configuration without a reboot"
STAGED = "Staged configuration to be applied after the next reboot"
NOT_IMMEDIATE = "this config change can't be applied in immediate mode"


def apply(call: Call[pb.ApplyConfigurationRequest]) -> pb.ApplyConfiguration:
    """Raises GRPCError with Talos' own words when the config or the mode is refused."""
    machine = call.machine
    if machine.is_applied:
        raise GRPCError(
            Status.FAILED_PRECONDITION,
            "configuration was already applied and node is rebooting, cannot apply more configuration changes until"
            " next reboot",
        )
    rejected = machine.fleet.world.faults.fires("talos-apply-rejected", node=machine.label)
    if rejected is not None:
        raise GRPCError(
            Status.INVALID_ARGUMENT,
            str(rejected.args.get("reason", "configuration validation failed")),
        )
    config = _checked(machine, call.request.data)
    if machine.api.is_maintenance:
        return _first(call, config)
    return _change(call, config)


def _checked(machine: Machine, data: bytes) -> MachineConfig:
    is_old_maintenance = machine.api.is_maintenance and machine.version < (1, 13)
    try:
        config = decode(data, machine.medium.version)
    except ConfigError as error:
        if is_old_maintenance:
            raise GRPCError(Status.UNKNOWN, f"failed to parse config: {error}") from error
        raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
    setting = Setting(
        machine.medium.version, machine.system_disk is not None, machine.hardware.disks
    )
    try:
        check(config, setting)
    except ConfigError as error:
        prefix = "configuration validation failed: " if is_old_maintenance else ""
        raise GRPCError(Status.INVALID_ARGUMENT, f"{prefix}{error}") from error
    return config


def _first(
    call: Call[pb.ApplyConfigurationRequest], config: MachineConfig
) -> pb.ApplyConfiguration:
    machine, request = call.machine, call.request
    is_old = machine.version < (1, 13)
    if is_old and request.mode not in {Mode.REBOOT, Mode.AUTO, Mode.TRY}:
        name = Mode.Mode.Name(request.mode).lower().replace("_", "-")
        text = f"apply configuration --mode='{name}' is not supported in maintenance mode"
        raise GRPCError(Status.UNIMPLEMENTED, text)
    if request.dry_run:
        summary = (
            "Dry run summary:\nNode is running in maintenance mode and does not have a config yet."
        )
        return pb.ApplyConfiguration(mode_details=summary)
    machine.config = config
    machine.record("apply_config", call.caller.actor, before=None, after=_described(config))
    if machine.system_disk is not None:
        machine.write(config=config.text)
        machine.acquired.set()
    else:
        machine.is_applied = True
        machine.ask(Action("install", call.caller.actor))
    if is_old:
        return pb.ApplyConfiguration()
    return pb.ApplyConfiguration(mode=Mode.NO_REBOOT, mode_details=WITHOUT_REBOOT)


def _change(
    call: Call[pb.ApplyConfigurationRequest], config: MachineConfig
) -> pb.ApplyConfiguration:
    machine, request, old = call.machine, call.request, call.machine.config
    if old is None:
        raise GRPCError(Status.UNAVAILABLE, "error reading from server: EOF")
    diff = _diff(old, config)
    mode, details = _mode(request.mode, _needs_reboot(old, config), diff)
    if request.dry_run:
        summary = f"Dry run summary:\n{details} (skipped in dry-run).\nConfig diff:\n\n{diff or 'No changes.'}"
        return pb.ApplyConfiguration(mode=mode, mode_details=summary)
    if mode == Mode.TRY:
        raise GRPCError(Status.UNIMPLEMENTED, "the lab has no configuration in try mode")
    machine.write(config=config.text)
    if diff:
        machine.record(
            "apply_config", call.caller.actor, before=_described(old), after=_described(config)
        )
    if mode == Mode.NO_REBOOT:
        machine.config = config
        machine.changed()
        if diff and machine.fleet.kubernetes is not None:
            machine.fleet.kubernetes.config_changed(machine)
    elif mode == Mode.REBOOT:
        machine.is_applied = True
        machine.ask(Action("reboot", call.caller.actor))
    return pb.ApplyConfiguration(mode=mode, mode_details=details)


def _mode(wanted: int, needs_reboot: bool, diff: str) -> tuple[Any, str]:
    """The mode that is used, and what Talos says about it."""
    if wanted == Mode.STAGED:
        return Mode.STAGED, STAGED
    if wanted == Mode.REBOOT:
        return Mode.REBOOT, WITH_REBOOT
    if not needs_reboot:
        return (Mode.TRY if wanted == Mode.TRY else Mode.NO_REBOOT), WITHOUT_REBOOT
    if wanted == Mode.AUTO:
        return Mode.REBOOT, f"{WITH_REBOOT}: {NOT_IMMEDIATE}\ndiff:\n{diff}"
    raise GRPCError(Status.INVALID_ARGUMENT, f"{NOT_IMMEDIATE}\ndiff:\n{diff}")


def _needs_reboot(old: MachineConfig, new: MachineConfig) -> bool:
    parts = _changed(old.machine, new.machine) - IMMEDIATE - {"features"}
    features = _changed(table(old.machine, "features"), table(new.machine, "features"))
    return bool(parts or features - IMMEDIATE_FEATURES)


def _changed(old: Tree, new: Tree) -> set[str]:
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}


def _diff(old: MachineConfig, new: MachineConfig) -> str:
    """Nothing when both mean the same, however they are written."""
    if old.main == new.main and old.others == new.others:
        return ""
    lines = difflib.unified_diff(old.text.splitlines(), new.text.splitlines(), lineterm="")
    return "\n".join(lines)


def _described(config: MachineConfig) -> dict[str, str]:
    return {"role": config.role, "hostname": config.hostname or "", "installer": config.installer}
