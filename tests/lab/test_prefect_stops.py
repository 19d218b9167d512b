"""A run that is cancelled, or called crashed, or that nobody can tell how it is: it parks, or it writes no more."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from deployments.server import answers, ensure_server
from deployments.settings import environment, local_server
from tests.labs import RunningLab, running_lab
from tests.serving import Serving, serving, until
from tests.sweeping import judged, small_site
from windlass.engine.records import Holder
from windlass.errors import NotReadyError
from windlass.reports.plan import escaped

NETWORKS = ("127.68.0.0/16", "127.69.0.0/16", "127.71.0.0/16", "127.72.0.0/16")
# A bootstrap is cancelled in each of these, one after the other, while its call is out.
CANCELLED_IN = (
    "proxmox.create-vm/cp",
    "talos.apply-config/cp",
    "talos.bootstrap-etcd/cp",
    "acceptance.pod/proof",
)
# Parking may take this long by the book.
PARKS_S = 30
HANGS = "talos-hang"
SPACE, TIDIED = "acceptance.namespace/windlass-acceptance", "acceptance.cleanup/windlass-acceptance"


@pytest.fixture
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[RunningLab]:
    number = getattr(request, "param", 0)
    more = ["--site", str(small_site(tmp_path))]
    with running_lab(tmp_path, network=NETWORKS[number], more=more) as lab:
        yield lab


def test_o11_a_run_that_is_cancelled_in_a_call_parks_behind_it_and_says_what_remains(
    lab: RunningLab,
):
    slow = ",".join(f"{step}:mid_effect=sleep(4)" for step in CANCELLED_IN)
    took: list[float] = []
    with serving(lab) as served:
        served.stop()
        served.start({"WINDLASS_FAILPOINT": slow})
        run = served.run(mode="apply")
        operation = served.approve(run).id
        for step in CANCELLED_IN:
            until(f"{step} to be called", lambda step=step: is_called(served, operation, step))
            took.append(cancelled(served, run))
            assert_parked(served, run, operation, step)
            run = served.run(mode="apply", operation=operation)
        kind, name, message = served.end_of(run)
        steps = {step.key for step in served.journal.operation(operation).plan}

    assert kind == "COMPLETED", f"{name}: {message}"
    assert max(took) < PARKS_S
    assert judged(lab, steps) == []


def is_called(served: Serving, operation: str, step: str) -> None:
    state = served.journal.step_state(operation, step)
    if not state.effects:
        raise NotReadyError(f"it is {state.state}")


def cancelled(served: Serving, run: str) -> float:
    """Cancel in the UI; the seconds until the run says that it is."""
    began = time.monotonic()
    served.cancel(run)
    assert served.end_of(run)[0] == "CANCELLED"
    return time.monotonic() - began


def assert_parked(served: Serving, run: str, operation: str, step: str) -> None:
    """The journal, the world and the report agree on what was done and on what is left behind."""
    found = served.journal.operation(operation)
    states = served.journal.step_states(operation)
    assert (found.state.value, found.reason) == ("parked", "PARKED")
    assert states[step].state in ("parked", "done")
    left = [s.key for s in found.plan if s.key not in states]
    report = served.report_of(run)
    assert left
    assert all(f"| {key} | pending |" in report for key in left)
    assert f"| {step} | {states[step].state} |" in report
    # No node was cordoned and no Application paused, and that is what it says.
    nodes = [e for e in served.lab.oplog() if e["target"].startswith("Node/")]
    assert not any(e["after"]["unschedulable"] for e in nodes if e["after"])
    space = states.get(SPACE)
    remains = (f"{SPACE} stays until {TIDIED}",) if space is not None and space.effects else ()
    assert found.remains == remains
    assert ("What remains" in report) == bool(remains)
    assert all(escaped(one) in report for one in remains)


@pytest.mark.parametrize("lab", [1], indirect=True)
def test_p2_o9_stops_of_every_kind_park_and_go_on(lab: RunningLab):
    with serving(lab) as served:
        run, operation = hanging(served)

        busy = served.run(mode="apply", operation=_second(lab, served))
        assert operation in served.end_of(busy)[2], "the second is told who holds the site"

        served.cancel(run)
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
    assert_each_once(lab)


@pytest.mark.parametrize("lab", [2], indirect=True)
def test_o1_a_server_that_dies_and_a_run_called_crashed_that_holds_the_site_change_nothing(
    lab: RunningLab,
):
    with serving(lab) as served:
        run, operation = hanging(served)

        server = _replace_server(served)
        assert served.patiently("GET", f"/flow_runs/{run}")["state"]["type"] == "RUNNING"

        call_crashed(served, run)
        second = served.run(mode="apply", operation=operation)
        said = served.end_of(second)[2]
        lab.heal()
        until("the first run to finish what it began", lambda: _is_done(lab, operation))

    server.wait(60)
    assert operation in said, "the second is told that the first still holds the site"
    assert {e["epoch"] for e in lab.effects()} == {1}
    assert_each_once(lab)


@pytest.mark.parametrize("lab", [3], indirect=True)
def test_o6_a_run_called_crashed_that_lost_its_lease_makes_no_effect_more_and_ends(
    lab: RunningLab,
):
    with serving(lab) as served:
        run, operation = hanging(served)
        os.kill(served.flow_process(run), signal.SIGSTOP)
        call_crashed(served, run)
        until("the lease to run out", lambda: _has_run_out(served))
        second = served.run(mode="apply", operation=operation)
        until("the second run to have the site", lambda: _has_epoch(served, 2))
        before = lab.effects()

        took = woken_and_gone(served, run)
        holder = _holder(served)
        while_it_woke = lab.effects()
        lab.heal()
        second_end = served.end_of(second)
        first_end = served.api.state_of(run)
        steps = {step.key for step in served.journal.operation(operation).plan}

    # Nobody asked it to stop: it saw that the site was another's.
    assert first_end[:2] == ("CANCELLED", "Parked"), first_end
    # It notices within a third; telling Prefect is within the rest.
    assert took < holder.lease.total_seconds()
    assert (holder.epoch, while_it_woke) == (2, before)
    assert second_end[0] == "COMPLETED", second_end
    assert judged(lab, steps) == []


def woken_and_gone(served: Serving, run: str) -> float:
    """The stopped process of a run goes on; the seconds until it has ended."""
    began = time.monotonic()
    os.kill(served.flow_process(run), signal.SIGCONT)
    served.until_dead(run)
    return time.monotonic() - began


def hanging(served: Serving) -> tuple[str, str]:
    """A run at work that cannot get on because no machine's API answers, and its operation."""
    served.lab.fault(HANGS)
    run = served.run(mode="apply")
    operation = served.approve(run).id
    served.until_done(operation, 6)

    def hangs() -> None:
        (fault,) = served.lab.json("lab", "fault", "list", "--dir", str(served.lab.folder))[
            "active"
        ]
        if not fault["fired"]:
            raise NotReadyError("nobody has asked a machine")

    until("a call that hangs", hangs)
    return run, operation


def call_crashed(served: Serving, run: str) -> None:
    crashed = {"state": {"type": "CRASHED", "name": "Crashed"}, "force": True}
    served.patiently("POST", f"/flow_runs/{run}/set_state", crashed)


def assert_each_once(lab: RunningLab) -> None:
    times = Counter((e["verb"], e["target"]) for e in lab.effects())
    assert set(times.values()) == {1}
    assert times[("bootstrap", "cp")] == 1


def _holder(served: Serving) -> Holder:
    holder = served.journal.holder("buoy")
    assert holder is not None
    return holder


def _has_run_out(served: Serving) -> None:
    holder = _holder(served)
    if time.time() - holder.renewed <= holder.lease.total_seconds():
        raise NotReadyError("its lease runs")


def _has_epoch(served: Serving, epoch: int) -> None:
    holder = _holder(served)
    if holder.epoch != epoch:
        raise NotReadyError(f"{holder} has it")


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
