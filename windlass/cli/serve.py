"""Host the deployments of prefect.yaml in one process, with a Prefect server on loopback if none answers.

Leave it running, or put it under systemd with KillMode=mixed and TimeoutStopSec=60.
"""

import argparse
import os
import sys

from windlass.home import windlass_home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=int, default=4200, help="of the Prefect server on 127.0.0.1 (default 4200)"
    )


def run(args: argparse.Namespace) -> int:
    windlass_home()
    command = [sys.executable, "-m", "deployments.serve", "--port", str(args.port)]
    os.execv(sys.executable, command)
