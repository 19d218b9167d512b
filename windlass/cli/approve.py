"""Say yes to the plan of an operation. The hash is the one that was printed with the plan: it is that plan, or none."""

import argparse

from windlass.cli import exits, journals, printing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operation", help="its id, or the beginning of it")
    parser.add_argument(
        "--hash", required=True, help="the hash of the plan, as show and bootstrap print it"
    )


def run(args: argparse.Namespace) -> int:
    journal = journals.open_journal()
    operation = journal.operation(args.operation)
    journal.approve(operation.id, args.hash, journals.asker())
    if args.json:
        printing.say_json(
            {**journals.brief(journal.operation(operation.id)), "approved": args.hash}
        )
    else:
        printing.say(
            f"approved {operation.id}; if it does not go on by itself: windlass resume {operation.id}"
        )
    return exits.DONE
