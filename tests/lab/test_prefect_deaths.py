"""Runner and flow are killed, alone and together, and every way back leads to one and the same end."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.talos import write_private
from tests.labs import RunningLab, running_lab
from tests.serving import WAYS, Serving, serving, until
from tests.sweeping import judged, one_call_at_a_time, small_site
from windlass.errors import NotReadyError
from windlass.talosconfig.secrets import SecretsBundle

NETWORK = "127.67.0.0/16"


@pytest.fixture
def lab(tmp_path: Path) -> Generator[RunningLab]:
    more = ["--site", str(small_site(tmp_path))]
    with running_lab(tmp_path, network=NETWORK, more=more) as lab:
        one_call_at_a_time(lab)
        # Making secrets calls nobody and takes long enough to be beside every death all the same.
        bundle = SecretsBundle.generate(os.urandom, datetime.now(UTC))
        write_private(lab.folder / "secrets.yaml", bundle.to_yaml())
        yield lab


def flow_dies(served: Serving, run: str) -> None:
    """The flow's process is killed; its runner lives and says so."""
    os.kill(served.flow_process(run), signal.SIGKILL)
    served.until_dead(run)

    def crashed() -> None:
        kind, name, message = served.api.state_of(run)
        if kind != "CRASHED":
            raise NotReadyError(f"the run is {name}: {message}")

    until("the runner to notice", crashed)
    assert served.process is not None
    assert served.process.poll() is None


def both_die(served: Serving, run: str, operation: str, step: str) -> None:
    """Runner and flow are killed at once, after the call went out and before anything was written of its outcome."""
    wake(served, run)
    stopped_behind_the_call(served, run, operation, step)
    served.kill()
    served.until_dead(run)
    assert served.api.state_of(run)[0] == "RUNNING"


def runner_dies_then_flow(served: Serving, run: str, operation: str, step: str) -> None:
    """The runner is killed; the flow lives on by itself, makes its call, and is killed behind it unseen."""
    served.kill_runner()
    assert served.is_alive(run)
    wake(served, run)
    stopped_behind_the_call(served, run, operation, step)
    os.kill(served.flow_process(run), signal.SIGKILL)
    served.until_dead(run)
    assert served.api.state_of(run)[0] == "RUNNING"


Ending = Callable[[Serving, str, str, str], None]
# Along the one chain that cannot run ahead. At each step the flow dies alone before its call, then behind it:
LIVES: tuple[tuple[str, Ending], ...] = (
    ("proxmox.download-image/pve1", both_die),
    ("proxmox.create-vm/cp", runner_dies_then_flow),
    ("proxmox.start-vm/cp", both_die),
    ("talos.apply-config/cp", runner_dies_then_flow),
    ("talos.bootstrap-etcd/cp", both_die),
)


def test_ten_deaths_of_runner_and_flow_end_as_one_life(lab: RunningLab):
    run = operation = ""
    ways = [WAYS[number % len(WAYS)] for number in range(2 * len(LIVES))]
    with serving(lab) as served:
        served.stop()
        for number, (step, end) in enumerate(LIVES):
            served.start({"WINDLASS_FAILPOINT": f"{step}:post_intent=stop,{step}:mid_effect=stop"})
            if number:
                run = served.go_on(operation, run, ways[2 * number - 1])
            else:
                run = served.run(mode="apply")
                operation = served.approve(run).id
            stopped_before_the_call(served, run, operation, step)
            flow_dies(served, run)

            run = served.go_on(operation, run, ways[2 * number])
            stopped_before_the_call(served, run, operation, step)
            end(served, run, operation, step)
        served.start()
        run = served.go_on(operation, run, ways[-1])
        kind, name, message = served.end_of(run)
        steps = {step.key for step in served.journal.operation(operation).plan}

    assert kind == "COMPLETED", f"{name}: {message}"
    assert Counter(ways) == {"windlass resume": 4, "Prefect retry": 3, "operation=": 3}
    times = Counter((e["verb"], e["target"]) for e in lab.effects())
    assert set(times.values()) == {1}
    assert Counter(verb for verb, _ in times) >= Counter(
        vm_create=2, vm_start=2, apply_config=2, install=2, download=1, bootstrap=1
    )
    assert judged(lab, steps) == []


def stopped_before_the_call(served: Serving, run: str, operation: str, step: str) -> None:
    _stopped(served, run, lambda: _calls(served, operation, step) == 0)


def stopped_behind_the_call(served: Serving, run: str, operation: str, step: str) -> None:
    _stopped(served, run, lambda: _calls(served, operation, step) == 1)


def wake(served: Serving, run: str) -> None:
    os.kill(served.flow_process(run), signal.SIGCONT)


def _calls(served: Serving, operation: str, step: str) -> int:
    return served.journal.step_state(operation, step).effects


def _stopped(served: Serving, run: str, is_there: Callable[[], bool]) -> None:
    """The flow stands still where it was told to; not at an end of its own."""

    def stands() -> None:
        kind, name, message = served.api.state_of(run)
        assert kind not in ("COMPLETED", "FAILED", "CANCELLED"), f"it is {name}: {message}"
        if not served.is_alive(run):
            raise NotReadyError(f"no process is the run, which is {name}")
        stat = Path(f"/proc/{served.flow_process(run)}/stat").read_text()
        if stat.rpartition(")")[2].split()[0] != "T" or not is_there():
            raise NotReadyError("it runs")

    until("the flow to stand still", stands)
