"""Stop an operation at its next safe point; one at rest ends there. What it did stays: show tells what remains."""

import argparse

from windlass.cli import exits, journals, printing
from windlass.engine.journal import OperationState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operation", help="its id, or the beginning of it")


def run(args: argparse.Namespace) -> int:
    journal = journals.open_journal()
    operation = journal.operation(args.operation)
    by = journals.asker()
    journal.request_stop(operation.id, by, cancel=True)
    if operation.state is not OperationState.RUNNING:
        # Nobody is there to act on the request.
        message = f"cancelled by {by}"
        journal.set_state(
            operation.id, OperationState.CANCELLED, message=message, remains=operation.remains
        )
    after = journal.operation(operation.id)
    if args.json:
        printing.say_json(journals.brief(after))
    else:
        printing.say(
            f"asked {after.id} to stop; it is {after.state.value} now: windlass show {after.id}"
        )
    return exits.DONE
