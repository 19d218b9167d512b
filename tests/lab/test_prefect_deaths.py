"""What becomes of a run when processes die or are told to stop: the journal knows, and every way back leads there."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deployments.server import answers, ensure_server
from deployments.settings import environment, local_server
from tasks.talos import write_private
from tests.labs import RunningLab, running_lab
from tests.serving import Serving, serving, until
from tests.sweeping import small_site
from windlass.errors import NotReadyError
from windlass.talosconfig.secrets import SecretsBundle

NETWORKS = ("127.67.0.0/16", "127.68.0.0/16", "127.69.0.0/16")

# Where runner and flow die, one after the other, in one operation: along the one chain that cannot run ahead.
DEATHS = tuple(
    f"{step}:{phase}"
    for step in (
        "proxmox.download-image/pve1",
        "proxmox.create-vm/cp",
        "proxmox.start-vm/cp",
        "talos.apply-config/cp",
        "talos.bootstrap-etcd/cp",
    )
    for phase in ("post_intent", "mid_effect")
)
WAYS = ("windlass resume", "Prefect retry", "operation=")


@pytest.fixture
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[RunningLab]:
    number = getattr(request, "param", 0)
    more = ["--site", str(small_site(tmp_path))]
    with running_lab(tmp_path, network=NETWORKS[number], more=more) as lab:
        yield lab


def test_ten_deaths_of_runner_and_flow_end_as_one_life(lab: RunningLab):
    # Making secrets takes long enough to be beside every death, which is what the breaker counts.
    bundle = SecretsBundle.generate(os.urandom, datetime.now(UTC))
    write_private(lab.folder / "secrets.yaml", bundle.to_yaml())
    with serving(lab) as served:
        served.stop()
        served.start({"WINDLASS_FAILPOINT": f"{DEATHS[0]}=kill9"})
        run = served.run(mode="apply", until="kubernetes")
        operation = served.approve(run).id
        died = [_died(served, run)]
        for number, point in enumerate(DEATHS[1:], start=1):
            served.kill()
            served.start({"WINDLASS_FAILPOINT": f"{point}=kill9"})
            run = _go_on(served, operation, run, WAYS[number % len(WAYS)])
            died.append(_died(served, run))
        served.kill()
        served.start()
        run = _go_on(served, operation, run, WAYS[0])
        kind, name, message = served.end_of(run)

    assert (kind, died) == ("COMPLETED", [True] * len(DEATHS)), f"{name}: {message}"
    done = Counter(
        (e["verb"], e["target"])
        for e in lab.effects("vm_create", "vm_start", "bootstrap", "download")
    )
    assert set(done.values()) == {1}
    assert lab.json("history")[0]["state"] == "done"
    assert lab.windlass("verify").returncode == 0


def _died(served: Serving, run: str) -> bool:
    """The flow of a run died where it was told to, not at an end of its own."""

    def dead() -> bool:
        kind, name, message = served.api.state_of(run)
        if kind in ("COMPLETED", "FAILED", "CANCELLED"):
            raise AssertionError(f"it lived to be {name}: {message}")
        if kind != "CRASHED":
            raise NotReadyError(f"the run is {name}")
        return True

    return until("the death of the flow", dead)


def _go_on(served: Serving, operation: str, run: str, way: str) -> str:
    """Go on with an operation in one of the three ways; the flow run that does it."""
    if way == "Prefect retry":
        state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
        served.patiently("POST", f"/flow_runs/{run}/set_state", {"state": state})
        return run
    if way == "operation=":
        return served.run(mode="apply", operation=operation)
    before = set(served.journal.operation(operation).runs)
    resumed = served.lab.start("resume", operation)

    def attached() -> str:
        new = set(served.journal.operation(operation).runs) - before
        if not new:
            raise NotReadyError("no run has taken the operation up")
        return new.pop()

    try:
        return until("windlass resume to start a run", attached)
    finally:
        resumed.kill()
        resumed.communicate()


@pytest.mark.parametrize("lab", [1], indirect=True)
def test_stops_of_every_kind_park_and_go_on(lab: RunningLab):
    with serving(lab) as served:
        lab.fault("talos-hang")
        run = served.run(mode="apply", until="kubernetes")
        operation = served.approve(run).id
        served.until_done(operation, 6)

        busy = served.run(mode="apply", operation=_second(lab, served))
        assert operation in served.end_of(busy)[2], "the second is told who holds the site"

        _cancel(served, run)
        assert served.end_of(run)[0] == "CANCELLED"
        assert _state(lab, operation) == ("parked", "PARKED")

        again = served.run(mode="apply", operation=operation)
        until("the second run at work", lambda: _is_running(lab, operation))
        assert served.stop() == 0
        assert _state(lab, operation) == ("parked", "PARKED")

        lab.heal()
        served.start()
        assert served.api.state_of(again)[0] in ("CRASHED", "CANCELLED"), "no run says it runs"
        last = served.run(mode="apply", operation=operation)
        kind, name, message = served.end_of(last)

    assert kind == "COMPLETED", f"{name}: {message}"
    done = Counter((e["verb"], e["target"]) for e in lab.effects("vm_create", "bootstrap"))
    assert set(done.values()) == {1}


def _second(lab: RunningLab, served: Serving) -> str:
    """An approved operation for the same site, made from the first one's plan."""
    first = served.journal.operations()[0]
    made = served.journal.create(first.plan, origin="test", site_file=str(lab.site_file))
    served.journal.approve(made.id, made.plan_hash, by="test")
    return made.id


