"""The life of an operation: approved, held, acted, and always at rest in the end with a reason code.

A resumed operation reads its plan from the journal and never plans again. One that is done does nothing.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from typing import Any, Literal

from sqlalchemy.exc import DBAPIError

from windlass import __version__
from windlass.engine.action import Action
from windlass.engine.executor import Executor
from windlass.engine.failpoints import Failpoints
from windlass.engine.journal import Journal
from windlass.engine.lock import LEASE, Hold, SiteLock
from windlass.engine.records import Operation, OperationState
from windlass.engine.steps import StepRunner
from windlass.errors import (
    BadInputError,
    BusyError,
    FrozenError,
    NeedsHumanError,
    ParkedError,
    PreflightError,
    RefusedError,
    WindlassError,
)
from windlass.models.plan import Plan, Risk, Step

logger = logging.getLogger(__name__)

Policy = Literal["always", "by-risk", "never"]
MakeAction = Callable[[Step, int], Action]
# A cancel is asked for in the journal, by any process; it is noticed within this.
LOOK_S = 0.5


def needs_approval(plan: Plan, policy: Policy) -> bool:
    """Whether a person must say yes to this plan."""
    if policy == "by-risk":
        return plan.risk in (Risk.DISRUPTIVE, Risk.DESTRUCTIVE)
    return policy == "always"


@dataclass
class Acting:
    """How to run an operation: by whom, as which run, in which lab."""

    journal: Journal
    executor: Executor
    make_action: MakeAction
    run: str
    is_lab: bool = False
    lease: timedelta = LEASE
    stop: Event = field(default_factory=Event)

    def act(self, operation: Operation) -> Operation:
        """Bring the operation to rest: done, parked, refused, failed or waiting for a human; the error is raised too.

        Raises:
            WindlassError: anything but done. The journal has the same reason.
        """
        if operation.state is OperationState.DONE:
            return operation
        if operation.is_ended:
            raise RefusedError(f"operation {operation.id} has ended ({operation.state}): plan anew")
        failpoints = Failpoints.of(
            os.environ, lab=self.is_lab, stop=self.stop, quiet=self.journal.quiet
        )
        lock = SiteLock(self.journal, operation.site, self.lease)
        with _on_sigterm(self.stop), ExitStack() as stack:
            try:
                hold = stack.enter_context(lock.hold(operation.id, run=self.run, stop=self.stop))
            except BaseException as error:
                self._note_unheld(operation, error)
                raise
            self.journal.begin(operation.id, hold.epoch)
            with self._recorded(operation, hold.epoch), self._listening(operation):
                self._run(operation, hold, failpoints)
        return self.journal.operation(operation.id)

    def _run(self, operation: Operation, hold: Hold, failpoints: Failpoints) -> None:
        _same_version(operation)
        hold.let_calls_end(self.stop)
        runner = StepRunner(self.journal, hold, operation, self.stop, failpoints, self.run)

        def run_step(step: Step) -> None:
            runner.run(step, self.make_action(step, hold.epoch))

        self.executor.run(operation.plan, run_step, self.stop)
        self._all_done(operation)

    def _note_unheld(self, operation: Operation, error: BaseException) -> None:
        """Why the site could not be had; where this very operation runs elsewhere, that run has the word."""
        state, reason = ending_of(error)
        try:
            self.journal.set_state(
                operation.id, state, reason=reason, message=str(error), remains=operation.remains
            )
        except WindlassError as other:
            logger.info("%s: %s; nothing is recorded: %s", operation.id, error, other)

    def _all_done(self, operation: Operation) -> None:
        states = self.journal.step_states(operation.id)
        left = [
            s.key for s in operation.plan if s.key not in states or states[s.key].state != "done"
        ]
        if left:
            raise ParkedError(f"{len(left)} steps are left, the next is {left[0]}")

    @contextmanager
    def _recorded(self, operation: Operation, epoch: int) -> Generator[None]:
        """Whatever happens inside, the journal says how it ended, unless somebody took the site over."""
        journal = self.journal
        try:
            yield
            journal.set_state(operation.id, OperationState.DONE, reason="SUCCESS", epoch=epoch)
        except BaseException as error:
            state, reason = ending_of(error)
            try:
                journal.set_state(
                    operation.id, state, reason=reason, message=str(error), epoch=epoch,
                    remains=remaining(journal, operation),
                )  # fmt: skip
            except BusyError as lost:
                # Another holder's word counts now: that is why this one ends, whatever ended it.
                raise lost from error
            except WindlassError as unwritten:
                # The disk may be full; the error itself is raised.
                logger.warning("%s: its end could not be recorded: %s", operation.id, unwritten)
            raise

    @contextmanager
    def _listening(self, operation: Operation) -> Generator[None]:
        """A cancel sets the stop flag."""
        ended = Event()

        def look() -> None:
            while not ended.wait(LOOK_S):
                try:
                    if self.journal.stop_requested(operation.id):
                        self.stop.set()
                except (DBAPIError, WindlassError, OSError) as error:
                    logger.warning("whether %s is to stop cannot be read: %s", operation.id, error)

        watcher = threading.Thread(target=look, name="stop-watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _same_version(operation: Operation) -> None:
    if operation.version.split(".")[:2] != __version__.split(".")[:2]:
        raise NeedsHumanError(
            f"operation {operation.id} was planned by Windlass {operation.version}, this is {__version__}: "
            "go on with that version, or plan anew",
            reason="CODE_CHANGED",
        )


@contextmanager
def _on_sigterm(stop: Event) -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def asked(_number: int, _frame: Any) -> None:
        stop.set()

    before = signal.signal(signal.SIGTERM, asked)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def ending_of(error: BaseException) -> tuple[OperationState, str]:
    """The state and reason code that an error leaves an operation in."""
    if isinstance(error, NeedsHumanError):
        return OperationState.NEEDS_HUMAN, error.reason
    table: tuple[tuple[type[BaseException], OperationState, str], ...] = (
        (BusyError, OperationState.PARKED, "BUSY"),
        (FrozenError, OperationState.PARKED, "FROZEN"),
        (ParkedError, OperationState.PARKED, "PARKED"),
        (PreflightError, OperationState.REFUSED, "REFUSED"),
        (BadInputError, OperationState.REFUSED, "REFUSED"),
        (WindlassError, OperationState.FAILED, "FAILED"),
    )
    for kind, state, reason in table:
        if isinstance(error, kind):
            return state, reason
    if not isinstance(error, Exception):
        # A signal that ends the process: what was begun is in the journal, so this is a park.
        return OperationState.PARKED, "PARKED"
    return OperationState.FAILED, "FAILED"


def remaining(journal: Journal, operation: Operation) -> tuple[str, ...]:
    """What the operation made for a while and did not take back, as far as it came."""
    states = journal.step_states(operation.id)
    return tuple(
        f"{step.key} stays until {step.undone_by}"
        for step in operation.plan
        if step.undone_by
        and (mine := states.get(step.key)) is not None
        and (mine.intent is not None or mine.state == "done")
        and ((undo := states.get(step.undone_by)) is None or undo.state != "done")
    )


def reconcile(journal: Journal) -> list[str]:
    """Operations that say they run and whose holder is dead are parked, with the reason; their ids are returned."""
    return [one.id for one in journal.operations() if _parked_if_dead(journal, one)]


def _parked_if_dead(journal: Journal, operation: Operation) -> bool:
    """Park it, if its holder is dead and nobody goes on with it at this moment."""
    epoch = journal.epoch(operation.site)
    if operation.state is not OperationState.RUNNING or SiteLock(journal, operation.site).is_held():
        return False
    try:
        journal.set_state(
            operation.id, OperationState.PARKED, reason="PARKED", epoch=epoch,
            remains=remaining(journal, operation),
            message="its process died; the journal has every step: windlass resume goes on",
        )  # fmt: skip
    except (BusyError, RefusedError) as goes_on:
        logger.info("%s: %s", operation.id, goes_on)
        return False
    return True
