"""Watching an operation from the journal: a live picture on a terminal, one line a finished step otherwise."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from threading import Event
from types import TracebackType
from typing import Self

from windlass.cli import printing
from windlass.engine.journal import Journal
from windlass.engine.progress import progress_of
from windlass.errors import NotReadyError, RefusedError, TransientError
from windlass.models.plan import Plan
from windlass.models.progress import OperationProgress
from windlass.reports.plan import duration
from windlass.reports.progress import bar, by_phase
from windlass.waiting import Pace, wait_for

LOOK = Pace(first=timedelta(seconds=0.25), factor=1.0, longest=timedelta(seconds=0.25))
AT_REST = frozenset({"done", "refused", "cancelled", "failed", "needs-human", "parked"})
GONE = frozenset({"CRASHED", "FAILED", "CANCELLED"})
RunState = Callable[[], tuple[str, str, str]]


class Follower:
    """Shows how far an operation is. As a context manager it shows while something else runs it."""

    def __init__(self, journal: Journal, operation: str, *, quiet: bool = False) -> None:
        self._journal = journal
        self._id = operation
        self._plan: Plan = journal.operation(operation).plan
        self._quiet = quiet
        self._said: set[str] = set()
        self._ended = Event()
        self._thread: threading.Thread | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._keep_showing, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_showing(self) -> None:
        with self._screen() as screen:
            while True:
                last = self._ended.wait(LOOK.first.total_seconds())
                screen.show(progress_of(self._journal, self._id))
                if last:
                    return

    def until_rest(
        self, *, since: datetime, timeout: timedelta, stop: Event, alive: RunState | None = None
    ) -> OperationProgress:
        """Show until the operation is at rest and return how it ended.

        Raises:
            RefusedError: its flow run ended without bringing it to rest.
        """
        with self._screen() as screen:

            def at_rest() -> OperationProgress:
                operation = self._journal.operation(self._id)
                now = progress_of(self._journal, self._id)
                screen.show(now)
                if operation.updated > since and now.state in AT_REST:
                    return now
                self._still_alive(alive)
                raise NotReadyError(f"operation {self._id} is {now.state}")

            return wait_for(f"operation {self._id}", at_rest, timeout=timeout, pace=LOOK, stop=stop)

    def _still_alive(self, alive: RunState | None) -> None:
        if alive is None:
            return
        try:
            kind, name, message = alive()
        except TransientError:
            # The server may restart under a run; the journal goes on telling.
            return
        if kind in GONE and self._journal.operation(self._id).state.value not in AT_REST:
            raise RefusedError(
                f"its flow run ended as {name} ({message}); go on with: windlass resume {self._id}"
            )

    def _screen(self) -> "_Screen":
        if self._quiet:
            return _Screen()
        return _Live(self._plan) if printing.is_terminal() else _Lines(self._plan)


class _Screen:
    """Shows nothing; the others show more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_ended: object) -> None:
        return

    def show(self, progress: OperationProgress) -> None:
        """Take notice of how far it is."""


class _Lines(_Screen):
    """One line for each step that ended, for logs and pipes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._said: set[tuple[str, str]] = set()

    def show(self, progress: OperationProgress) -> None:
        done = progress.counted("done")
        for step in self._plan:
            known = progress.steps[step.key]
            if known.state in ("done", "failed") and (step.key, known.state) not in self._said:
                self._said.add((step.key, known.state))
                took = f"{duration(known.took)}" if known.took is not None else ""
                why = f": {known.message}" if known.state == "failed" else ""
                printing.say(
                    f"  {done:>3}/{len(self._plan.steps)}  {step.phase:<12} {step.key} {took}{why}"
                )


class _Live(_Screen):
    """A table of phases that moves, for people."""

    def __init__(self, plan: Plan) -> None:
        from rich.console import Console  # noqa: PLC0415 - a tenth of a second that plain output need not pay
        from rich.live import Live  # noqa: PLC0415

        self._plan = plan
        self._live = Live(console=Console(), refresh_per_second=8, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_ended: object) -> None:
        self._live.stop()

    def show(self, progress: OperationProgress) -> None:
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table.grid(padding=(0, 2))
        for phase in by_phase(self._plan, progress):
            style = (
                "red"
                if phase.failed
                else "green"
                if phase.done == phase.total
                else "bold"
                if phase.done or phase.running
                else "dim"
            )
            now = phase.failed[0].message if phase.failed else ", ".join(phase.running[:3])
            took = duration(phase.took) if phase.took is not None else ""
            table.add_row(
                Text(phase.name, style),
                Text(bar(phase.done, phase.total), style),
                took,
                Text(printing.harmless(now)[:90], "dim"),
            )
        self._live.update(table)
