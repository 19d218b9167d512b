"""Steps as Prefect task runs: one step, one task run by its key; the run graph's edges are the plan's edges.

The schedule is the engine's. A task run is a way to see and to run a step; what happened is the journal's to say.
"""

from collections.abc import Callable
from threading import Event

from prefect import Task, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.futures import PrefectFuture
from prefect.states import State

from windlass.engine.executor import Finished, run_dag
from windlass.errors import TransientError
from windlass.models.plan import Plan, Step

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
def run_step(operation: str, key: str) -> None:
    """One step of an operation, through the journal: a second attempt observes first."""
    _running[operation](_plans[operation].step(key))


class PrefectTasks:
    """The executor of flows: a step is submitted once what it waits for is done, with `wait_for` its predecessors."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def run(self, plan: Plan, run_one: Callable[[Step], None], stop: Event) -> None:
        _running[self._operation], _plans[self._operation] = run_one, plan
        progress = create_progress_artifact(
            progress=0.0,
            key=f"progress-{self._operation}",
            description=f"{plan.verb} of site {plan.site}",
        )
        futures: dict[str, PrefectFuture[None]] = {}
        done: set[str] = set()

        def start(step: Step, finished: Finished) -> None:
            named = run_step.with_options(name=step.action, task_run_name=step.key)
            future = named.submit(
                self._operation, step.key, wait_for=[futures[key] for key in step.waits_for]
            )
            futures[step.key] = future
            future.add_done_callback(lambda ended: self._ended(ended, step, finished))

        def counted(step: Step, finished: Finished) -> None:
            def report(error: BaseException | None) -> None:
                if error is None:
                    done.add(step.key)
                    update_progress_artifact(progress, progress=100 * len(done) / len(plan.steps))
                finished(error)

            start(step, report)

        try:
            run_dag(plan, counted, stop)
        finally:
            del _running[self._operation], _plans[self._operation]

    @staticmethod
    def _ended(future: PrefectFuture[None], step: Step, finished: Finished) -> None:
        state = future.state
        if state.is_completed():
            finished(None)
            return
        result = state.result(raise_on_failure=False)
        finished(
            result
            if isinstance(result, BaseException)
            else RuntimeError(f"{step.key}: {state.name}")
        )


def publish(key: str, markdown: str) -> None:
    """A markdown artifact of the flow run."""
    create_markdown_artifact(markdown, key=key)
