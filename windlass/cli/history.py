"""List operations, newest first."""

import argparse

from windlass.cli import exits, journals, printing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", nargs="?", help="only those of this site: its name or its file")


def run(args: argparse.Namespace) -> int:
    site = None if args.site is None else journals.site_name(args.site)
    operations = journals.open_journal().operations(site)
    if args.json:
        printing.say_json([journals.brief(operation) for operation in operations])
    elif operations:
        printing.table(
            ["operation", "site", "verb", "state", "reason", "started"],
            [
                (
                    one.id,
                    one.site,
                    one.verb,
                    one.state.value,
                    one.reason,
                    journals.moment(one.created),
                )
                for one in operations
            ],
        )
    else:
        printing.say("no operations yet")
    return exits.DONE
