"""Let nothing change a site until it is thawed. A running operation parks at its next safe point."""

import argparse

from windlass.cli import exits, journals, printing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", help="the name of the site, or its file")
    parser.add_argument(
        "--reason", required=True, help="why nothing may change, for those who find it so"
    )


def run(args: argparse.Namespace) -> int:
    site = journals.site_name(args.site)
    journals.open_journal().freeze(site, args.reason, journals.asker())
    if args.json:
        printing.say_json({"site": site, "frozen": True, "reason": args.reason})
    else:
        printing.say(f"site {site} is frozen: {args.reason}")
    return exits.DONE
