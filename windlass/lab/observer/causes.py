"""Which step of an approved plan an effect belongs to, and the record that announced it.

The oplog knows who made a call and what it did, not for which step: a step is found by its target, by what its action
is called, and by the record of the call, which carries the same epoch and is older.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from windlass.lab.observer.evidence import (
    SAME_S,
    Event,
    Evidence,
    Operation,
    Planned,
    Record,
    vmid_of,
)

# Words in an action's name that account for a verb. A verb without words is accounted for by its system alone.
WORDS: dict[str, tuple[str, ...]] = {
    "bootstrap": ("bootstrap",),
    "apply_config": ("config",),
    "install": ("config", "install", "upgrade"),
    "reboot": ("reboot", "upgrade", "config", "maintain"),
    "shutdown": ("shutdown", "maintain"),
    "reset": ("reset", "remove", "replace"),
    "etcd_leave": ("leave", "reset", "remove", "replace"),
    "etcd_remove": ("etcd", "remove", "replace"),
    "vm_create": ("create", "clone", "restore", "replace"),
    "vm_start": ("start", "restore", "replace"),
    "vm_stop": ("stop", "shutdown", "destroy", "replace"),
    "vm_shutdown": ("stop", "shutdown", "destroy", "replace"),
    "vm_reset": ("reset",),
    "vm_reboot": ("reboot",),
    "vm_rollback": ("rollback", "restore"),
    "vm_destroy": ("destroy", "delete", "remove", "replace"),
    "download": ("download", "image"),
    "kubernetes.delete": ("delete", "cleanup", "prune", "drain", "remove"),
}
TALOS = frozenset({"talos", "etcd"})
PROXMOX = frozenset({"proxmox"})
# What is carried out some time after the call that asked for it.
TRAILING = frozenset({"install", "reboot", "shutdown", "reset"})
# What is in the oplog when its task has ended; the call is as old as its record.
TASKS = ("vm_", "download", "volume_")


@dataclass(frozen=True)
class Cause:
    """A step, and the last record of a call that it made before the effect took place."""

    step: Planned
    call: Record


def steps_of(evidence: Evidence, operation: Operation, event: Event) -> list[Planned]:
    """The steps of the operation's plan that account for such an effect on that target."""
    return [
        step
        for step in operation.steps
        if not step.is_gate and _accounts(step, event.verb) and _is_on(evidence, step, event)
    ]


def cause_of(evidence: Evidence, event: Event) -> Cause | None:
    """The step that announced the effect; None when none did."""
    operation = evidence.operations.get(event.run)
    if operation is None:
        return None
    steps = {step.key: step for step in steps_of(evidence, operation, event)}
    found = [call for call in calls(evidence, event) if call.body["step"] in steps]
    return Cause(steps[found[-1].body["step"]], found[-1]) if found else None


def calls(evidence: Evidence, event: Event) -> Iterator[Record]:
    """Records of calls of the same operation and epoch that are older than the effect."""
    for record in evidence.of_kind("effect"):
        if (record.operation, record.body["epoch"]) == (
            event.run,
            event.epoch,
        ) and record.time <= event.time + SAME_S:
            yield record


def is_prompt(event: Event) -> bool:
    """Whether the effect is in the oplog as soon as its call arrives."""
    return event.verb not in TRAILING and not event.verb.startswith(TASKS)


def _accounts(step: Planned, verb: str) -> bool:
    system, _, name = step.action.partition(".")
    asked = verb.removesuffix("_asked")
    if asked.startswith(TASKS):
        fits = system in PROXMOX
    elif asked.startswith("kubernetes."):
        fits = system not in TALOS | PROXMOX
    else:
        fits = system in TALOS
    words = WORDS.get(asked)
    return fits and (words is None or any(word in name for word in words))


def _is_on(evidence: Evidence, step: Planned, event: Event) -> bool:
    target, inputs = event.target, step.inputs
    if target.startswith("vm/"):
        number = vmid_of(target)
        planned = inputs.get("vmid")
        return planned == number if planned is not None else evidence.machine(event) == step.target
    if event.verb == "download":
        return target.partition("/")[0] == step.target and target.endswith(
            str(inputs.get("file", ""))
        )
    if event.verb.startswith("kubernetes."):
        kind, *names = target.split("/")
        return step.target in (names[-1], ".".join((kind.lower(), *names)))
    return step.target in (target, evidence.machine(event))
