"""A whole site boots in the lab, under Prefect, before your eyes. Ends with nothing left running, unless --keep.

Everything it does a person can do by hand: start a lab, serve, start the deployment, read the plan, approve it.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event

from windlass.cli import exits, printing
from windlass.cli.following import Follower
from windlass.cli.served import Served, contract
from windlass.engine.journal import Journal
from windlass.engine.records import Operation
from windlass.errors import NotReadyError, RefusedError
from windlass.models.load import load_site
from windlass.reports.plan import plan_text
from windlass.reports.progress import result_text
from windlass.waiting import Pace, wait_for

CHECKOUT = Path(__file__).resolve().parents[2]
PACE = Pace(first=timedelta(seconds=0.2), longest=timedelta(seconds=1))
START = timedelta(seconds=240)
ROLL_OUT = timedelta(minutes=20)
END_S = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", action="store_true", help="leave lab and server running")
    parser.add_argument(
        "--speed", type=float, default=20.0, help="how much faster than real machines"
    )


def run(args: argparse.Namespace) -> int:
    folder = Path(tempfile.mkdtemp(prefix="windlass-demo-"))
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.environ["WINDLASS_HOME"] = str(home)
    try:
        with (
            _lab(folder / "lab", args.speed, keep=args.keep),
            _serving(home, keep=args.keep) as served,
        ):
            code = _boot(served, folder / "lab" / "site.yaml", home)
            if args.keep:
                _look_around(folder, served)
        if not args.keep:
            _goodbye()
        return code
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lab(folder: Path, speed: float, *, keep: bool) -> Generator[None]:
    printing.say(
        f"1  a lab on loopback, {speed:g} times as fast as real machines: Proxmox, Talos, Kubernetes, Git, DNS"
    )
    up = [
        "lab",
        "up",
        "--dir",
        str(folder),
        "--speed",
        str(speed),
        "--network",
        _free_network(),
        "--detach",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "windlass.cli", *up], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RefusedError(f"the lab did not start: {done.stderr.strip()}")
    try:
        yield
    finally:
        if not keep:
            down = ["lab", "down", "--dir", str(folder)]
            subprocess.run(
                [sys.executable, "-m", "windlass.cli", *down], capture_output=True, check=False
            )


@contextmanager
def _serving(home: Path, *, keep: bool) -> Generator[Served]:
    printing.say(
        "2  windlass serve, with a Prefect server of its own (its first start takes a moment)"
    )
    with (home / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.serve", "--port", str(_free_port())],
            cwd=CHECKOUT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def ready() -> Served:
        if process.poll() is not None:
            raise RefusedError(f"it ended by itself: {(home / 'serve.log').read_text()[-600:]}")
        if not (home / "serve.json").exists():
            raise NotReadyError("it is starting")
        return contract(home)

    try:
        yield wait_for("windlass serve", ready, timeout=START, pace=PACE, stop=Event())
    finally:
        if not keep:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def _free_network() -> str:
    """A loopback network where no other lab is: its image factory's address tells."""
    for number in range(25, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((f"127.{number}.2.1", 8443))
            except OSError:
                continue
        return f"127.{number}.0.0/16"
    raise RefusedError("every loopback network from 127.25 to 127.199 has a lab in it: end some")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _boot(served: Served, site: Path, home: Path) -> int:
    spec = load_site(site).site
    printing.say(
        f"3  bootstrap of site {spec.name}: {len(spec.control_planes)} control planes, {len(spec.workers)} workers, "
        f"Talos {spec.cluster.talos}, Kubernetes {spec.cluster.kubernetes}"
    )
    run = served.start("bootstrap", {"site": str(site), "mode": "apply"})
    printing.say(f"   watch it: {served.ui}/runs/flow-run/{run}")
    journal = Journal.open(home)
    operation = _planned(served, journal, run)
    printing.say(plan_text(operation.plan))
    printing.say(
        "4  approved, as the form in the Prefect UI does it: by typing the hash of the plan"
    )
    since = journal.operation(operation.id).updated
    _approve(served, run, operation)
    follower = Follower(journal, operation.id)
    end = follower.until_rest(
        since=since, timeout=ROLL_OUT, stop=Event(), alive=lambda: served.state_of(run)
    )
    printing.say()
    printing.say(result_text(operation.plan, end))
    for node in spec.nodes:
        printing.say(
            f"  {node.name:<10} {node.role:<13} {node.address}  Talos {spec.cluster.talos}"
        )
    for layer in spec.gitops.layers if spec.gitops else ():
        printing.say(f"  layer {layer.name:<10} {', '.join(layer.apps)}")
    return exits.DONE if end.state == "done" else exits.FAILED


def _planned(served: Served, journal: Journal, run: str) -> Operation:
    def waiting() -> Operation:
        found = journal.of_run(run)
        if found is not None and found.state.value == "awaiting-approval":
            return found
        kind, name, message = served.state_of(run)
        if kind in ("FAILED", "CRASHED", "CANCELLED", "COMPLETED"):
            raise RefusedError(f"the run ended as {name}: {message}")
        raise NotReadyError(f"the run is {name}")

    return wait_for("the plan", waiting, timeout=START, pace=PACE, stop=Event())


def _approve(served: Served, run: str, operation: Operation) -> None:
    answer = {
        "decision": "approve",
        "reason": "the demonstration",
        "plan_hash": operation.plan_hash,
    }

    def approved() -> None:
        said = served.call("POST", f"/flow_runs/{run}/resume", {"run_input": answer})
        if said["status"] != "ACCEPT":
            raise NotReadyError(str(said.get("details")))

    wait_for("the approval to be taken", approved, timeout=START, pace=PACE, stop=Event())


def _goodbye() -> None:
    printing.say()
    printing.say("Nothing is left running. Next: make demo KEEP=1 leaves it up to look around in;")
    printing.say(
        "site.example.yaml explains a site file; windlass init --from-tofu DIR writes one."
    )


def _look_around(folder: Path, served: Served) -> None:
    printing.say()
    home, lab = folder / "home", folder / "lab"
    printing.say(
        f"It is all still up. The Prefect UI: {served.ui}, credential in {home / 'prefect-auth'}"
    )
    printing.say(f"  export WINDLASS_HOME={home} PATH=$PWD/.venv/bin:$PATH")
    printing.say("  windlass history")
    printing.say(f"  windlass bootstrap {lab / 'site.yaml'}     # a second bootstrap plans nothing")
    printing.say(f"  kubectl --kubeconfig {lab / 'kubeconfig'} get nodes,pods -A")
    printing.say(
        f"  talosctl --talosconfig {lab / 'talosconfig'} services   # the official one, if you have it"
    )
    printing.say("When you are done:")
    printing.say(f"  kill {served.pid}; windlass lab down --dir {lab}; rm -r {folder}")
