"""I3, I10, I12, I14 and I23: every effect is announced, allowed, in force and made once."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from windlass.lab.observer.causes import TRAILING, Cause, cause_of, is_prompt, steps_of
from windlass.lab.observer.evidence import SAME_S, Event, Evidence, Record, Violation

# What does harm when it is done a second time.
DESTRUCTIVE = frozenset({
    "bootstrap", "install", "apply_config", "reboot", "reboot_asked", "shutdown", "shutdown_asked", "reset",
    "reset_asked", "etcd_leave", "etcd_remove", "vm_create", "vm_destroy", "vm_stop", "vm_shutdown", "vm_reset",
    "vm_reboot", "vm_rollback", "volume_delete", "kubernetes.delete",
})  # fmt: skip


@dataclass(frozen=True)
class Effect:
    """An effect of an operation, and what announced it."""

    event: Event
    cause: Cause | None

    @property
    def began(self) -> float:
        """The latest time at which its call can have been made: when it arrived, or was announced."""
        if is_prompt(self.event) or self.cause is None:
            return self.event.time
        return self.cause.call.time


def effects(evidence: Evidence) -> list[Effect]:
    return [Effect(event, cause_of(evidence, event)) for event in evidence.by_windlass]


def once(found: list[Effect]) -> Iterator[Violation]:
    """I3: a destructive effect happens at most once for an operation, step and target."""
    seen: Counter[tuple[str, str, str, str]] = Counter()
    for effect in found:
        event = effect.event
        if event.verb not in DESTRUCTIVE:
            continue
        step = effect.cause.step.key if effect.cause else ""
        key = (event.run, step, event.verb, event.target)
        seen[key] += 1
        if seen[key] > 1:
            of = step or "no step"
            why = f"operation {event.run} did it {seen[key]} times for {of}"
            yield Violation("I3", event.where, why)


def in_scope(evidence: Evidence, found: list[Effect]) -> Iterator[Violation]:
    """I12: every target is in the approved plan, with an action that accounts for what was done to it."""
    for effect in found:
        event = effect.event
        operation = evidence.operations.get(event.run)
        # An operation that the journal has lost is I24's.
        if operation is not None and not steps_of(evidence, operation, event):
            yield Violation("I12", event.where, f"no step of operation {event.run} does that")


def announced(found: list[Effect]) -> Iterator[Violation]:
    """I23: each effect is preceded by the record of its call, with the epoch that it carries."""
    for effect in found:
        if effect.cause is None:
            event = effect.event
            why = f"no record of operation {event.run} in epoch {event.epoch} announced it"
            yield Violation("I23", event.where, why)


@dataclass(frozen=True)
class Term:
    """A hold on a site: who got it, and until when its epoch was the site's."""

    lock: Record
    until: float

    @property
    def epoch(self) -> int:
        return self.lock.body["epoch"]


def terms(evidence: Evidence) -> list[Term]:
    """Every hold there was; it ends when it is let go or when the next one begins."""
    found: list[Term] = []
    for lock in evidence.of_kind("lock"):
        ends = [
            record.time
            for record in evidence.of_kind("lock", "unlock")
            if record.site == lock.site and record.seq > lock.seq
            and (record.kind == "lock" or record.body["epoch"] == lock.body["epoch"])
        ]  # fmt: skip
        found.append(Term(lock, min(ends, default=float("inf"))))
    return found


def one_writer(evidence: Evidence, found: list[Effect]) -> Iterator[Violation]:
    """I10: an effect carries the epoch that is the site's at that instant, and it is its own operation's.

    Guard and call are not one: a call that was announced in time may still arrive until its deadline.
    """
    held = terms(evidence)
    yield from _rising(held)
    for effect in found:
        event = effect.event
        operation = evidence.operations.get(event.run)
        if operation is None:
            continue
        mine = [
            term for term in held
            if term.lock.site == operation.site and term.epoch == event.epoch
        ]  # fmt: skip
        if not mine:
            continue
        if not any(term.lock.operation in (event.run, operation.parent) for term in mine):
            holder = mine[0].lock.operation
            yield Violation("I10", event.where, f"epoch {event.epoch} is operation {holder}'s")
        else:
            yield from _in_force(evidence, mine[-1], effect)


def _rising(held: list[Term]) -> Iterator[Violation]:
    last: dict[str, int] = {}
    for term in held:
        site = term.lock.site
        if term.epoch <= last.get(site, 0):
            yield Violation("I10", term.lock.where, f"epoch {term.epoch} was given out before")
        last[site] = max(term.epoch, last.get(site, 0))


def _in_force(evidence: Evidence, term: Term, effect: Effect) -> Iterator[Violation]:
    event, cause = effect.event, effect.cause
    if event.time <= term.until + SAME_S or event.verb in TRAILING:
        return
    late = event.time - term.until
    if cause is None or cause.call.time > term.until + SAME_S:
        yield Violation("I10", event.where, f"epoch {event.epoch} was over {late:.1f} s before")
    elif is_prompt(event) and event.time > cause.call.time + _deadline(evidence, cause):
        why = f"epoch {event.epoch} was over {late:.1f} s before, and so was the call's deadline"
        yield Violation("I10", event.where, why)


def _deadline(evidence: Evidence, cause: Cause) -> float:
    """How many seconds the call had, by the intent before it."""
    intents = [
        record.body["deadline_s"]
        for record in evidence.of_kind("intent")
        if record.operation == cause.call.operation and record.body["step"] == cause.step.key
        and record.seq < cause.call.seq
    ]  # fmt: skip
    return intents[-1] if intents else 0


def frozen(evidence: Evidence, found: list[Effect]) -> Iterator[Violation]:
    """I14: no effect begins more than the grace after a freeze, until the site is thawed."""
    intervals = _freezes(evidence)
    for effect in found:
        operation = evidence.operations.get(effect.event.run)
        if operation is None or effect.event.verb in TRAILING:
            continue
        for site, since, until in intervals:
            if site == operation.site and since + evidence.grace < effect.began < until:
                why = f"{site} was frozen {effect.began - since:.1f} s before"
                yield Violation("I14", effect.event.where, why)
    for call in evidence.of_kind("effect"):
        for site, since, until in intervals:
            if site == call.site and since + evidence.grace < call.time < until:
                why = f"{site} was frozen {call.time - since:.1f} s before"
                yield Violation("I14", call.where, why)


def _freezes(evidence: Evidence) -> list[tuple[str, float, float]]:
    """Site, since when, until when."""
    found: list[tuple[str, float, float]] = []
    for freeze in evidence.of_kind("freeze"):
        thaws = [
            record.time for record in evidence.of_kind("thaw")
            if record.site == freeze.site and record.seq > freeze.seq
        ]  # fmt: skip
        found.append((freeze.site, freeze.time, min(thaws, default=float("inf"))))
    return found
