"""Stop an operation at its next safe point; one at rest ends there. What it did stays: show tells what remains."""

import argparse

from windlass.cli import exits, journals, printing
from windlass.engine.operation import reconcile
from windlass.engine.records import OperationState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operation", help="its id, or the beginning of it")


def run(args: argparse.Namespace) -> int:
    journal = journals.open_journal()
    # One whose process died is at rest, whatever it says.
    reconcile(journal)
    after = journal.cancel(args.operation, journals.asker())
    if args.json:
        printing.say_json(journals.brief(after))
    else:
        asked = "is asked to stop" if after.state is OperationState.RUNNING else "is cancelled"
        printing.say(f"{after.id} {asked}: windlass show {after.id}")
    return exits.DONE
