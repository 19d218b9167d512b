"""Prove that the journal is whole and unaltered: every record's hash, and every table that is made from them."""

import argparse

from windlass.cli import exits, journals, printing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(args: argparse.Namespace) -> int:
    problems = journals.open_journal().verify()
    if args.json:
        printing.say_json({"ok": not problems, "problems": problems})
    else:
        printing.say("\n".join(problems) if problems else "the journal is whole and unaltered")
    return exits.NEEDS_HUMAN if problems else exits.DONE
