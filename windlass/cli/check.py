"""Read a site file and say what is wrong with it: file, line, key and what to do.

Nothing is connected to.
"""

import argparse

from windlass.cli import exits, printing
from windlass.models.load import LoadedSite, load_site


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", help="a site file, or the name of one in $WINDLASS_HOME/sites")


def run(args: argparse.Namespace) -> int:
    loaded = load_site(args.site)
    if args.json:
        printing.say_json({"ok": True, "site": loaded.site.name, "path": str(loaded.path)})
    else:
        printing.say(_summary(loaded))
    return exits.DONE


def _summary(loaded: LoadedSite) -> str:
    site = loaded.site
    return (
        f"{loaded.path} makes sense: site {site.name}, {len(site.control_planes)} control planes and "
        f"{len(site.workers)} workers, Talos {site.cluster.talos}, Kubernetes {site.cluster.kubernetes}"
    )
