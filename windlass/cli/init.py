"""Write a site file from an OpenTofu folder.

It keeps what the folder says, marks what it does not say as UNKNOWN, and names what is dangerous in the folder. Nothing
is run and nothing is connected to.
"""

import argparse
import os
import re
from dataclasses import asdict
from pathlib import Path

from windlass.cli import exits, printing
from windlass.clients.git_tree import read_git_tree
from windlass.clients.tofu import read_tofu_folder
from windlass.errors import BadInputError
from windlass.models.load import NAME, SiteFileError, load_site
from windlass.plans.adopt_site import Adoption, adopt_tofu
from windlass.plans.adopt_tofu import ROLES

MEMORY = re.compile(rf"({'|'.join(ROLES)})=([1-9][0-9]{{2,7}})")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from-tofu", metavar="DIR", type=Path, required=True, help="the OpenTofu folder"
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, default=Path("site.yaml"), help="default: site.yaml"
    )
    parser.add_argument("--name", default="home", help="the name of the site (default: home)")
    parser.add_argument(
        "--memory",
        metavar="ROLE=MIB",
        action="append",
        default=[],
        help="memory of controlplane or worker nodes that the folder leaves open, such as worker=8192",
    )
    parser.add_argument("--force", action="store_true", help="write over an existing file")


def run(args: argparse.Namespace) -> int:
    if not NAME.fullmatch(args.name):
        raise BadInputError(f"--name {args.name}: a name is lower-case letters, digits and dashes")
    adoption = adopt_tofu(
        read_tofu_folder(args.from_tofu),
        args.name,
        _memory(args.memory),
        read_git_tree(args.from_tofu),
    )
    _write(args.output, adoption.text, over=args.force)
    open_problems = _open_problems(args.output)
    if args.json:
        printing.say_json(
            {"path": str(args.output), "loads": not open_problems, **_as_json(adoption)}
        )
    else:
        printing.say(_report(args.output, adoption, open_problems))
    return exits.DONE


def _memory(given: list[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for one in given:
        found = MEMORY.fullmatch(one)
        if found is None:
            raise BadInputError(
                f"--memory {one}: write controlplane=MIB or worker=MIB, such as worker=8192"
            )
        sizes[found[1]] = int(found[2])
    return sizes


def _write(path: Path, text: str, *, over: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if over else os.O_EXCL)
    try:
        with os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise BadInputError(
            f"{path} exists: name another file with --output, or add --force"
        ) from error
    except OSError as error:
        raise BadInputError(f"{path} cannot be written: {error.strerror}") from error


def _open_problems(path: Path) -> list[str]:
    try:
        load_site(path)
    except SiteFileError as error:
        return [f"line {one.line}: {one.key}: {one.message}" for one in error.problems]
    return []


def _as_json(adoption: Adoption) -> dict[str, object]:
    return {
        "unknown": [asdict(gap) for gap in adoption.gaps],
        "left_behind": list(adoption.left_behind),
        "dangers": list(adoption.dangers),
    }


def _report(path: Path, adoption: Adoption, open_problems: list[str]) -> str:
    gaps = [
        f"line {gap.line}: {gap.key}: {gap.why}"
        + ("" if gap.stand_in is None else f" (stands in: {gap.stand_in})")
        for gap in adoption.gaps
    ]
    parts = [
        ("DANGER in the OpenTofu folder", list(adoption.dangers)),
        ("UNKNOWN: the folder does not say", gaps),
        ("left behind", list(adoption.left_behind)),
        ("still to be done before it loads", open_problems),
    ]
    lines = [f"wrote {path}"]
    for title, said in parts:
        if said:
            lines += ["", f"{title}:", *(f"  - {one}" for one in said)]
    return "\n".join([*lines, "", f"next: fill in what is UNKNOWN, then windlass check {path}"])
