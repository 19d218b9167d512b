"""A world small enough to be a folder: a thing exists or not, calls are counted, and both survive the process."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from windlass.engine.action import Resume, Timing
from windlass.errors import (
    AmbiguousError,
    NotReadyError,
    PreflightError,
    RefusedError,
    UnreachableError,
)
from windlass.models.plan import JsonObject, Plan, Risk, Step
from windlass.waiting import Pace

QUICK = Pace(first=timedelta(seconds=0.01), longest=timedelta(seconds=0.02))


@dataclass
class Thing:
    """An action that makes a file. `says` is what its call ends with after it did (or did not do) its work."""

    folder: Path
    name: str
    resume: Resume = Resume.REPEAT
    says: str = "ok"
    traceable: str = "none"
    forbidden: str = ""
    timing: Timing = field(
        default_factory=lambda: Timing(timedelta(seconds=0.2), timedelta(seconds=0.3), QUICK)
    )

    @property
    def calls(self) -> int:
        log = self.folder / f"{self.name}.calls"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def exists(self) -> bool:
        return (self.folder / self.name).exists()

    def goal(self) -> JsonObject:
        if not self.exists():
            raise NotReadyError(f"{self.name} does not exist")
        return {"name": self.name}

    def preconditions(self) -> None:
        if self.forbidden:
            raise PreflightError(self.forbidden)

    def effect(self) -> JsonObject | None:
        if self.says == "unreachable":
            raise UnreachableError("no connection")
        with (self.folder / f"{self.name}.calls").open("a") as log:
            log.write("called\n")
        if self.says == "refused":
            raise RefusedError("no")
        if self.says == "lost before":
            raise AmbiguousError("no answer")
        (self.folder / self.name).touch()
        if self.says == "lost after":
            raise AmbiguousError("no answer")
        return {"task": self.name}

    def follow(self, handle: JsonObject) -> None:
        if handle != {"task": self.name}:
            raise RefusedError(f"{handle} is not mine")

    def trace(self, since: datetime) -> JsonObject | None:
        if self.traceable == "unknown":
            raise AmbiguousError(f"nobody knows what happened since {since}")
        return {"task": self.name} if self.traceable == "running" else None


def plan_of(*names: str, chain: bool = True) -> Plan:
    """A plan that makes these things, one after the other or side by side."""
    steps = [
        Step(
            key=f"make/{name}",
            action="make",
            target=name,
            phase="making",
            risk=Risk.SAFE,
            waits_for=(f"make/{names[i - 1]}",) if chain and i else (),
        )
        for i, name in enumerate(names)
    ]
    return Plan("harbour", "bootstrap", {}, tuple(steps), limits=dict[str, int]())
