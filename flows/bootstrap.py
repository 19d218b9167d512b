"""Bootstrap: from a site file to a running cluster with its GitOps layers rolled out, proven at the end."""

from typing import Annotated, Any, cast

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows.operating import Mode, run_name, run_verb
from windlass.models.load import load_site
from windlass.plans.bootstrap import BootstrapRequest, plan_bootstrap


@flow(
    name="bootstrap",
    flow_run_name=run_name,
    retries=0,
    persist_result=False,
    task_runner=cast(Any, ThreadPoolTaskRunner(max_workers=64)),
)
def bootstrap(
    site: Annotated[
        str,
        Field(min_length=1, description="A site file, or the name of one in WINDLASS_HOME/sites"),
    ],
    mode: Annotated[
        Mode, Field(description="plan shows what would be done; apply does it")
    ] = "plan",
    operation: Annotated[
        str | None, Field(description="Go on with this operation instead of planning anew")
    ] = None,
    until: Annotated[
        str | None, Field(description="Stop after this phase, such as machines or argocd")
    ] = None,
) -> State[None]:
    """VMs, Talos, etcd, Kubernetes, Argo CD, layers, acceptance: each step proven before the next.

    With mode="plan" the plan is published and nothing is touched. With `operation`, or when this run is retried, a
    parked or broken-off operation goes on where it stopped.
    """
    return run_verb(
        site,
        mode,
        operation,
        lambda observed, forecast: plan_bootstrap(
            load_site(site).site, observed, BootstrapRequest(until), forecast
        ),
    )
