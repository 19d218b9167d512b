"""Read a site file and say what is wrong with it: file, line, key and what to do.

Nothing is connected to. A secret that is there must be private; one that is not there yet is
named, and is an error with --secrets.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from windlass.cli import exits, printing
from windlass.errors import BadInputError
from windlass.models.load import LoadedSite, load_site
from windlass.models.versions import unbuildable_talos
from windlass.secrets import named_secrets, resolve, secret_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", help="a site file, or the name of one in $WINDLASS_HOME/sites")
    parser.add_argument(
        "--secrets", action="store_true", help="every secret must be there and readable"
    )


def run(args: argparse.Namespace) -> int:
    loaded = load_site(args.site)
    absent = list(_absent(loaded, strict=args.secrets))
    unbuildable = unbuildable_talos(loaded.site.cluster.talos)
    if args.json:
        printing.say_json({**_as_json(loaded, absent), "unbuildable": unbuildable})
    else:
        printing.say(_summary(loaded))
        for one in absent:
            printing.say(f"not here yet: {one}")
        if unbuildable:
            printing.say(f"no bootstrap: {unbuildable}")
    return exits.DONE


def _absent(loaded: LoadedSite, *, strict: bool) -> Iterator[str]:
    """The files that the site names and that are not here; those that are here must be private."""
    site = loaded.site
    for key, ref in named_secrets(site).items():
        try:
            if strict or _file(loaded, ref).exists():
                resolve(ref, loaded.folder)
            elif not ref.startswith("env:"):
                yield f"{key}: {_file(loaded, ref)}"
        except BadInputError as error:
            raise BadInputError(f"{loaded.path}: {key}: {error}") from error
    bundle = loaded.resolve(site.cluster.secrets)
    if bundle.exists():
        resolve(site.cluster.secrets, loaded.folder)
    for key, ca_file in (
        ("proxmox.ca_file", site.proxmox.ca_file),
        ("cluster.image.ca_file", site.cluster.image.ca_file),
    ):
        if ca_file is not None and not loaded.resolve(ca_file).is_file():
            yield f"{key}: {loaded.resolve(ca_file)}"


def _file(loaded: LoadedSite, ref: str) -> Path:
    """The file behind a reference; for an environment variable a name that no folder holds."""
    scheme, _, rest = ref.partition(":")
    return (
        Path("/dev/null/none")
        if scheme == "env"
        else secret_path(rest.partition("#")[0], loaded.folder)
    )


def _as_json(loaded: LoadedSite, absent: list[str]) -> dict[str, object]:
    site = loaded.site
    return {
        "ok": True,
        "site": site.name,
        "path": str(loaded.path),
        "control_planes": len(site.control_planes),
        "workers": len(site.workers),
        "talos": site.cluster.talos,
        "kubernetes": site.cluster.kubernetes,
        "memory_mib": sum(node.memory for node in site.nodes),
        "absent": absent,
    }


def _summary(loaded: LoadedSite) -> str:
    site = loaded.site
    memory = sum(node.memory for node in site.nodes)
    return (
        f"{loaded.path} makes sense: site {site.name}, {len(site.control_planes)} control planes and "
        f"{len(site.workers)} workers with {memory} MiB, Talos {site.cluster.talos}, "
        f"Kubernetes {site.cluster.kubernetes}"
    )
