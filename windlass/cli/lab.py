"""A simulated site on this machine: Proxmox, Talos, Kubernetes, Git, DNS and SSH on loopback addresses.

windlass lab up --dir DIR [--speed N] [--network 127.N.0.0/16] [--detach]   the last line is `ready`
windlass lab down --dir DIR                                                 ends it
windlass lab fault list|set|clear --dir DIR [NAME] [key=value ...]          breaks it, by name
"""

import argparse
import http.client
import json
import math
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path
from threading import Event
from typing import Any

from windlass.cli.printing import say
from windlass.errors import BadInputError, NotReadyError, RefusedError
from windlass.models.document import Problem
from windlass.models.load import SiteFileError, load_site
from windlass.waiting import Pace, wait_for

START = timedelta(seconds=120)
END = timedelta(seconds=30)
LOOPBACK_PREFIX = 16
LOOK = Pace(first=timedelta(seconds=0.1), longest=timedelta(seconds=0.5))

# What a site file for a lab need not have, or may have of the real site.
FILLED_IN = {"proxmox.endpoints", "proxmox.token_id", "proxmox.token_secret"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    sub = parser.add_subparsers(dest="verb", required=True)
    up = sub.add_parser("up", help="start a lab; in the foreground unless --detach")
    up.add_argument(
        "--dir",
        type=Path,
        required=True,
        help="its folder: state, site.yaml, credentials, lab.json",
    )
    up.add_argument(
        "--speed", type=_speed, default=1.0, help="how many times faster than real machines"
    )
    up.add_argument(
        "--network",
        type=_network,
        default="127.25.0.0/16",
        help="its loopback network; another one for a second lab",
    )
    up.add_argument(
        "--detach", action="store_true", help="return when it is ready, leave it running"
    )
    up.add_argument(
        "--site", type=_file, help="a lab like this site file, instead of the default site"
    )
    up.add_argument(
        "--host-memory", type=_count, help="MiB in each Proxmox host of a lab made with --site"
    )
    up.add_argument("--repository", type=Path, help="a bare Git repository to serve as the site's")
    up.add_argument(
        "--url",
        action="append",
        help="a repository URL that stands for --repository inside the lab",
    )
    down = sub.add_parser("down", help="end a lab and its children; its folder stays")
    down.add_argument("--dir", type=Path, required=True)
    fault = sub.add_parser("fault", help="list, set or clear faults")
    # A parser each: argparse would take an optional name for absent as soon as an option stands before it.
    ways = fault.add_subparsers(dest="what", required=True)
    for what, does in (
        ("list", "what can go wrong, and what does now"),
        ("set", "make something go wrong"),
        ("clear", "mend these, or everything"),
    ):
        way = ways.add_parser(what, help=does)
        way.add_argument("--dir", type=Path, required=True)
        way.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
        if what == "set":
            way.add_argument("--times", type=_count, help="how often it fires; else until cleared")
            way.add_argument("name")
            way.add_argument("args", nargs="*", metavar="key=value")
        elif what == "clear":
            way.add_argument("names", nargs="*", metavar="name")


def _speed(text: str) -> float:
    with suppress(ValueError):
        speed = float(text)
        if math.isfinite(speed) and speed > 0:
            return speed
    raise argparse.ArgumentTypeError(f"{text} is not a number above 0")


def _count(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")


def _network(text: str) -> str:
    """Every machine has an address of its own in it, and nothing of it leaves this machine."""
    with suppress(ValueError):
        network = IPv4Network(text)
        if network.is_loopback and network.prefixlen == LOOPBACK_PREFIX:
            return text
    raise argparse.ArgumentTypeError(f"{text} is no loopback network like 127.30.0.0/16")


def _file(text: str) -> Path:
    if not (path := Path(text)).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def run(args: argparse.Namespace) -> int:
    if args.verb == "up":
        return _up(args)
    if args.verb == "down":
        return _down(args.dir.absolute())
    return _fault(args)


def _refuse_nonsense(site: Path) -> None:
    """Say what is wrong with a site file before anything starts; how Proxmox is reached, the lab itself will say.

    Raises:
        SiteFileError: with all that is left.
    """
    try:
        load_site(site)
    except SiteFileError as error:
        left = [one for one in error.problems if not _is_filled_in(one)]
        if left:
            raise SiteFileError(site, left) from error


def _is_filled_in(problem: Problem) -> bool:
    return problem.key in FILLED_IN or (problem.key == "proxmox" and "ca_file" in problem.message)


def _command(args: argparse.Namespace, folder: Path) -> list[str]:
    module = [sys.executable, "-m", "windlass.lab.up"]
    options = ["--dir", str(folder), "--speed", str(args.speed), "--network", args.network]
    for option in ("site", "host_memory", "repository"):
        if (value := getattr(args, option)) is not None:
            options += [f"--{option.replace('_', '-')}", str(value)]
    urls: list[str] = args.url or []
    return [*module, *options, *(part for url in urls for part in ("--url", url))]


def _up(args: argparse.Namespace) -> int:
    folder: Path = args.dir.absolute()
    if _pid(folder) is not None:
        raise BadInputError(f"a lab already runs in {folder}: windlass lab down --dir {folder}")
    if args.site is not None:
        _refuse_nonsense(args.site.absolute())
    command = _command(args, folder)
    if not args.detach:
        os.execv(sys.executable, command)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = folder / "lab.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def ready() -> None:
        if process.poll() is not None:
            tail = "\n".join(log.read_text().splitlines()[-5:])
            raise RefusedError(f"the lab ended at once (see {log}):\n{tail}")
        if not log.read_text().rstrip().endswith("ready"):
            raise NotReadyError("its servers do not all answer yet")

    wait_for("the lab", ready, timeout=START, pace=LOOK, stop=Event())
    say(f"lab in {folder}: site file {folder / 'site.yaml'}")
    say("ready")
    return 0


def _down(folder: Path) -> int:
    pid = _pid(folder)
    if pid is None:
        say(f"no lab runs in {folder}")
        return 0
    os.kill(pid, signal.SIGTERM)

    def gone() -> None:
        # Its own word comes before its end: a network is free when the process is gone.
        if _command_of(pid):
            raise NotReadyError(f"process {pid} still runs")

    wait_for("the lab to end", gone, timeout=END, pace=LOOK, stop=Event())
    say("down")
    return 0


def _pid(folder: Path) -> int | None:
    """The lab's process, when it is one: a file that outlived its process names nobody."""
    try:
        pid = int((folder / "lab.pid").read_text())
    except (OSError, ValueError):
        return None
    command = _command_of(pid)
    return pid if b"windlass.lab.up" in command and str(folder).encode() in command else None


def _command_of(pid: int) -> bytes:
    """What the process was started as; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _fault(args: argparse.Namespace) -> int:
    folder = args.dir.absolute()
    if args.what == "set":
        given = dict(_pair(text) for text in args.args)
        _ask(folder, "POST", "/faults", {"name": args.name, "times": args.times, "args": given})
    elif args.what == "clear":
        names = "&".join(f"name={name}" for name in args.names)
        _ask(folder, "DELETE", f"/faults?{names}")
    found = _ask(folder, "GET", "/faults")
    if args.json:
        print(json.dumps(found))
        return 0
    active = {fault["name"]: fault for fault in found["active"]}
    for name, does in sorted(found["known"].items()):
        fault = active.get(name)
        mark = f"ON {fault['args']} fired {fault['fired']}" if fault else ""
        say(f"{name:<28} {does} {mark}".rstrip())
    return 0


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise BadInputError(f"{text!r} should be key=value")
    return key, value


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("lab", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


def _ask(
    folder: Path, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    connection = _UnixConnection(folder / "control.sock")
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        said: dict[str, Any] = json.loads(answer.read())
    except OSError as error:
        raise BadInputError(
            f"no lab answers in {folder}: windlass lab up --dir {folder}"
        ) from error
    finally:
        connection.close()
    if answer.status >= 400:  # noqa: PLR2004 - HTTP's own line between yes and no
        raise BadInputError(said.get("error", f"the lab answered {answer.status}"))
    return said
