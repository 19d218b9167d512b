"""What must be so in the world when a step is reported as done, by the name of its action (I32).

A goal returns what is missing, or None. It looks at the world as it is now: a target that was touched since the report
says nothing about it any more.
"""

from collections.abc import Callable, Mapping
from typing import Any

from windlass.lab.observer.evidence import SAME_S, Evidence, Planned, Record


class UnknownGoalError(Exception):
    """There is nothing to judge by."""


Goal = Callable[[Evidence, Planned, Record], str | None]


# What undoes a goal without a word about it in this operation's plan.
REMADE = frozenset({"vm_destroy", "vm_create", "vm_config"})
POWER = frozenset({"vm_stop", "vm_shutdown", "vm_reset", "vm_reboot", "vm_stopped", "vm_destroy"})
WIPED = frozenset({"apply_config", "install", "upgrade", "reset", "vm_destroy", "vm_rollback"})
LEFT = frozenset({"etcd_leave", "etcd_remove", "reset", "vm_destroy", "vm_rollback"})


def _truth(evidence: Evidence) -> Mapping[str, Any]:
    if evidence.truth is None:
        raise UnknownGoalError
    return evidence.truth


def _vm(
    evidence: Evidence, step: Planned, done: Record, undone: frozenset[str]
) -> Mapping[str, Any] | None:
    vmid = step.inputs["vmid"]
    _untouched(evidence, {f"vm/{vmid}"}, done, undone)
    return _truth(evidence)["proxmox"]["vms"].get(str(vmid))


def _machine(evidence: Evidence, step: Planned, done: Record) -> Mapping[str, Any]:
    _untouched(evidence, _called(evidence, step.target), done, WIPED)
    machines: list[Mapping[str, Any]] = _truth(evidence)["talos"]["machines"]
    return next((m for m in machines if m["name"] == step.target), dict[str, Any]())


def _called(evidence: Evidence, name: str) -> set[str]:
    """What the oplog calls the machine."""
    return {name, *(f"vm/{vmid}" for vmid, called in evidence.vm_names.items() if called == name)}


def _untouched(evidence: Evidence, targets: set[str], done: Record, undone: frozenset[str]) -> None:
    if any(
        e.verb in undone and e.target in targets and e.time > done.time + SAME_S
        for e in evidence.events
    ):
        raise UnknownGoalError


def created(evidence: Evidence, step: Planned, done: Record) -> str | None:
    vm = _vm(evidence, step, done, REMADE)
    if vm is None or vm["name"] != step.target:
        return f"VM {step.inputs['vmid']} is {vm['name'] if vm else 'not there'}"
    return None


def started(evidence: Evidence, step: Planned, done: Record) -> str | None:
    vm = _vm(evidence, step, done, POWER)
    return None if vm and vm["running"] else f"VM {step.inputs['vmid']} does not run"


def downloaded(evidence: Evidence, step: Planned, _done: Record) -> str | None:
    file = str(step.inputs["file"])
    volumes = _truth(evidence)["proxmox"]["volumes"]
    if any(v.startswith(f"{step.target}/") and v.endswith(file) for v in volumes):
        return None
    return f"{step.target} has no {file}"


def configured(evidence: Evidence, step: Planned, done: Record) -> str | None:
    machine = _machine(evidence, step, done)
    if machine.get("installed") and machine.get("role") == step.inputs.get("role"):
        return None
    return f"{step.target} has not installed as {step.inputs.get('role')}"


def installed(evidence: Evidence, step: Planned, done: Record) -> str | None:
    version = _machine(evidence, step, done).get("installed")
    wanted = step.inputs.get("talos")
    return None if version == wanted else f"{step.target} has Talos {version}, not {wanted}"


def member(evidence: Evidence, step: Planned, done: Record) -> str | None:
    _untouched(evidence, _called(evidence, step.target), done, LEFT)
    members = [m for one in _truth(evidence)["talos"]["etcd"] for m in one["members"]]
    if any(m["name"] == step.target and m["voter"] for m in members):
        return None
    return f"{step.target} is no voter of etcd"


def rebooted(evidence: Evidence, step: Planned, done: Record) -> str | None:
    calls = [
        r.time for r in evidence.of_kind("effect")
        if r.operation == done.operation and r.body["step"] == step.key
    ]  # fmt: skip
    since = min(calls, default=done.time)
    downs = [
        e for e in evidence.events
        if e.target == step.target and e.verb == "reboot" and since <= e.time + SAME_S
    ]  # fmt: skip
    if not downs or downs[0].time > done.time + SAME_S:
        return f"{step.target} had not rebooted"
    boots = [
        e for e in evidence.events
        if e.target == step.target and e.verb == "boot" and downs[0].seq < e.seq
        and e.time <= done.time + SAME_S
    ]  # fmt: skip
    return None if boots else f"{step.target} had not come back"


def applied(evidence: Evidence, step: Planned, done: Record) -> str | None:
    writes = [
        e for e in evidence.events
        if e.verb.startswith("kubernetes.") and _object(e.target) == step.target
        and e.time <= done.time + SAME_S
    ]  # fmt: skip
    if writes and writes[-1].verb != "kubernetes.delete":
        return None
    return f"{step.target} was {'deleted' if writes else 'never written'}"


def _object(target: str) -> str:
    kind, *names = target.split("/")
    return ".".join((kind.lower(), *names))


GOALS: dict[str, Goal] = {
    "create-vm": created,
    "start-vm": started,
    "download-image": downloaded,
    "apply-config": configured,
    "installed": installed,
    "bootstrap-etcd": member,
    "etcd-member": member,
    "reboot": rebooted,
    "apply": applied,
}
