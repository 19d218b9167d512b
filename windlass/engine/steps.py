"""One step: intent, guard, effect, observation, done. Each durable before the next; a resume finds out, never guesses.

The protocol in one place. What an action is, it does not know; what happened, it asks the world and not the call.
"""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TypeVar

from windlass.engine.action import Action, Resume
from windlass.engine.failpoints import Failpoints
from windlass.engine.journal import Journal
from windlass.engine.lock import Hold
from windlass.engine.records import Operation, StepState
from windlass.errors import (
    AmbiguousError,
    DeniedError,
    FrozenError,
    NeedsHumanError,
    NotReadyError,
    ParkedError,
    PermanentError,
    PreflightError,
    RefusedError,
    StoppedError,
    TimedOutError,
    TransientError,
    WindlassError,
)
from windlass.models.plan import Json, JsonObject, Step
from windlass.waiting import wait_for

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A step in which the process died this often is not tried again by itself.
BREAKER = 3
# A call whose outcome is unknown and that left no trace is sent once more at most.
MAX_CALLS = 2


@dataclass
class StepRunner:
    """Runs the steps of one operation under one hold. Used from many threads, one step each."""

    journal: Journal
    hold: Hold
    operation: Operation
    stop: Event
    failpoints: Failpoints = field(default_factory=Failpoints)
    run_id: str = ""

    def run(self, step: Step, action: Action) -> None:
        """The step's goal holds afterwards, and the journal says so.

        Raises:
            StoppedError: parked, frozen, fenced, or a human is needed.
            WindlassError: why it failed.
        """
        before = self.journal.step_state(self.operation.id, step.key)
        if before.state == "done":
            return
        if not step.target or self.operation.plan.step(step.key) != step:
            raise RefusedError(f"{step.key} is not a step of the plan of {self.operation.id}")
        attempt = _Attempt(self, step, action, before)
        try:
            attempt.go()
        except BaseException as error:
            attempt.settle(error)
            raise


@dataclass(frozen=True)
class _Found:
    """What an effect without an answer left: a handle, or evidence that its goal holds."""

    handle: JsonObject | None = None
    evidence: JsonObject = field(default_factory=dict[str, Json])


