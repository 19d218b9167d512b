"""`windlass serve` as a process of its own, with a lab beside it: for tests that use Prefect as Prefect."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from tasks.running import is_alive
from tests.labs import ROOT, RunningLab
from tests.sweeping import processes_of
from windlass.cli.served import Served, contract
from windlass.engine.journal import Journal
from windlass.engine.records import Operation
from windlass.errors import NotReadyError
from windlass.waiting import Pace, wait_for

T = TypeVar("T")

START = timedelta(seconds=180)
PATIENCE = timedelta(seconds=120)
LOOK = Pace(first=timedelta(seconds=0.2), factor=1.0, longest=timedelta(seconds=0.2))
WAYS = ("windlass resume", "Prefect retry", "operation=")
ENDS = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})


def until(what: str, probe: Callable[[], T], patience: timedelta = PATIENCE) -> T:
    return wait_for(what, probe, timeout=patience, pace=LOOK, stop=Event())


@dataclass
class Serving:
    """One WINDLASS_HOME that is served."""

    lab: RunningLab
    port: int
    process: "subprocess.Popen[bytes] | None" = None
    api: Served = field(init=False)
    journal: Journal = field(init=False)
    server: int | None = None
    groups: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        self.journal = Journal.open(self.lab.home)

    def start(self, env: Mapping[str, str] | None = None) -> None:
        # The word of a process that was killed.
        (self.lab.home / "serve.json").unlink(missing_ok=True)
        with (self.lab.home / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deployments.serve", "--port", str(self.port)],
                cwd=ROOT, env=self.lab.env(env), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        self.groups.append(self.process.pid)

        def ready() -> None:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError((self.lab.home / "serve.log").read_text()[-2000:])
            if not (self.lab.home / "serve.json").exists():
                raise NotReadyError("it is starting")

        until("windlass serve", ready, START)
        self.api = contract(self.lab.home)
        self.server = _server_under(self.process.pid) or self.server

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)

    def kill(self) -> None:
        """The serving process and every flow in it die at once; the server goes on."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_all(self) -> None:
        """Whatever was ever started, flows that outlived their runner included."""
        for group in self.groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def kill_runner(self) -> None:
        """The serving process dies; flows live on, and nobody watches them."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def flow_process(self, run: str) -> int:
        """The process that is a flow run now."""
        return int((self.lab.home / "runs" / run).read_text())

    def is_alive(self, run: str) -> bool:
        return is_alive(self.lab.home, run)

    def until_dead(self, run: str, patience: timedelta = PATIENCE) -> None:
        def dead() -> None:
            if self.is_alive(run):
                raise NotReadyError("its process lives")

        until("the death of the flow's process", dead, patience)

    def run(self, **parameters: Any) -> str:
        """Start the bootstrap deployment; the id of its flow run."""
        return self.api.start("bootstrap", {"site": str(self.lab.site_file), **parameters})

    def waiting(self, run: str) -> Operation:
        """The operation of a run, once it waits for approval."""

        def found() -> Operation:
            operation = self.journal.of_run(run)
            kind, name, message = self.api.state_of(run)
            assert kind not in ENDS, f"{name}: {message}"
            if operation is None or operation.state.value != "awaiting-approval":
                raise NotReadyError(f"the run is {name}")
            return operation

        return until("a plan that waits", found)

    def approve(self, run: str) -> Operation:
        operation = self.waiting(run)
        until("the approval", lambda: self._accepted(run, operation))
        return operation

    def _accepted(self, run: str, operation: Operation) -> None:
        answer = {"decision": "approve", "reason": "test", "plan_hash": operation.plan_hash}
        said = self.api.call("POST", f"/flow_runs/{run}/resume", {"run_input": answer})
        if said["status"] != "ACCEPT":
            raise NotReadyError(str(said))

    def end_of(self, run: str) -> tuple[str, str, str]:
        """Type, name and message of the state a run ended in."""

        def ended() -> tuple[str, str, str]:
            state = self.api.state_of(run)
            if state[0] not in ENDS:
                raise NotReadyError(f"the run is {state[1]}")
            return state

        return until("the end of the run", ended, timedelta(seconds=240))

    def go_on(self, operation: str, run: str, way: str) -> str:
        """Go on with an operation in one of the three ways; the flow run that does it."""
        if way == "Prefect retry":
            state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
            self.patiently("POST", f"/flow_runs/{run}/set_state", {"state": state})
            return run
        if way == "operation=":
            return self.run(mode="apply", operation=operation)
        assert way == "windlass resume"
        before = set(self.journal.operation(operation).runs)
        resumed = self.lab.start("resume", operation)

        def attached() -> str:
            new = set(self.journal.operation(operation).runs) - before
            if not new:
                raise NotReadyError("no run has taken the operation up")
            return new.pop()

        try:
            return until("windlass resume to start a run", attached)
        finally:
            resumed.kill()
            resumed.communicate()

    def cancel(self, run: str) -> None:
        """What the button in the UI does."""
        state = {"type": "CANCELLING", "name": "Cancelling"}
        self.patiently("POST", f"/flow_runs/{run}/set_state", {"state": state})

    def report_of(self, run: str) -> str:
        """The newest report of a run, as people read it."""
        asked = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": ["report"]}}}
        found = self.patiently("POST", "/artifacts/filter", {**asked, "sort": "CREATED_DESC"})
        return str(found[0]["data"])

    def until_done(self, operation: str, steps: int) -> None:
        """Wait until so many steps of the operation are done."""

        def far_enough() -> None:
            done = [s for s in self.journal.step_states(operation).values() if s.state == "done"]
            if len(done) < steps:
                raise NotReadyError(f"{len(done)} steps are done")

        until(f"{steps} steps", far_enough)

    def patiently(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return until(f"{method} {path}", lambda: self.api.call(method, path, body))


@contextmanager
def serving(lab: RunningLab) -> Generator[Serving]:
    """`windlass serve` for a lab's home; all of it is gone after the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    served = Serving(lab, port)
    served.start()
    try:
        yield served
    except BaseException:
        served.kill_all()
        raise
    finally:
        if served.process is not None and served.process.poll() is None:
            try:
                served.stop()
            except subprocess.TimeoutExpired:
                served.kill()
        _end_server(served.server)
        until("the last process of it to end", lambda: _check_gone(lab.home))


def _server_under(parent: int) -> int | None:
    """The Prefect server that this process started, if it did not find one."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = [pid for pid in children if _is_server(int(pid))]
    return int(found[0]) if found else None


def _is_server(pid: int) -> bool:
    try:
        return b"prefect\0server\0start" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _end_server(server: int | None) -> None:
    """A server whose parent was killed is nobody's child any more."""
    if server is not None and _is_server(server):
        os.kill(server, signal.SIGTERM)


def _check_gone(home: Path) -> None:
    if left := processes_of(home):
        raise NotReadyError(f"there is {', '.join(left)}")
