"""Steps as Prefect task runs: one step, one task run by its key; the run graph's edges are the plan's edges.

The schedule is the engine's. A task run is a way to see and to run a step; what happened is the journal's to say.
"""

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from threading import Event
from typing import Any, Self, cast
from uuid import UUID

import httpx
from prefect import Task, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import PrefectException
from prefect.futures import PrefectFuture

from windlass.engine.executor import Finished, run_dag
from windlass.errors import TransientError
from windlass.models.plan import Plan, Step

logger = logging.getLogger(__name__)

PROGRESS_S = 1.0

# What a task run needs beside its key lives in this process and no other; its inputs are values.
_running: dict[str, Callable[[Step], None]] = {}
_plans: dict[str, Plan] = {}


def is_transient(_task: Task[..., object], _run: TaskRun, state: State[object]) -> bool:
    """Prefect asks this before each retry: only what changed nothing is tried again."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=is_transient,
)
def run_one(operation: str, key: str) -> None:
    """One step of an operation, through the journal: a second attempt observes first."""
    _running[operation](_plans[operation].step(key))


class PrefectTasks:
    """The executor of flows: a step is submitted once what it waits for is done, with `wait_for` its predecessors."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def run(self, plan: Plan, run_step: Callable[[Step], None], stop: Event) -> None:
        _running[self._operation], _plans[self._operation] = run_step, plan
        futures: dict[str, PrefectFuture[None]] = {}
        progress = _Progress(self._operation, plan)

        def start(step: Step, finished: Finished) -> None:
            named = run_one.with_options(name=step.action, task_run_name=step.key)
            before = [futures[key] for key in step.waits_for]
            future = cast(
                "PrefectFuture[None]",
                cast(Any, named).submit(self._operation, step.key, wait_for=before),
            )
            futures[step.key] = future

            def ended(done: PrefectFuture[None]) -> None:
                error = _error_of(done, step)
                progress.ended(error)
                finished(error)

            future.add_done_callback(ended)

        try:
            with progress:
                run_dag(plan, start, stop)
        finally:
            del _running[self._operation], _plans[self._operation]


def _error_of(future: PrefectFuture[None], step: Step) -> BaseException | None:
    """Why a task run failed; None when it did not. The schedule must hear of its end, whatever Prefect says."""
    try:
        # The state at the server lags behind; the future's own is known once it was waited for.
        future.wait(0)
        state = future.state
        if state.is_completed():
            return None
        result = state.result(raise_on_failure=False)
    except BaseException as broken:  # noqa: BLE001 - handed to the schedule, which raises it
        return broken
    return (
        result if isinstance(result, BaseException) else RuntimeError(f"{step.key}: {state.name}")
    )


class _Progress:
    """The progress artifact, moved on by a thread of its own: a busy server must not hold up the steps."""

    def __init__(self, operation: str, plan: Plan) -> None:
        self._steps = len(plan.steps)
        self._done = 0
        self._over = Event()
        self._artifact = create_progress_artifact(
            progress=0.0,
            key=f"progress-{operation}",
            description=f"{plan.verb} of site {plan.site}",
        )
        context = copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._keep_up,), name="progress", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_ended: object) -> None:
        self._over.set()
        self._thread.join()

    def ended(self, error: BaseException | None) -> None:
        self._done += error is None

    def _keep_up(self) -> None:
        said = -1
        while True:
            last = self._over.wait(PROGRESS_S)
            if self._done != said:
                said = self._done
                self._update(100 * said / self._steps)
            if last:
                return

    def _update(self, percent: float) -> None:
        try:
            update_progress_artifact(cast(UUID, self._artifact), progress=percent)
        except (httpx.HTTPError, PrefectException) as error:
            # Shown for people; what was done is in the journal.
            logger.warning("the progress artifact could not be updated: %s", error)


def publish(key: str, markdown: str) -> None:
    """A markdown artifact of the flow run."""
    create_markdown_artifact(markdown, key=key)