class _Attempt:
    """One try at one step."""

    def __init__(self, runner: StepRunner, step: Step, action: Action, before: StepState) -> None:
        self.journal, self.hold, self.stop = runner.journal, runner.hold, runner.stop
        self.operation, self.fail, self.run = runner.operation, runner.failpoints, runner.run_id
        self.step, self.action, self.before = step, action, before
        # Calls that were begun, and those of them that left and were never answered.
        self.calls = self.silences = 0
        self.looked = False
        # When the earliest call left of which it is not known that it had no effect.
        self.sent = before.intent

    def go(self) -> None:
        if self.step.is_gate:
            self._gate()
            return
        self.fail.at(self.step.key, "pre_intent")
        self.journal.reserve()
        died = self.before.state in ("intent", "running")
        deaths = self.before.deaths + died
        self._write(
            "intent",
            {"inputs": self.step.inputs, "deadline_s": self.action.timing.effect.total_seconds()},
            state="intent", attempts=self.before.attempts + 1, deaths=deaths, message="", ended=None,
            started=self.before.started.isoformat() if self.before.started else _now(),
        )  # fmt: skip
        self.fail.at(self.step.key, "post_intent")
        self._guard(deaths)
        evidence = self._first_look() if self.sent is None else self._earlier(self.sent)
        if evidence is None:
            evidence = self._effect()
        self.fail.at(self.step.key, "post_effect")
        self._done(evidence)
        self.fail.at(self.step.key, "post_done")

    # Gates

    def _gate(self) -> None:
        started = self.before.started.isoformat() if self.before.started else _now()
        self._write(
            "gate",
            {},
            state="running",
            attempts=self.before.attempts + 1,
            started=started,
            message="",
        )
        self._done(self._wait(self.action.goal, self.action.timing.goal))

    # What was there before

    def _already(self) -> JsonObject | None:
        """Evidence that nothing needs doing, or None."""
        try:
            return self.action.goal()
        except TransientError:
            return None

    def _first_look(self) -> JsonObject | None:
        if self.before.effects:
            return self._already()
        with _nothing_sent():
            return self._already()

    def _earlier(self, since: datetime) -> JsonObject | None:
        """Evidence of an effect that an earlier attempt sent; None: go on from the guard."""
        if (evidence := self._already()) is not None:
            return evidence
        if self.before.handle is not None:
            return self._follow(self.before.handle)
        return self._traced(since)

    def _traced(self, since: datetime) -> JsonObject | None:
        try:
            found = self._wait(lambda: self._evidence_or_trace(since), self.action.timing.goal)
        except TimedOutError as unknown:
            raise NeedsHumanError(
                f"{self.step.key} may or may not have happened: {unknown}. "
                f"Look at {self.step.target}, then resume"
            ) from unknown
        if found is None:
            self.sent = None
            return None
        return self._found(found)

    def _evidence_or_trace(self, since: datetime) -> _Found | None:
        """What an earlier effect left; None: nothing, or nothing that forbids to repeat it."""
        if (evidence := self._already()) is not None:
            return _Found(evidence=evidence)
        try:
            handle = self.action.trace(since)
        except AmbiguousError as unknown:
            if self.action.resume is Resume.REPEAT:
                return None
            # It may still be on its way to its goal: a person is asked only when that did not come true either.
            raise NotReadyError(str(unknown)) from unknown
        return None if handle is None else _Found(handle=handle)

    def _found(self, found: _Found) -> JsonObject:
        if found.handle is None:
            return found.evidence
        self._write(
            "handle",
            {"adopted": True},
            state="running",
            handle=found.handle,
        )
        return self._follow(found.handle)

    # The effect

    def _effect(self) -> JsonObject:
        try:
            timing = self.action.timing
            sent = self._wait(self._sent, timing.begin or timing.effect)
        except AmbiguousError as unknown:
            return self._after_silence(unknown)
        except RefusedError:
            if (evidence := self._already()) is not None:
                return evidence
            raise
        if sent.evidence:
            return sent.evidence
        self.fail.at(self.step.key, "mid_effect")
        if sent.handle is not None:
            self._write("handle", {}, state="running", handle=sent.handle)
            return self._follow(sent.handle)
        return self._wait(self.action.goal, self.action.timing.goal)

    def _sent(self) -> _Found:
        """Make the call; where an earlier try did not get through, look first whether the goal holds after all."""
        if self.looked and (evidence := self._already()) is not None:
            return _Found(evidence=evidence)
        self.looked = True
        return _Found(handle=self._call())

    def _call(self) -> JsonObject | None:
        """The one call, right behind its guard. A TransientError means that nothing was sent."""
        self._guard(0)
        with _nothing_sent():
            self.action.preconditions()
        self.hold.check()
        self.calls += 1
        self.sent = self.sent or datetime.now(UTC)
        ends = datetime.now(UTC) + self.action.timing.effect
        self._write(
            "effect",
            {"call": self.calls},
            effects=self.before.effects + self.calls,
            intent=self.sent.isoformat(),
            deadline=(ends - self.sent).total_seconds(),
            handle=None,
        )
        try:
            return self.action.effect()
        except (TransientError, PermanentError):
            # Nothing left, or it was refused: either way it had no effect.
            self.sent = None
            raise

    def _after_silence(self, unknown: AmbiguousError) -> JsonObject:
        """The call left and no answer came: look until it can no longer be under way."""
        since = datetime.now(UTC) - self.action.timing.effect
        self.silences += 1
        self._write("ambiguous", {}, message=str(unknown))

        def seen() -> _Found:
            if (evidence := self._already()) is not None:
                return _Found(evidence=evidence)
            if (handle := self._trace_or_none(since)) is not None:
                return _Found(handle=handle)
            raise NotReadyError(f"no trace of {self.step.key} so far")

        try:
            found = self._wait(seen, self.action.timing.effect)
        except TimedOutError as nothing:
            return self._once_more(unknown, nothing)
        return self._found(found)

    def _trace_or_none(self, since: datetime) -> JsonObject | None:
        try:
            return self.action.trace(since)
        except (AmbiguousError, TransientError):
            return None

    def _once_more(self, unknown: AmbiguousError, nothing: TimedOutError) -> JsonObject:
        if self.action.resume is Resume.NEVER:
            raise NeedsHumanError(
                f"{self.step.key} was sent and never answered ({unknown}): "
                f"look at {self.step.target}, then resume"
            ) from nothing
        if self.silences >= MAX_CALLS:
            raise nothing
        return self._effect()

    def _follow(self, handle: JsonObject) -> JsonObject:
        timing = self.action.timing
        try:
            self._wait(lambda: self.action.follow(handle), timing.goal + timing.effect)
        except RefusedError:
            # It ended badly, and is over: another attempt begins anew.
            self.sent = None
            if (evidence := self._already()) is not None:
                return evidence
            raise
        except AmbiguousError as lost:
            return self._untold(lost)
        return self._wait(self.action.goal, timing.goal)

    def _untold(self, lost: AmbiguousError) -> JsonObject:
        """The handle no longer tells how it ended: only the goal can."""
        try:
            return self._wait(self.action.goal, self.action.timing.goal)
        except TimedOutError as unknown:
            if self.action.resume is Resume.REPEAT:
                raise
            raise NeedsHumanError(
                f"{self.step.key}: {lost}; {unknown}. Look at {self.step.target}, then resume"
            ) from unknown

    # Guards, waits, records

    def _guard(self, deaths: int) -> None:
        """Everything that can still say no before a call is sent."""
        if deaths >= BREAKER:
            raise ParkedError(
                f"the process died {deaths} times in {self.step.key}: find out why before it is tried again"
            )
        if self.operation.plan.hash != self.operation.plan_hash:
            raise RefusedError(
                f"the plan of {self.operation.id} is not the one it was approved with"
            )
        if self.stop.is_set():
            raise ParkedError(f"asked to stop before {self.step.key}")
        if (freeze := self.journal.frozen(self.operation.site)) is not None:
            raise FrozenError(f"{freeze.site} is frozen by {freeze.by}: {freeze.reason}")
        self.hold.check()

    def _wait(self, probe: Callable[[], T], timeout: timedelta) -> T:
        return wait_for(
            self.step.key, probe, timeout=timeout, pace=self.action.timing.pace, stop=self.stop
        )

    def _done(self, evidence: JsonObject) -> None:
        self._write("done", {}, state="done", ended=_now(), evidence=evidence, message="")

    def settle(self, why: BaseException) -> None:
        """How the attempt ended, when it did not end well; it did not die, so deaths count anew."""
        state, message = _state_after(why), str(why)
        if isinstance(why, TimedOutError) and self.action.resume is Resume.REPEAT:
            self.sent = None
        columns: JsonObject = {"deaths": 0, "ended": _now(), "message": message}
        if self.sent is None:
            columns |= {"intent": None, "handle": None}
        try:
            self._write(state, {}, state=state, **columns)
        except (WindlassError, OSError) as error:
            # Another holder's word counts now, or the disk is full; the error itself is raised all the same.
            logger.warning("%s: how it ended could not be recorded: %s", self.step.key, error)

    def _write(self, kind: str, facts: JsonObject, **columns: Json) -> None:
        """A record of this attempt: facts for whoever reads it, and what the step's row is from now on."""
        said: JsonObject = {
            "epoch": self.hold.epoch,
            "attempt": self.before.attempts + 1,
            "run": self.run,
            "plan_hash": self.operation.plan_hash,
            **facts,
            **columns,
        }
        self.journal.write_step(self.operation, self.step.key, kind, said, epoch=self.hold.epoch)


@contextmanager
def _nothing_sent() -> Generator[None]:
    """What is refused here is the guard's no and not the target's: the site is not what the plan was made for."""
    try:
        yield
    except DeniedError:
        raise
    except RefusedError as differs:
        raise PreflightError(str(differs)) from differs


def _state_after(why: BaseException) -> str:
    """Parked when it came to rest or a signal ended it, failed otherwise."""
    if isinstance(why, NeedsHumanError):
        return "failed"
    return (
        "failed" if isinstance(why, Exception) and not isinstance(why, StoppedError) else "parked"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
