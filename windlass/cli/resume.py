"""Go on with an operation where it stopped: its stored plan, never a new one.

Through the Prefect server of `windlass serve`, or with --local in this process.
"""

import argparse

from windlass.cli import operating


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operation", help="its id, or the beginning of it")
    parser.add_argument(
        "--site", help="its site file, where it is no longer at the path of the first run"
    )
    parser.add_argument("--local", action="store_true", help="run here, without a Prefect server")
    parser.add_argument("--yes", action="store_true", help="approve its plan")


def run(args: argparse.Namespace) -> int:
    return operating.resume(args)
