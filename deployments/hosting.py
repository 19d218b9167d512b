"""One process that hosts every deployment of prefect.yaml: a Runner with the flow objects in memory.

Flow objects, not entrypoints that the server names: who can write to the API cannot make this process run other code.
"""

import json
import logging
import os
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from prefect import Flow
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig, FlowRun, State, StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.runner import Runner
from prefect.schedules import Cron, RRule, Schedule
from prefect.states import Crashed
from prefect.types.entrypoint import EntrypointType

from deployments.definitions import Definitions, DeploymentEntry, ScheduleEntry
from deployments.settings import PrefectServer
from tasks.running import is_alive

logger = logging.getLogger(__name__)

SILENT_RUNS = "windlass-end-silent-runs"
# Three heartbeats of 30 s: fewer would end runs whose machine was only busy.
SILENCE = timedelta(seconds=90)
# After each of these silence is death. Any other event takes the watch away until the next of these comes: with
# heartbeats alone, a run that died between its approval and its next heartbeat would run for ever.
SIGNS_OF_LIFE = frozenset(
    f"prefect.flow-run.{said}" for said in ("Pending", "Submitting", "Running", "heartbeat")
)
PARALLEL_RUNS = 10


def schedule_of(entry: ScheduleEntry) -> Schedule:
    rest: dict[str, Any] = {
        "timezone": entry.timezone, "active": entry.active, "slug": entry.slug, "parameters": dict(entry.parameters),
    }  # fmt: skip
    return Cron(entry.cron, **rest) if entry.cron else RRule(entry.rrule or "", **rest)


def flow_of(entry: DeploymentEntry) -> Flow[Any, Any]:
    module, _, name = entry.entrypoint.rpartition(".")
    flow: Any = getattr(import_module(module), name)
    if not isinstance(flow, Flow):
        raise TypeError(f"{entry.entrypoint} is not a flow")
    return cast("Flow[Any, Any]", flow)


class Host(Runner):
    """A Runner that ends when it is asked to: leaving its loop ends its flows, each of which parks first."""

    def handle_sigterm(self, *_args: object, **_kwargs: object) -> None:
        # Prefect's own handler makes a coroutine that nobody awaits, and then does this.
        sys.exit(0)


def build(definitions: Definitions) -> Runner:
    """A Runner that knows every deployment; each is registered with the server."""
    runner = Host(name="windlass", limit=PARALLEL_RUNS, pause_on_shutdown=False)
    for entry in definitions.deployments:
        slots = entry.concurrency_limit
        runner.add_flow(
            flow_of(entry),
            name=entry.name,
            entrypoint_type=EntrypointType.MODULE_PATH,
            parameters=dict(entry.parameters),
            tags=list(entry.tags),
            description=entry.description,
            schedules=[schedule_of(s) for s in entry.schedules] or None,
            concurrency_limit=ConcurrencyLimitConfig(**slots.model_dump()) if slots else None,
        )
    return runner


def end_silent_runs() -> None:
    """Prefect itself never notices a process that died together with its runner; this automation does."""
    try:
        # Prefect's methods answer at once where no event loop runs, which its types do not say.
        cast(Any, Automation.read(name=SILENT_RUNS)).delete()
    except ValueError:
        logger.debug("no automation %s to replace", SILENT_RUNS)
    Automation(
        name=SILENT_RUNS,
        trigger=EventTrigger(
            after=set(SIGNS_OF_LIFE),
            expect={"prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                force=False,
                state=StateType.CRASHED,
                message=(
                    "No sign of life for 90 s. The journal knows how far it came: "
                    "retry this run, or windlass resume."
                ),
            )
        ],
    ).create()


def end_orphans(home: Path) -> list[str]:
    """Runs that say they run and whose process is gone end as Crashed, with the reason; their names are returned."""
    ended: list[str] = []
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(
                    type=FlowRunFilterStateType(
                        any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
                    )
                )
            ),
            deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=["windlass"])),
        )
        for run in runs:
            if not is_alive(home, str(run.id)):
                client.set_flow_run_state(run.id, _orphaned(run), force=True)
                ended.append(run.name)
    return ended


def _orphaned(run: FlowRun) -> State[Any]:
    reason = "ORPHANED_PENDING" if run.state_type is StateType.PENDING else "ORPHANED"
    return Crashed(
        message=f"{reason}: its process is gone. Nothing is lost: retry this run, or windlass resume its operation."
    )


def prune_schedules(definitions: Definitions) -> list[str]:
    """Schedules that the file no longer has are deleted from the server: Prefect would run them for ever."""
    wanted = {e.name: {s.slug for s in e.schedules} for e in definitions.deployments}
    gone: list[str] = []
    with get_client(sync_client=True) as client:
        deployments = client.read_deployments(
            deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=["windlass"]))
        )
        for deployment in deployments:
            for schedule in deployment.schedules:
                if schedule.slug not in wanted.get(deployment.name, set()):
                    client.delete_deployment_schedule(deployment.id, schedule.id)
                    gone.append(f"{deployment.name}/{schedule.slug or schedule.id}")
    return gone


def write_contract(home: Path, server: PrefectServer, definitions: Definitions) -> None:
    """`serve.json`: how programs outside find this server and its deployments."""
    flows = {entry.name: f"{flow_of(entry).name}/{entry.name}" for entry in definitions.deployments}
    body = {
        "api_url": server.api_url,
        "auth_file": str(server.auth_file),
        "deployments": flows,
        "pid": os.getpid(),
    }
    part = home / ".serve.json.part"
    part.write_text(json.dumps(body, indent=2))
    part.replace(home / "serve.json")
