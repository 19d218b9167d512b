"""Say yes to the plan of an operation. The hash is the one that was printed with the plan: it is that plan, or none."""

import argparse

from windlass.cli import exits, journals, printing, served
from windlass.engine.journal import Journal
from windlass.engine.records import Operation, OperationState
from windlass.errors import WindlassError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operation", help="its id, or the beginning of it")
    parser.add_argument(
        "--hash", required=True, help="the hash of the plan, as show and bootstrap print it"
    )


def run(args: argparse.Namespace) -> int:
    journal = journals.open_journal()
    operation = journal.operation(args.operation)
    journal.approve(operation.id, args.hash, journals.asker())
    goes_on = _released(journal, operation)
    if args.json:
        printing.say_json(
            {**journals.brief(journal.operation(operation.id)), "approved": args.hash}
        )
    else:
        then = "its run goes on" if goes_on else f"go on with: windlass resume {operation.id}"
        printing.say(f"approved {operation.id}; {then}")
    return exits.DONE


def _released(journal: Journal, operation: Operation) -> bool:
    """A run that waits for this approval in Prefect was let go on. The approval stands either way."""
    waits = operation.state is OperationState.AWAITING_APPROVAL and operation.reason != "PARKED"
    if not waits or not operation.runs or not (journal.home / "serve.json").exists():
        return False
    answer = {
        "decision": "approve",
        "reason": "windlass approve",
        "plan_hash": operation.plan_hash,
    }
    try:
        said = served.contract(journal.home).patiently(
            "POST", f"/flow_runs/{operation.runs[-1]}/resume", {"run_input": answer}
        )
    except WindlassError as error:
        printing.warn(f"approved, but its run could not be told: {error}")
        return False
    return said["status"] == "ACCEPT"
