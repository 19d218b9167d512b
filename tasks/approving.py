"""Approval in the Prefect UI: the run pauses with a form that wants the plan's hash typed."""

import re
from typing import Literal

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field, create_model

from windlass.errors import ParkedError, RefusedError
from windlass.models.plan import Plan
from windlass.models.site import Site

POLL_S = 1


class Approval(RunInput):
    """What the form asks. It starts on "reject": approving is something a person does."""

    decision: Literal["approve", "reject"] = "reject"
    reason: str = Field(default="", description="Why? Kept in the journal")


def approval_of(plan: Plan) -> type[Approval]:
    """The form for this plan alone: the server refuses every answer with another hash, or with none."""
    exact = f"^{re.escape(plan.hash)}$"
    hash_field = (str, Field(description="Type the hash of the plan you read", pattern=exact))
    return create_model("PlanApproval", __base__=Approval, plan_hash=hash_field)


def ask(plan: Plan, site: Site, shown: str) -> Approval:
    """The person's answer, within the site's patience.

    Raises:
        ParkedError: nobody answered in time.
        RefusedError: the answer was no.
    """
    wait = site.approvals.wait
    form = approval_of(plan).with_initial_data(description=shown, decision="reject")
    try:
        answer = pause_flow_run(
            wait_for_input=form, timeout=int(wait.total_seconds()), poll_interval=POLL_S
        )
    except FlowPauseTimeout as nobody:
        raise ParkedError(
            f"nobody approved plan {plan.hash} within {wait}: windlass approve it, then resume"
        ) from nobody
    if answer.decision != "approve":
        raise RefusedError(f"the plan was rejected: {answer.reason or 'no reason given'}")
    return answer