def _state(lab: RunningLab, operation: str) -> tuple[str, str]:
    found: dict[str, Any] = lab.json("show", operation)
    return found["state"], found["reason"]


def _is_running(lab: RunningLab, operation: str) -> None:
    if _state(lab, operation)[0] != "running":
        raise NotReadyError("it is not running")


def _cancel(served: Serving, run: str) -> None:
    served.patiently(
        "POST",
        f"/flow_runs/{run}/set_state",
        {"state": {"type": "CANCELLING", "name": "Cancelling"}},
    )


@pytest.mark.parametrize("lab", [2], indirect=True)
def test_o1_o6_a_server_that_dies_and_a_run_called_crashed_change_nothing(lab: RunningLab):
    with serving(lab) as served:
        lab.fault("talos-hang")
        run = served.run(mode="apply", until="kubernetes")
        operation = served.approve(run).id
        served.until_done(operation, 6)

        server = _replace_server(served)
        assert served.patiently("GET", f"/flow_runs/{run}")["state"]["type"] == "RUNNING"

        crashed = {"state": {"type": "CRASHED", "name": "Crashed"}, "force": True}
        served.patiently("POST", f"/flow_runs/{run}/set_state", crashed)
        second = served.run(mode="apply", operation=operation)
        said = served.end_of(second)[2]
        lab.heal()
        until("the first run to finish what it began", lambda: _is_done(lab, operation))

    server.wait(60)
    assert operation in said, "the second is told that the first still holds the site"
    done = Counter((e["verb"], e["target"]) for e in lab.effects("vm_create", "bootstrap"))
    assert set(done.values()) == {1}


def _replace_server(served: Serving) -> "subprocess.Popen[bytes]":
    """The Prefect server is killed, and another one takes its place on the same database."""
    assert served.server is not None
    os.kill(served.server, signal.SIGKILL)
    home = served.lab.home
    server = local_server(home, served.port)

    def gone() -> None:
        if answers(server):
            raise NotReadyError("the old server still answers")

    until("the server's death", gone)
    started = ensure_server(server, environment(home, server), home)
    assert started is not None
    served.server = started.pid
    return started


def _is_done(lab: RunningLab, operation: str) -> None:
    state, reason = _state(lab, operation)
    assert state in ("running", "done"), reason
    if state != "done":
        raise NotReadyError("it is still running")
