"""A command that ends as it is told to, for tests of what the frame makes of it."""

import argparse

from windlass import errors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind")


def run(args: argparse.Namespace) -> int:
    kinds = {**vars(errors), "KeyError": KeyError, "KeyboardInterrupt": KeyboardInterrupt}
    raise kinds[args.kind]("the reason \x1b[31m")
