"""How far an operation is: plain values that reports print, wherever they were read from."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

State = Literal["pending", "running", "done", "failed", "parked"]


@dataclass(frozen=True)
class StepProgress:
    """One step: `message` is why it failed or what it waits for; times are None until they are known."""

    key: str
    state: State
    started: datetime | None = None
    ended: datetime | None = None
    message: str = ""

    @property
    def took(self) -> timedelta | None:
        return self.ended - self.started if self.started and self.ended else None


@dataclass(frozen=True)
class OperationProgress:
    """One operation: `state` and `reason` are the journal's words."""

    id: str
    site: str
    verb: str
    state: str
    reason: str
    message: str
    steps: dict[str, StepProgress]
    remains: tuple[str, ...] = field(default=())

    @property
    def started(self) -> datetime | None:
        return min((s.started for s in self.steps.values() if s.started), default=None)

    @property
    def ended(self) -> datetime | None:
        return max((s.ended for s in self.steps.values() if s.ended), default=None)

    def counted(self, state: State) -> int:
        return sum(step.state == state for step in self.steps.values())
