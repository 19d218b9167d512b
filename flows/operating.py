"""What every verb's flow does the same way: open, plan, publish, approve, act, report."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import httpx
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from tasks.approving import ask
from tasks.observe import observe_site
from tasks.prefect_tasks import PrefectTasks, publish
from tasks.running import READER, Running, announced, forecasts
from windlass.engine.journal import Journal
from windlass.engine.operation import needs_approval
from windlass.engine.progress import progress_of
from windlass.engine.records import Operation, OperationState
from windlass.errors import (
    BadInputError,
    NeedsHumanError,
    PreflightError,
    RefusedError,
    StoppedError,
    WindlassError,
)
from windlass.home import windlass_home
from windlass.models.load import LoadedSite, load_site
from windlass.models.observed import ObservedSite
from windlass.models.plan import Plan
from windlass.plans.building import Forecasts
from windlass.reports.plan import plan_markdown, summary
from windlass.reports.progress import result_markdown
from windlass.secrets import redact_logs

logger = logging.getLogger(__name__)

Mode = Literal["plan", "apply"]
MakePlan = Callable[[ObservedSite, Forecasts], Plan]


@dataclass
class FlowOperation:
    """One flow run's work on one site. `operation` is None until there is a plan to act on."""

    journal: Journal
    loaded: LoadedSite
    run: str
    operation: Operation | None

    def plan(self, make: MakePlan) -> Plan:
        """The stored plan when the operation is resumed; a fresh one otherwise."""
        if self.operation is not None:
            return self.operation.plan
        return make(observe_site(self.loaded, READER), forecasts(self.journal, self.loaded))

    def adopt(self, plan: Plan) -> Operation:
        """The plan becomes an operation in the journal, tied to this run.

        Raises:
            PreflightError: something blocks it; nothing is stored.
        """
        if self.operation is None:
            if plan.blocks:
                raise PreflightError("; ".join(f"{b.what} ({b.remedy})" for b in plan.blocks))
            self.operation = self.journal.create(
                plan, origin="prefect", site_file=str(self.loaded.path)
            )
            self.journal.attach_run(self.operation.id, self.run)
        return self.operation

    def approve(self, operation: Operation) -> None:
        """A person said yes to exactly this plan, now or before."""
        site = self.loaded.site
        if operation.state is OperationState.DONE or not needs_approval(
            operation.plan, site.approvals.policy
        ):
            return
        if self.journal.is_approved(operation.id):
            return
        self.journal.set_state(
            operation.id, OperationState.AWAITING_APPROVAL, message="waits in the Prefect UI"
        )
        shown = f"{summary(operation.plan)}. Plan hash: `{operation.plan_hash}`"
        try:
            answer = ask(operation.plan, site, shown)
        except RefusedError as no:
            self.journal.set_state(
                operation.id, OperationState.CANCELLED, reason="REFUSED", message=str(no)
            )
            raise
        except StoppedError as later:
            self.journal.set_state(
                operation.id, OperationState.AWAITING_APPROVAL, reason="PARKED", message=str(later)
            )
            raise
        if self.journal.is_approved(operation.id):
            # `windlass approve` signed it and let this run go on: nobody answered the form itself.
            return
        self.journal.approve(
            operation.id, operation.plan_hash, by="prefect-ui", reason=answer.reason
        )

    def act(self, operation: Operation) -> Operation:
        return Running(self.journal, self.loaded, PrefectTasks(operation.id), self.run).act(
            operation
        )


@contextmanager
def open_operation(site: str, operation: str | None) -> Generator[FlowOperation]:
    """The site, and the operation this run is about: the one named, or the one this very run began before it died."""
    home = windlass_home()
    journal = Journal.open(home)
    run = str(flow_run.id or "")
    redact_logs()
    found = journal.operation(operation) if operation else journal.of_run(run)
    with announced(home, run):
        if found is not None:
            journal.attach_run(found.id, run)
        yield FlowOperation(journal, load_site(site), run, found)


def run_name() -> str:
    """What a run is called in the UI: the site's own name where its file can be read, else what was given."""
    given = flow_run.parameters
    try:
        site = load_site(str(given["site"])).site.name
    except BadInputError:
        site = str(given["site"])
    return f"{site}: {flow_run.flow_name}, {given.get('mode', 'plan')}"


def report(journal: Journal, operation: Operation) -> None:
    """How it ended, for people. A server that is away hides no ending: the journal has it too."""
    try:
        publish("report", result_markdown(operation.plan, progress_of(journal, operation.id)))
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("the report of %s could not be published: %s", operation.id, error)


def run_verb(site: str, mode: Mode, operation: str | None, make: MakePlan) -> State[None]:
    """Observe, plan, publish; with mode="apply" approve, act and report. The state says how it ended, and why."""
    try:
        with open_operation(site, operation) as opened:
            plan = opened.plan(make)
            publish("plan", plan_markdown(plan))
            if mode == "plan" or not plan.steps:
                return Completed(message=summary(plan))
            mine = opened.adopt(plan)
            try:
                opened.approve(mine)
                opened.act(mine)
            finally:
                report(opened.journal, mine)
            return Completed(message=f"operation {mine.id} is done")
    except NeedsHumanError as human:
        return Failed(name="NeedsHuman", message=str(human))
    except StoppedError as stopped:
        return Cancelled(name="Parked", message=str(stopped))
    except WindlassError as error:
        return Failed(message=str(error))
