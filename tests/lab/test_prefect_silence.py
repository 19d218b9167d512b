"""A flow run that died together with its runner: nobody is left to say so, and Prefect ends it by its silence."""

import os
import signal
import time
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import pytest

from deployments.hosting import SILENCE, SILENT_RUNS
from tests.labs import RunningLab, running_lab
from tests.serving import Serving, serving, until
from tests.sweeping import small_site, wrong_effects
from windlass.errors import NotReadyError

NETWORK = "127.73.0.0/16"
# Silence, and the server's own rounds.
PATIENCE = SILENCE + timedelta(seconds=90)


@pytest.fixture
def lab(tmp_path: Path) -> Generator[RunningLab]:
    more = ["--site", str(small_site(tmp_path))]
    with running_lab(tmp_path, network=NETWORK, more=more) as lab:
        yield lab


def test_o5_who_died_in_silence_is_ended_by_it_who_waits_is_left_alone_and_the_operation_goes_on(
    lab: RunningLab,
):
    with serving(lab) as served:
        waits = served.run(mode="apply")
        served.waiting(waits)
        dies, operation = at_work(served)
        died = dies_in_silence(served, dies)
        claimed = taken(served, "PENDING")
        cancelled = taken(served, "RUNNING", "CANCELLING")

        ended = [
            until("the automation", lambda run=run: crashed(served, run), PATIENCE)
            for run in (dies, claimed)
        ]
        silent = time.monotonic() - died
        left_alone = (served.api.state_of(waits)[0], served.is_alive(waits))
        lab.heal()
        served.start()
        # No automation may call a run crashed that is being cancelled: the next start does.
        at_start = crashed(served, cancelled)
        assert served.go_on(operation, dies, "Prefect retry") == dies
        end = served.end_of(dies)
        os.kill(served.flow_process(waits), signal.SIGKILL)

    assert {name for name, _ in ended} == {"Crashed"}
    assert all(message.startswith("No sign of life for 90 s. ") for _, message in ended)
    # The last sign of life may be as old as a heartbeat takes to come.
    assert silent > (SILENCE - timedelta(seconds=30)).total_seconds()
    assert at_start[1].startswith("ORPHANED: its process is gone. ")
    assert left_alone == ("PAUSED", True)
    assert end[0] == "COMPLETED", end
    assert list(wrong_effects(lab)) == []


def at_work(served: Serving) -> tuple[str, str]:
    """A run that was approved a moment ago and hangs, and its operation."""
    served.lab.fault("talos-hang")
    run = served.run(mode="apply")
    operation = served.approve(run).id
    served.until_done(operation, 6)
    return run, operation


def dies_in_silence(served: Serving, run: str) -> float:
    """Runner and flow are killed, and the server knows of neither; when that was."""
    automations = served.api.call("POST", "/automations/filter", {})
    served.kill_runner()
    os.kill(served.flow_process(run), signal.SIGKILL)
    died = time.monotonic()
    served.until_dead(run)
    assert served.api.state_of(run)[0] == "RUNNING"
    assert [one["name"] for one in automations] == [SILENT_RUNS]
    return died


def taken(served: Serving, *states: str) -> str:
    """A run that some process took and brought so far, and that never said a word of its own."""
    run = served.run(mode="plan")
    for state in states:
        body = {"state": {"type": state, "name": state.capitalize()}, "force": True}
        served.patiently("POST", f"/flow_runs/{run}/set_state", body)
    assert served.api.state_of(run)[0] == states[-1]
    return run


def crashed(served: Serving, run: str) -> tuple[str, str]:
    """Name and message of the state that the run was ended with."""
    kind, name, message = served.api.state_of(run)
    if kind != "CRASHED":
        raise NotReadyError(f"the run is {name}")
    return name, message
