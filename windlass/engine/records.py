"""What the journal keeps, as values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from windlass.models.plan import JsonObject, Plan


class OperationState(StrEnum):
    """Where an operation is. DONE, REFUSED and CANCELLED are ends; the others can go on."""

    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting-approval"
    RUNNING = "running"
    PARKED = "parked"
    FAILED = "failed"
    NEEDS_HUMAN = "needs-human"
    DONE = "done"
    REFUSED = "refused"
    CANCELLED = "cancelled"


ENDS = frozenset({OperationState.DONE, OperationState.REFUSED, OperationState.CANCELLED})


@dataclass(frozen=True)
class Operation:
    """One run of a verb on a site. `reason` is a reason code, `message` a sentence."""

    id: str
    site: str
    verb: str
    plan: Plan
    plan_hash: str
    state: OperationState
    reason: str
    message: str
    remains: tuple[str, ...]
    origin: str
    parent: str | None
    version: str
    site_file: str
    created: datetime
    updated: datetime
    runs: tuple[str, ...] = ()

    @property
    def is_ended(self) -> bool:
        return self.state in ENDS


@dataclass(frozen=True)
class StepState:
    """One step: pending, intent (an effect may be out), running (its handle is known), done, failed, parked.

    `deaths` counts the times a process died in it, `effects` the calls that were sent.
    """

    key: str
    state: str
    attempts: int = 0
    deaths: int = 0
    effects: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    intent: datetime | None = None
    deadline: timedelta | None = None
    handle: JsonObject | None = None
    evidence: JsonObject | None = None
    message: str = ""


@dataclass(frozen=True)
class Freeze:
    site: str
    reason: str
    by: str
    since: datetime


@dataclass(frozen=True)
class Approval:
    operation: str
    plan_hash: str
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True)
class Holder:
    """Who holds a site's lock. `renewed` is seconds since 1970."""

    site: str
    epoch: int
    operation: str
    run: str
    pid: int
    host: str
    renewed: float
    lease: timedelta
