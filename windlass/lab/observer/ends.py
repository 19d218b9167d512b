"""I4, I8 and I32: what is left when an operation is at rest, against what it says is left."""

import json
from collections import Counter
from collections.abc import Iterator

from windlass.lab.observer.evidence import Evidence, Operation, Record, Violation, vmid_of
from windlass.lab.observer.goals import GOALS, UnknownGoalError

TAG = "windlass-"
REASONS = frozenset({
    "SUCCESS", "REFUSED", "FAILED", "PARKED", "BUSY", "FROZEN", "NEEDS_HUMAN", "CODE_CHANGED", "ORPHANED_PENDING",
    "ROLLED_BACK", "DRIFT_LOOP",
})  # fmt: skip


def machines(evidence: Evidence) -> Iterator[Violation]:
    """I4: one VM for each name of a site, and none with its tag that the journal does not know."""
    live: dict[int, str] = {}
    for event in evidence.events:
        if event.verb == "vm_destroy":
            live.pop(vmid_of(event.target), None)
        if event.verb != "vm_create":
            continue
        name = str(event.say("name"))
        if event.by_windlass and name in live.values():
            twin = next(vmid for vmid, other in live.items() if other == name)
            yield Violation("I4", event.where, f"VM {twin} is already called {name}")
        live[vmid_of(event.target)] = name
    yield from _tagged(evidence)


def _tagged(evidence: Evidence) -> Iterator[Violation]:
    if evidence.truth is None:
        evidence.notes.append("I4: the VMs there are now were not looked at")
        return
    vms = evidence.truth["proxmox"]["vms"]
    ours = {
        vmid: (tag, vm["name"])
        for vmid, vm in vms.items()
        for tag in str(vm["config"].get("tags", "")).replace(",", ";").split(";")
        if tag.startswith(TAG)
    }
    for (tag, name), times in Counter(ours.values()).items():
        if times > 1:
            yield Violation("I4", "the world", f"{times} VMs with tag {tag} are called {name}")
    known = {
        step.inputs.get("vmid")
        for operation in evidence.operations.values()
        for step in operation.steps
        if not step.is_gate
    }
    for vmid, (tag, _) in ours.items():
        if int(vmid) not in known:
            yield Violation("I4", f"vm/{vmid}", f"it has tag {tag} and is in no plan")


def at_rest(evidence: Evidence) -> Iterator[Violation]:
    """I8: an operation has a living process, or an end with a reason code."""
    for operation in evidence.operations.values():
        states = [r for r in evidence.of_kind("state") if r.operation == operation.id]
        state = states[-1].body["state"] if states else "planned"
        reason = states[-1].body["reason"] if states else ""
        if state in ("planned", "running"):
            told = states[-1].time if states else operation.created
            if evidence.now - told > evidence.patience and not _lives(evidence, operation):
                why = f"it is {state} and no process works on it"
                yield Violation("I8", f"operation {operation.id}", why)
        # Who cancels an operation is its reason.
        elif reason not in REASONS and state != "cancelled":
            why = f"it is {state} with reason {reason!r}"
            yield Violation("I8", f"operation {operation.id}", why)


def _lives(evidence: Evidence, operation: Operation) -> bool:
    """Its process, or its parent's, had the site last and is alive."""
    locks = [lock for lock in evidence.of_kind("lock") if lock.site == operation.site]
    return (
        bool(locks)
        and locks[-1].operation in (operation.id, operation.parent)
        and holder_of(locks[-1]) in evidence.living
    )


def holder_of(lock: Record) -> str:
    """HOST:PID of who took the lock; empty when its record does not say."""
    holder = json.loads(lock.body.get("holder", "{}"))
    return f"{holder['host']}:{holder['pid']}" if "pid" in holder else ""


def honest(evidence: Evidence) -> Iterator[Violation]:
    """I32: what is reported as done is so."""
    unknown: Counter[str] = Counter()
    for operation in evidence.operations.values():
        done = {r.body["step"]: r for r in evidence.of_kind("done") if r.operation == operation.id}
        yield from _all_done(evidence, operation, set(done))
        for step in operation.steps:
            if step.key not in done:
                continue
            goal = GOALS.get(step.action.partition(".")[2])
            try:
                missing = goal(evidence, step, done[step.key]) if goal else None
            except UnknownGoalError:
                goal = missing = None
            if goal is None:
                unknown[step.action] += 1
            if missing:
                where = f"{done[step.key].where} of {step.key}"
                yield Violation("I32", where, f"reported as done, but {missing}")
    if unknown:
        listed = ", ".join(f"{action} {times}x" for action, times in sorted(unknown.items()))
        evidence.notes.append(f"I32: no ground truth for done steps of {listed}")


def _all_done(evidence: Evidence, operation: Operation, done: set[str]) -> Iterator[Violation]:
    states = [r for r in evidence.of_kind("state") if r.operation == operation.id]
    if states and states[-1].body["state"] == "done":
        left = [step.key for step in operation.steps if step.key not in done]
        if left:
            why = f"reported as done, and {len(left)} steps are not: {', '.join(left[:3])}"
            yield Violation("I32", f"operation {operation.id}", why)
