"""What the verbs share on the command line: plan, print, approve, run here or through the Prefect server, follow."""

import argparse
import sys
from datetime import timedelta
from threading import Event
from uuid import uuid4

from windlass.cli import exits, journals, printing, served
from windlass.cli.following import Follower
from windlass.engine.executor import ThreadsExecutor
from windlass.engine.journal import Journal
from windlass.engine.operation import needs_approval
from windlass.engine.progress import progress_of
from windlass.engine.records import Operation, OperationState
from windlass.errors import BadInputError, PreflightError, RefusedError
from windlass.home import windlass_home
from windlass.models.load import LoadedSite, load_site
from windlass.plans.bootstrap import BootstrapRequest, plan_bootstrap
from windlass.reports.plan import plan_text, summary
from windlass.reports.progress import ending, result_text

FOLLOWED_FOR = timedelta(hours=24)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--apply", action="store_true", help="do it, after asking")
    parser.add_argument(
        "--local", action="store_true", help="with --apply: run here, without a Prefect server"
    )
    parser.add_argument(
        "--yes", action="store_true", help="with --apply: approve the plan that was just printed"
    )


def plan_and_apply(loaded: LoadedSite, request: BootstrapRequest, args: argparse.Namespace) -> int:
    """Plan; with --apply, make it an operation, get it approved and bring it to rest.

    Raises:
        PreflightError: something blocks the plan.
    """
    # Clients and Prefect are heavy; help and check must answer at once.
    from tasks.observe import observe_site  # noqa: PLC0415
    from tasks.running import READER, forecasts  # noqa: PLC0415

    printing.log_to_stderr()
    journal = Journal.open(windlass_home())
    plan = plan_bootstrap(
        loaded.site, observe_site(loaded, READER), request, forecasts(journal, loaded)
    )
    if args.json and (plan.blocks or not args.apply):
        printing.say_json({"plan_hash": plan.hash, **plan.to_json()})
    else:
        printing.say(plan_text(plan))
    if plan.blocks:
        raise PreflightError(
            f"the plan is blocked: {'; '.join(block.what for block in plan.blocks)}"
        )
    if not args.apply or not plan.steps:
        return exits.DONE
    if not args.local:
        served.contract(journal.home)
    operation = journal.create(plan, origin="cli", site_file=str(loaded.path))
    printing.say(f"operation {operation.id}")
    return _approved_run(journal, loaded, operation, args)


def resume(args: argparse.Namespace) -> int:
    """Go on with an operation; one that is done is a no-op."""
    printing.log_to_stderr()
    journal = Journal.open(windlass_home())
    operation = journal.operation(args.operation)
    if operation.state is OperationState.DONE:
        printing.say(f"operation {operation.id} is already done")
        return exits.DONE
    path = args.site or operation.site_file
    if not path:
        raise BadInputError(
            f"operation {operation.id} does not say where its site file is: give --site"
        )
    return _approved_run(journal, load_site(path), operation, args)


def _approved_run(
    journal: Journal, loaded: LoadedSite, operation: Operation, args: argparse.Namespace
) -> int:
    _approve(journal, loaded, operation, yes=args.yes)
    if args.local:
        return _run_here(journal, loaded, operation, as_json=args.json)
    return _run_served(journal, loaded, operation, as_json=args.json)


def _approve(journal: Journal, loaded: LoadedSite, operation: Operation, *, yes: bool) -> None:
    """Ask on a terminal; without one, and without --yes, the run itself will park."""
    if not needs_approval(operation.plan, loaded.site.approvals.policy) or journal.is_approved(
        operation.id
    ):
        return
    if not yes and sys.stdin.isatty() and printing.is_terminal():
        yes = input(f"{summary(operation.plan)}. Type yes to approve: ").strip() == "yes"
    if yes:
        journal.approve(operation.id, operation.plan_hash, by=journals.asker())


def _run_here(journal: Journal, loaded: LoadedSite, operation: Operation, *, as_json: bool) -> int:
    from tasks.running import Running  # noqa: PLC0415

    running = Running(journal, loaded, ThreadsExecutor(), f"local-{uuid4()}")
    follower = Follower(journal, operation.id, quiet=as_json)
    try:
        with follower:
            running.act(operation)
    except RefusedError as refused:
        # What said no was the target of one step, and others may be done: the journal calls that failed.
        if journal.operation(operation.id).state is not OperationState.FAILED:
            raise
        printing.warn(str(refused))
        return exits.FAILED
    finally:
        end = progress_of(journal, operation.id)
        if as_json:
            printing.say_json({"id": end.id, "state": end.state, "reason": end.reason})
        else:
            printing.say(result_text(operation.plan, end))
    return exits.DONE


def _run_served(
    journal: Journal, loaded: LoadedSite, operation: Operation, *, as_json: bool
) -> int:
    server = served.contract(journal.home)
    run = server.start(
        operation.verb, {"site": str(loaded.path), "mode": "apply", "operation": operation.id}
    )
    printing.say(f"watch it: {server.ui}/runs/flow-run/{run}")
    follower = Follower(journal, operation.id, quiet=as_json)
    end = follower.until_rest(
        since=operation.updated,
        timeout=FOLLOWED_FOR,
        stop=Event(),
        alive=lambda: server.state_of(run),
    )
    if as_json:
        printing.say_json({"id": end.id, "state": end.state, "reason": end.reason})
    else:
        printing.say(result_text(operation.plan, end))
    return code_of(end.state, end.reason, ending(end))


def code_of(state: str, reason: str, said: str) -> int:
    """The exit code of an operation's end."""
    if state == "done":
        return exits.DONE
    printing.warn(said)
    if reason == "FROZEN" or state in ("refused", "cancelled"):
        return exits.REFUSED
    if state in ("parked", "awaiting-approval"):
        return exits.STOPPED
    return exits.NEEDS_HUMAN if state == "needs-human" else exits.FAILED
