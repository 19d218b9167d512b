"""`make demo`: a whole site boots in the lab, under Prefect, before your eyes. Ends with nothing left running.

Everything it does a person can do by hand: start a lab, serve, start the deployment, read the plan, approve it.
"""

import argparse
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

from deployments.watching import watch
from windlass.cli.printing import say
from windlass.engine.journal import Journal
from windlass.errors import NotReadyError, RefusedError, UnreachableError, WindlassError
from windlass.reports.plan import plan_text
from windlass.reports.progress import result_text
from windlass.waiting import Pace, wait_for

CHECKOUT = Path(__file__).resolve().parent.parent
PACE = Pace(first=timedelta(seconds=0.2), longest=timedelta(seconds=1))
START = timedelta(seconds=180)
# A run is picked up by the serving process's next poll; a busy machine needs a while to spawn it.
PLAN = timedelta(seconds=180)
ROLL_OUT = timedelta(minutes=15)
END_S = 60


def main() -> int:
    """Run the demonstration; 0 when the site is up and proven."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave lab and server running")
    parser.add_argument("--speed", type=float, default=20.0, help="how much faster than real machines")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="windlass-demo-"))
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.environ["WINDLASS_HOME"] = str(home)
    try:
        with _lab(folder / "lab", args.speed, keep=args.keep), _served(home, keep=args.keep) as api:
            code = _boot(Api(api), folder / "lab" / "site.yaml", home)
            _goodbye(folder, api["api_url"].removesuffix("/api"), keep=args.keep)
            return code
    except WindlassError as error:
        say(f"the demonstration stopped: {error}")
        return 6
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lab(folder: Path, speed: float, *, keep: bool) -> Generator[None]:
    say(f"1. a lab: Proxmox, Talos, Kubernetes, Git, DNS on loopback, {speed:g} times as fast as real machines")
    windlass = [sys.executable, "-m", "windlass.cli"]
    up = [*windlass, "lab", "up", "--dir", str(folder), "--speed", str(speed), "--detach"]
    if subprocess.run(up, cwd=CHECKOUT, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        raise RefusedError(f"the lab did not start: see {folder / 'lab.log'}")
    try:
        yield
    finally:
        if not keep:
            subprocess.run([*windlass, "lab", "down", "--dir", str(folder)], cwd=CHECKOUT, stdout=subprocess.DEVNULL, check=False)


@contextmanager
def _served(home: Path, *, keep: bool) -> Generator[dict[str, Any]]:
    say("2. a Prefect server and `windlass serve` (the first start takes a moment)")
    with (home / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.serve", "--port", str(_free_port())],
            cwd=CHECKOUT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def ready() -> dict[str, Any]:
        if process.poll() is not None:
            raise RefusedError(f"windlass serve ended by itself: {(home / 'serve.log').read_text()[-600:]}")
        if not (home / "serve.json").exists():
            raise NotReadyError("it is starting")
        said: dict[str, Any] = json.loads((home / "serve.json").read_text())
        return said

    try:
        yield wait_for("windlass serve", ready, timeout=START, pace=PACE, stop=Event())
    finally:
        if not keep:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Api:
    """The few calls to the Prefect API that a person would make in its UI."""

    def __init__(self, served: dict[str, Any]) -> None:
        self._url = served["api_url"]
        auth = Path(served["auth_file"]).read_text().strip()
        self._basic = "Basic " + base64.b64encode(auth.encode()).decode()
        self._deployments = served["deployments"]

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        found = self.call("GET", f"/deployments/name/{self._deployments[deployment]}")
        run = self.call("POST", f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        return str(run["id"])

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": self._basic, "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            # SQLite's "database is locked" arrives as 503, and a run that pauses has no input for a moment.
            kind = UnreachableError if error.code in (404, 503) else RefusedError
            raise kind(f"{method} {path}: {error.code} {error.read()[:300]!r}") from error
        except OSError as error:
            raise UnreachableError(f"{method} {path}: {error}") from error


def _boot(api: Api, site: Path, home: Path) -> int:
    say("3. the deployment `bootstrap`, started through the Prefect API")
    journal = Journal.open(home)
    run = wait_for(
        "a flow run",
        lambda: api.start("bootstrap", {"site": str(site), "mode": "apply"}),
        timeout=START, pace=PACE, stop=Event(),
    )  # fmt: skip
    say(f"   {api.call('GET', '/admin/version') and ''}{_ui(api, run)}")

    def planned() -> str:
        for operation in journal.operations():
            if run in operation.runs and operation.state == "awaiting-approval":
                return operation.id
        state = api.call("GET", f"/flow_runs/{run}")["state"]
        if state["type"] in ("FAILED", "CRASHED", "CANCELLED", "COMPLETED"):
            raise RefusedError(f"the run ended as {state['name']}: {state.get('message')}")
        raise NotReadyError(f"the run is {state['name']}")

    identity = wait_for("the plan", planned, timeout=PLAN, pace=PACE, stop=Event())
    operation = journal.operation(identity)
    say(plan_text(operation.plan))
    say("4. approving it, as the form in the UI does: by the hash of the plan")
    answer = {"run_input": {"decision": "approve", "reason": "make demo", "plan_hash": operation.plan_hash}}

    def approved() -> None:
        said = api.call("POST", f"/flow_runs/{run}/resume", answer)
        if said["status"] != "ACCEPT":
            raise NotReadyError(str(said.get("details")))

    wait_for("the approval to be taken", approved, timeout=START, pace=PACE, stop=Event())
    end = watch(journal, identity, timeout=ROLL_OUT)
    say()
    say(result_text(operation.plan, end))
    return 0 if end.state == "done" else 6


def _ui(api: Api, run: str) -> str:
    return f"watch it: {api.ui}/runs/flow-run/{run}"


def _goodbye(folder: Path, ui: str, *, keep: bool) -> None:
    say()
    if not keep:
        say("Nothing is left running. Next: make demo KEEP=1 leaves it up to look around in;")
        say("then copy site.example.yaml, and windlass check it.")
        return
    windlass = f"WINDLASS_HOME={folder / 'home'} .venv/bin/windlass"
    say(f"It is all still up. The Prefect UI is {ui} (user:password in {folder / 'home' / 'prefect-auth'}).")
    say(f"  {windlass} history")
    say(f"  {windlass} bootstrap {folder / 'lab' / 'site.yaml'}        # a second bootstrap plans nothing")
    say(f"  .venv/bin/kubectl --kubeconfig {folder / 'lab' / 'kubeconfig'} get nodes,pods -A")
    say(f"  talosctl --talosconfig {folder / 'lab' / 'talosconfig'} version     # the official one, if you have it")
    say(f"When you are done: kill $(cat {folder / 'home' / 'serve.pid'}); {windlass} lab down --dir {folder / 'lab'}")


if __name__ == "__main__":
    sys.exit(main())
