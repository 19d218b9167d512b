"""Speed, as ratios in one run: `python -m tests.bench`. Machines are noisy; a ratio to its neighbour is what to read.

Everything runs on loopback and ends by itself; labs take 127.62 and 127.63.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

from tests.labs import ROOT, RunningLab, running_lab
from tests.unit.engine.worlds import Thing, plan_of
from tests.unit.observing import in_no_time, observed_of, site_of
from windlass.engine.executor import ThreadsExecutor
from windlass.engine.journal import Journal
from windlass.engine.operation import Acting
from windlass.lab.controllers.containers import Latencies
from windlass.lab.proxmox.tasks import LATENCY_S
from windlass.lab.talos.latency import LATENCY
from windlass.models.plan import Forecast, Plan, Step
from windlass.plans.bootstrap import BootstrapRequest, plan_bootstrap

NETWORKS = ("127.62.0.0/16", "127.63.0.0/16")
DEMO_SPEED = 20.0
# So fast that what is left is Windlass, the lab's own work and the machine.
NO_LATENCY = 2000.0
# Where what a bootstrap waits for is long enough to be told from what it does.
UNHURRIED_SPEED = 4.0
STEPS = 100


def main() -> int:
    """Print one line a figure: what it is, its seconds, and its ratio to what it is held against."""
    print(f"{'figure':<58}{'seconds':>9}  ratio")
    for rows in (command_line, plans, journal, labs):
        for name, seconds, against, held in rows():
            ratio = f"{seconds / against:6.2f} x {held}" if against else ""
            print(f"{name:<58}{seconds:>9.3f}  {ratio}", flush=True)
    return 0


Row = tuple[str, float, float, str]


def command_line() -> Iterator[Row]:
    """Starting the command, against starting Python."""
    with tempfile.TemporaryDirectory() as folder:
        python = timed(lambda: run(sys.executable, "-c", "pass"))
        yield "python -c pass", python, 0, ""
        windlass = (sys.executable, "-m", "windlass.cli")
        yield "windlass --help", timed(lambda: run(*windlass, "--help")), python, "python"
        check = timed(lambda: run(*windlass, "check", str(ROOT / "site.example.yaml"), home=folder))
        yield "windlass check site.example.yaml", check, python, "python"


def plans() -> Iterator[Row]:
    """A plan for 10, 100 and 1,000 nodes."""
    first = 0.0
    for workers in (7, 97, 997):
        nodes = site_of(3, min(workers, 150))
        site = nodes.model_copy(
            update={
                "nodes": (
                    *nodes.control_planes,
                    *(
                        nodes.workers[0].model_copy(update={"name": f"w-{i}", "vmid": 2000 + i})
                        for i in range(workers)
                    ),
                )
            }
        )
        observed = observed_of(site)
        seconds = timed(
            lambda s=site, o=observed: plan_bootstrap(s, o, BootstrapRequest(), in_no_time), 3
        )
        first = first or seconds
        yield f"a plan for {workers + 3:,} nodes", seconds, first, "10 nodes"


def journal() -> Iterator[Row]:
    """A step with an effect through the engine, against its bare call."""
    plan = plan_of(*[f"t{i}" for i in range(STEPS)], chain=True)
    with tempfile.TemporaryDirectory() as folder:
        bare = (
            timed(lambda: [Thing(Path(folder), f"bare{i}").effect() for i in range(STEPS)], 1)
            / STEPS
        )
        yield "a bare call", bare, 0, ""
        book = Journal.open(Path(folder))
        acting = Acting(
            book, ThreadsExecutor(), lambda s, _e: Thing(Path(folder), s.target), "bench"
        )
        operation = book.create(plan, origin="bench")
        journaled = timed(lambda: acting.act(operation), 1) / STEPS
        yield "the same call as a journaled step", journaled, bare, "the bare call"
        idle = timed(lambda: ThreadsExecutor().run(plan, nothing, Event()), 1) / STEPS
        yield "an empty step through the threads executor", idle, bare, "the bare call"
        yield from prefect(idle)


def prefect(idle: float) -> Iterator[Row]:
    """An empty step as a Prefect task run, against one through the threads executor."""
    # It says a line for every task, and its server complains when it is ended; it reads this when it is imported.
    os.environ |= {
        "PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1",
    }  # fmt: skip
    # Importing Prefect takes a second, which the figures above must not pay.
    from prefect import flow  # noqa: PLC0415
    from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415

    from tasks.prefect_tasks import PrefectTasks  # noqa: PLC0415

    plan = plan_of(*[f"t{i}" for i in range(STEPS)], chain=True)

    @flow(name="bench")
    def steps() -> float:
        began = time.perf_counter()
        PrefectTasks("bench").run(plan, nothing, Event())
        return time.perf_counter() - began

    with prefect_test_harness(server_startup_timeout=120), contextlib.redirect_stderr(None):
        seconds = steps() / STEPS
    yield "an empty step as a Prefect task run", seconds, idle, "the threads executor"


def labs() -> Iterator[Row]:
    """A lab's start; six VMs by Windlass and by Ansible; the whole bootstrap with and without simulated latency."""
    python = timed(lambda: run(sys.executable, "-c", "pass"))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with running_lab(Path(folder), network=NETWORKS[0], speed=DEMO_SPEED) as lab:
            yield "windlass lab up", time.perf_counter() - began, python, "python"
            yield from six_vms(lab)
    for speed in (DEMO_SPEED, UNHURRIED_SPEED):
        took, simulated = makespan(speed)
        yield f"the simulated latencies of a bootstrap at speed {speed:g}", simulated, 0, ""
        yield f"a bootstrap of 3+3 nodes at speed {speed:g}", took, simulated, "its latencies"
    bare, _ = makespan(NO_LATENCY)
    yield "the same with hardly any simulated latency", bare, took, f"at speed {speed:g}"


