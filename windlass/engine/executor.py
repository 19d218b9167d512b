"""Who runs the steps of a plan: each as soon as what it waits for is done, within the plan's limits.

The schedule is one loop (`run_dag`); an executor only says how a step is started. The first failure starts nothing more
and sets the stop flag, so that what waits parks; all errors are collected and the most serious one is raised.
"""

import logging
import queue
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from typing import Protocol

from windlass.errors import BusyError, FrozenError, NeedsHumanError, ParkedError, WindlassError
from windlass.models.plan import Plan, Step

logger = logging.getLogger(__name__)

WAKE_S = 0.5
FORESEEN: tuple[type[BaseException], ...] = (
    NeedsHumanError, FrozenError, BusyError, WindlassError, OSError,
)  # fmt: skip

Finished = Callable[[BaseException | None], None]


class Executor(Protocol):
    """Runs `run_step` for every step of a plan, predecessors first."""

    def run(self, plan: Plan, run_step: Callable[[Step], None], stop: Event) -> None: ...


class ThreadsExecutor:
    """Steps in threads of this process: no server, nothing to install."""

    def __init__(self, workers: int = 64) -> None:
        self._workers = workers

    def run(self, plan: Plan, run_step: Callable[[Step], None], stop: Event) -> None:
        with ThreadPoolExecutor(self._workers, thread_name_prefix="step") as pool:

            def start(step: Step, finished: Finished) -> None:
                def work() -> None:
                    try:
                        run_step(step)
                    except BaseException as error:  # noqa: BLE001 - handed to the schedule, which raises it
                        finished(error)
                    else:
                        finished(None)

                pool.submit(work)

            run_dag(plan, start, stop)


def run_dag(plan: Plan, start: Callable[[Step, Finished], None], stop: Event) -> None:
    """Start every step once its predecessors are done and its limits have room; return when all are done.

    Raises:
        BaseException: the most serious error of any step.
    """
    schedule = _Schedule(plan)
    while True:
        if not stop.is_set():
            for step in schedule.startable():
                start(step, schedule.reporter(step.key))
        if not schedule.running:
            break
        if schedule.next_end() is not None:
            stop.set()
    if schedule.errors:
        raise min(schedule.errors, key=_seriousness)


class _Schedule:
    """What waits for what, what runs, and how much of each limit is taken."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._waiting = {step.key: set(step.waits_for) for step in plan}
        self._used: Counter[str] = Counter()
        self._ended: queue.Queue[tuple[str, BaseException | None]] = queue.Queue()
        self.running: set[str] = set()
        self.errors: list[BaseException] = []

    def startable(self) -> list[Step]:
        """Steps that may start now; they count as running from here on."""
        found: list[Step] = []
        for key in [key for key, before in self._waiting.items() if not before]:
            step = self._plan.step(key)
            if all(self._used[limit] < self._plan.limits.get(limit, 1) for limit in step.limits):
                del self._waiting[key]
                self.running.add(key)
                self._used.update(step.limits)
                found.append(step)
        return found

    def reporter(self, key: str) -> Finished:
        return lambda error: self._ended.put((key, error))

    def next_end(self) -> BaseException | None:
        """Wait for one step to end; its error, if it had one."""
        key, error = self._next()
        self.running.discard(key)
        self._used.subtract(self._plan.step(key).limits)
        if error is not None:
            logger.error("%s: %s", key, error)
            self.errors.append(error)
        else:
            for before in self._waiting.values():
                before.discard(key)
        return error

    def _next(self) -> tuple[str, BaseException | None]:
        """Wake now and then: Python handles signals in this thread, and the kernel may wake another one for them."""
        while True:
            with suppress(queue.Empty):
                return self._ended.get(timeout=WAKE_S)


def _seriousness(error: BaseException) -> int:
    """Less is worse: what nobody foresaw first, and last what only stopped because something else failed."""
    if isinstance(error, ParkedError):
        return len(FORESEEN)
    return next((rank for rank, kind in enumerate(FORESEEN) if isinstance(error, kind)), -1)
