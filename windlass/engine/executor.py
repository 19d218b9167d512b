"""Runs a plan's steps in their order, side by side as far as edges and limits allow.

What a step does is the caller's affair. Prefect's executor lives with the tasks; this one needs no server.
"""

import contextvars
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from threading import Condition, Event
from typing import Protocol

from windlass.errors import (
    AmbiguousError,
    BusyError,
    FrozenError,
    NeedsHumanError,
    ParkedError,
    PermanentError,
    TransientError,
)
from windlass.models.plan import Plan, Step

# Most steps spend their time waiting for a machine; more threads than this cost memory and gain nothing.
MAX_WORKERS = 48

# A step that failed without having changed anything is tried this often in all, after these pauses.
TRIES = 3
PAUSE = timedelta(seconds=2)

# How soon a waiting thread notices a stop.
_STOP_SECONDS = 0.5


class Executor(Protocol):
    """Runs each step of a plan once its predecessors are done; raises the most serious error."""

    def run(self, plan: Plan, run_step: Callable[[Step], None], stop: Event) -> None: ...


class Limits:
    """Named capacities, taken all at once or not at all: whoever waits holds nothing."""

    def __init__(self, capacities: Mapping[str, int]) -> None:
        self._capacities = dict(capacities)
        self._used: Counter[str] = Counter()
        self._changed = Condition()

    @contextmanager
    def take(self, names: Sequence[str], stop: Event) -> Generator[None]:
        """Hold one of each while the block runs. Raises ParkedError when `stop` is set before they are free."""
        with self._changed:
            while not self._try(names):
                if stop.is_set():
                    raise ParkedError(f"asked to stop while waiting for {', '.join(names)}")
                self._changed.wait(_STOP_SECONDS)
        try:
            yield
        finally:
            self.give_back(names)

    def try_take(self, names: Sequence[str]) -> bool:
        """Take one of each if all are free; give them back with `give_back`."""
        with self._changed:
            return self._try(names)

    def give_back(self, names: Sequence[str]) -> None:
        with self._changed:
            self._used.subtract(names)
            self._changed.notify_all()

    def _try(self, names: Sequence[str]) -> bool:
        wanted = Counter(names)
        # A capacity the plan does not name is not limited; a step alone always fits.
        fits = all(
            name not in self._capacities
            or self._used[name] + count <= max(self._capacities[name], count)
            for name, count in wanted.items()
        )
        if fits:
            self._used.update(wanted)
        return fits


class ThreadsExecutor:
    """The plan in this process's threads. A step that waits for others or for a limit occupies none."""

    def __init__(
        self, max_workers: int = MAX_WORKERS, *, tries: int = TRIES, pause: timedelta = PAUSE
    ) -> None:
        self._max_workers = max_workers
        self._tries = tries
        self._pause = pause

    def run(self, plan: Plan, run_step: Callable[[Step], None], stop: Event) -> None:
        """Raises the most serious error of all steps; after the first one nothing new is started."""
        limits = Limits(plan.limits)
        urgent = _by_urgency(plan)
        done: set[str] = set()
        running: dict[Future[None], Step] = {}
        errors: list[BaseException] = []
        with ThreadPoolExecutor(self._max_workers, thread_name_prefix="step") as pool:
            try:
                while True:
                    if not errors and not stop.is_set():
                        for step in self._startable(urgent, done, limits, len(running)):
                            urgent.remove(step)
                            context = contextvars.copy_context()
                            future = pool.submit(context.run, self._attempt, run_step, step, stop)
                            running[future] = step
                    if not running:
                        break
                    finished, _ = wait(running, timeout=_STOP_SECONDS, return_when=FIRST_COMPLETED)
                    for future in finished:
                        step = running.pop(future)
                        limits.give_back(step.limits)
                        _settle(future, step, done, errors)
            except BaseException:
                # A signal's exception must not leave steps behind that do not know of it.
                stop.set()
                raise
        if errors:
            raise most_serious(errors)
        if urgent:
            raise ParkedError(f"asked to stop; {len(urgent)} of {len(plan.steps)} steps not begun")

    def _startable(
        self, urgent: list[Step], done: set[str], limits: Limits, running: int
    ) -> list[Step]:
        chosen: list[Step] = []
        for step in urgent:
            if running + len(chosen) >= self._max_workers:
                break
            if done.issuperset(step.waits_for) and limits.try_take(step.limits):
                chosen.append(step)
        return chosen

    def _attempt(self, run_step: Callable[[Step], None], step: Step, stop: Event) -> None:
        for attempt in range(1, self._tries + 1):
            try:
                return run_step(step)
            except TransientError:
                if attempt == self._tries or stop.wait(self._pause.total_seconds() * attempt):
                    raise
        return None


def most_serious(errors: Sequence[BaseException]) -> BaseException:
    """The error a person must hear of first: what nobody can decide, then mistakes, then refusals, then rests."""
    order = (
        NeedsHumanError,
        AmbiguousError,
        PermanentError,
        BusyError,
        FrozenError,
        TransientError,
        ParkedError,
    )

    def rank(error: BaseException) -> int:
        # What is no Windlass error is a mistake in the code, or a signal.
        return next((i + 2 for i, kind in enumerate(order) if isinstance(error, kind)), 1)

    human = [error for error in errors if isinstance(error, NeedsHumanError)]
    return human[0] if human else min(errors, key=rank)


def _settle(future: Future[None], step: Step, done: set[str], errors: list[BaseException]) -> None:
    error = future.exception()
    if error is None:
        done.add(step.key)
    else:
        errors.append(error)


def _by_urgency(plan: Plan) -> list[Step]:
    """Steps with the longest way to the end first, so that the critical path never waits for a worker."""
    left: dict[str, timedelta] = {}
    for step in reversed(plan.steps):
        left[step.key] = left.get(step.key, timedelta(0)) + step.forecast.expected
        for before in step.waits_for:
            left[before] = max(left.get(before, timedelta(0)), left[step.key])
    return sorted(plan.steps, key=lambda step: left[step.key], reverse=True)
