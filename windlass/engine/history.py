"""What the records of an operation add up to. Pure: records in, states out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from windlass.engine.records import CLOSING, STEP_PHASES, Phase, Record, Sent
from windlass.models.plan import JsonObject, Plan


class OperationState(StrEnum):
    """Where an operation stands.

    Done is done: going on with it is a no-op. Refused and cancelled ended for good: what comes next is a new plan.
    All others can be resumed: failed and needs-human once a person has looked.
    """

    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting-approval"
    RUNNING = "running"
    PARKED = "parked"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    NEEDS_HUMAN = "needs-human"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in (self.DONE, self.REFUSED, self.CANCELLED)


@dataclass(frozen=True)
class Operation:
    """One run of a verb on a site, as the journal knows it. `reason` is one of the reason codes, once it ended."""

    id: str
    site: str
    verb: str
    plan_hash: str
    state: OperationState
    reason: str | None
    message: str
    created: datetime
    updated: datetime
    runs: tuple[str, ...]
    parent: str | None
    created_seq: int
    created_body: JsonObject = field(repr=False)

    @cached_property
    def plan(self) -> Plan:
        return Plan.from_json(self._created["plan"])

    @property
    def origin(self) -> str:
        return self._created["origin"]

    @property
    def _created(self) -> dict[str, Any]:
        return self.created_body


class StepPhase(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    INTENT = "intent"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    PARKED = "parked"


_STANDS = {
    Phase.LOOK: StepPhase.RUNNING,
    Phase.INTENT: StepPhase.INTENT,
    Phase.HANDLE: StepPhase.RUNNING,
    Phase.DONE: StepPhase.DONE,
    Phase.FAILED: StepPhase.FAILED,
    Phase.REFUSED: StepPhase.REFUSED,
    Phase.PARKED: StepPhase.PARKED,
}


@dataclass(frozen=True)
class StepState:
    """Where one step stands. `evidence` is what its goal saw; `started` and `ended` are of the last attempt."""

    key: str
    state: StepPhase = StepPhase.PENDING
    attempts: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    evidence: JsonObject | None = None
    message: str = ""
    reason: str | None = None


@dataclass(frozen=True)
class StepHistory:
    """All records of one step, oldest first."""

    records: tuple[Record, ...]

    @property
    def attempts(self) -> int:
        return max((record.entry.attempt for record in self.records), default=0)

    @property
    def last(self) -> Record | None:
        return self.records[-1] if self.records else None

    @property
    def done(self) -> Record | None:
        last = self.last
        return last if last is not None and last.phase is Phase.DONE else None

    @property
    def deaths(self) -> int:
        """How many attempts in a row, up to now, ended without a word."""
        count = 0
        closed = {record.entry.attempt for record in self.records if record.phase in CLOSING}
        for attempt in range(self.attempts, 0, -1):
            if attempt in closed:
                break
            count += 1
        return count

    @property
    def unsettled(self) -> Record | None:
        """The last INTENT, unless it is known that it had no effect."""
        intent = self._last_of(Phase.INTENT)
        if intent is None or self.sent in (Sent.NO, Sent.REFUSED):
            return None
        return intent

    @property
    def sent(self) -> Sent:
        """What is known of the effect of the last INTENT."""
        intent = self._last_of(Phase.INTENT)
        if intent is None:
            return Sent.NO
        known = Sent.UNKNOWN
        for record in self.records:
            if record.seq <= intent.seq:
                continue
            if record.phase is Phase.HANDLE:
                known = Sent.YES
            elif record.phase in CLOSING:
                known = Sent(str(record.body["sent"]))
        return known

    @property
    def handle(self) -> JsonObject | None:
        """The handle of the last INTENT's effect, when it had one and it was journaled."""
        intent, handle = self._last_of(Phase.INTENT), self._last_of(Phase.HANDLE)
        if intent is None or handle is None or handle.seq < intent.seq:
            return None
        found = handle.body["handle"]
        return found if isinstance(found, dict) else None

    def state(self, key: str) -> StepState:
        last = self.last
        if last is None:
            return StepState(key)
        began = next(r.time for r in self.records if r.entry.attempt == last.entry.attempt)
        evidence = last.body.get("evidence")
        return StepState(
            key=key,
            state=_STANDS[last.phase],
            attempts=self.attempts,
            started=began,
            ended=last.time if last.phase in CLOSING else None,
            evidence=evidence if isinstance(evidence, dict) else None,
            message=str(last.body.get("message", "")),
            reason=last.entry.reason or None,
        )

    def _last_of(self, phase: Phase) -> Record | None:
        return next((record for record in reversed(self.records) if record.phase is phase), None)


def by_step(records: Iterable[Record]) -> dict[str, StepHistory]:
    """The step records among `records` (oldest first), by step key."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.phase in STEP_PHASES:
            found.setdefault(record.entry.step, []).append(record)
    return {key: StepHistory(tuple(mine)) for key, mine in found.items()}


@dataclass(frozen=True)
class Approval:
    """Somebody said yes to one plan, by its hash."""

    operation: str
    plan_hash: str
    by: str
    at: datetime


@dataclass(frozen=True)
class Freeze:
    """No effect may begin on the site, until somebody thaws it."""

    site: str
    reason: str
    by: str
    since: datetime


@dataclass(frozen=True)
class StopRequest:
    """Somebody asked an operation to come to rest; `cancel` also ends it for good."""

    operation: str
    by: str
    at: datetime
    cancel: bool


def last_start(records: Sequence[Record]) -> int:
    """The sequence number of the record that last set the operation running; 0: it never ran."""
    return max(
        (r.seq for r in records if r.phase is Phase.STATE and r.body["state"] == "running"),
        default=0,
    )
