"""Stop an operation at its next safe point. What it did stays; what remains is told by show."""

import argparse

from windlass.cli import exits, journals, printing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operation", help="its id, or the beginning of it")


def run(args: argparse.Namespace) -> int:
    journal = journals.open_journal()
    operation = journal.operation(args.operation)
    journal.request_stop(operation.id, journals.asker(), cancel=True)
    after = journal.operation(operation.id)
    if args.json:
        printing.say_json(journals.brief(after))
    else:
        printing.say(
            f"asked {operation.id} to stop; it is {after.state.value} now: windlass show {operation.id}"
        )
    return exits.DONE