def six_vms(lab: RunningLab) -> Iterator[Row]:
    began = time.perf_counter()
    done = lab.bootstrap("--until", "vms")
    windlass = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    yield "6 VMs created and started by Windlass, planning included", windlass, 0, ""
    from tests.conformance import test_ansible as ansible  # noqa: PLC0415 - it may not be there

    if not (ansible.ANSIBLE / ".ready").exists():
        print("6 VMs by Ansible: not measured, Ansible is not there (make ansible)")
        return
    proxmox = lab.contract["proxmox"]
    began = time.perf_counter()
    for i in range(6):
        kvm = {"vmid": 9100 + i, "node": proxmox["hosts"][i % 3], "name": f"a{i}", "memory": 2048}
        ansible.module(lab, "proxmox_kvm", **kvm, scsi={"scsi0": f"{proxmox['storages'][0]}:4"})
        ansible.module(lab, "proxmox_kvm", **kvm, state="started")
    yield (
        "6 VMs created and started by Ansible, one after the other",
        time.perf_counter() - began,
        windlass,
        "Windlass",
    )


def makespan(speed: float) -> tuple[float, float]:
    """Seconds from the first step's start to the last one's end, and those of its simulated latencies."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_lab(Path(folder), network=NETWORKS[1], speed=speed) as lab,
    ):
        done = lab.bootstrap()
        if done.returncode != 0:
            raise RuntimeError(done.stdout[-2000:] + done.stderr)
        book = Journal.open(lab.home)
        operation = book.operations()[0]
        states = book.step_states(operation.id).values()
        took = max(s.ended for s in states if s.ended) - min(s.started for s in states if s.started)
        second = timedelta(seconds=1)
        return took / second, simulated_path(operation.plan, speed) / second


def simulated_path(plan: Plan, speed: float) -> timedelta:
    """The longest chain of the plan, were every step to take what the lab pretends for it and nothing else.

    A lower bound: the waves of an Application and the joining of etcd's other members are not in it.
    """
    talos, pod = LATENCY, Latencies()
    rollout = pod.pull + pod.start + pod.ready
    install = 2 * talos.config_acquired + talos.image_pull + talos.install
    lab_seconds = {
        "proxmox.download-image": LATENCY_S["download"],
        "proxmox.create-vm": LATENCY_S["qmcreate"],
        "proxmox.start-vm": LATENCY_S["qmstart"],
        "talos.maintenance": talos.firmware + talos.boot,
        "talos.installed": install + talos.kexec + talos.boot + talos.apid,
        "talos.etcd-member": talos.etcd_start + talos.etcd_health,
        "kubernetes.api": talos.apiserver,
        "kubernetes.node-ready": rollout,
        "kubernetes.workload": rollout,
        "argocd.app": rollout,
        "acceptance.proof": rollout,
        "acceptance.cleanup": pod.stop,
    }
    steps = [
        replace(
            step,
            forecast=Forecast(
                timedelta(seconds=lab_seconds.get(step.action, 0) / speed), "default"
            ),
        )
        for step in plan
    ]
    return replace(plan, steps=tuple(steps)).critical_path


def nothing(_step: Step) -> None:
    return


def timed(work: Callable[[], object], times: int = 5) -> float:
    """Median seconds."""
    taken: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def run(*command: str, home: str = "") -> None:
    env = {"WINDLASS_HOME": home, "PATH": "/usr/bin:/bin"} if home else None
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
