"""Plan a new cluster from its site file; with --apply, build it.

Without --apply nothing is changed: what would be done is printed. With --apply the plan runs through the Prefect server
of `windlass serve`; with --apply --local it runs here, with no server at all.
"""

import argparse

from windlass.cli import operating
from windlass.models.load import load_site
from windlass.plans.bootstrap import BootstrapRequest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", help="a site file, or the name of one in $WINDLASS_HOME/sites")
    parser.add_argument(
        "--until", metavar="PHASE", help="stop after this phase, such as machines, argocd or core"
    )
    operating.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    loaded = load_site(args.site)
    return operating.plan_and_apply(loaded, BootstrapRequest(args.until), args)
