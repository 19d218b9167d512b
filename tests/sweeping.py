"""What a crash sweep does in one lab: kill at one point after the other, resume each time, and judge what is left.

A chain is one lab and one operation. All points of the chain are armed; the run is killed at the one that it comes
to first; the resume is armed with the rest; and so on until none is left and the operation ends. So every point is hit
once, with a resume of its own, while the steps that ran beside it die wherever they were.
"""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.labs import ROOT, RunningLab
from windlass.engine.failpoints import PHASES, VARIABLE
from windlass.engine.journal import Journal
from windlass.engine.lock import SiteLock
from windlass.engine.records import OperationState

# Effects that would do harm a second time, or that a resume has no reason to repeat.
ONCE = (
    "vm_create", "vm_start", "download", "apply_config", "install", "bootstrap", "kubernetes.patch",
    "kubernetes.create", "kubernetes.delete",
)  # fmt: skip
ALONE = {"proxmox": 1, "talos": 1, "kubernetes": 1, "per_host": 1, "per_storage": 1}
# A step that died three times is not tried again by itself: the run parks, and a person resumes it.
PARKED = 4


@dataclass(frozen=True, order=True)
class Point:
    """A step with an effect and a phase of its protocol."""

    key: str
    phase: str

    def __str__(self) -> str:
        return f"{self.key}:{self.phase}"

    @property
    def armed(self) -> str:
        return f"{self}=kill9"


@dataclass
class Chain:
    """What came of the points of one lab."""

    name: str
    asked: tuple[Point, ...]
    hit: list[Point] = field(default_factory=list[Point])
    broken: int = 0
    violations: list[str] = field(default_factory=list[str])
    seconds: float = 0

    @property
    def unhit(self) -> list[Point]:
        return sorted(set(self.asked) - set(self.hit))


def points_of(plan: dict[str, Any]) -> tuple[Point, ...]:
    """Five points for each step with an effect, none for gates, in the plan's order."""
    keys = [step["key"] for step in plan["steps"] if step["risk"] != "read"]
    return tuple(Point(key, phase) for phase in PHASES for key in keys)


def sample_of(points: Iterable[Point]) -> tuple[Point, ...]:
    """One step of each action at one phase, the phases in turn; what must never happen twice at more of them."""
    by_action: dict[str, str] = {}
    for point in points:
        by_action.setdefault(point.key.partition("/")[0], point.key)
    sampled = {
        Point(key, PHASES[number % len(PHASES)])
        for number, (_, key) in enumerate(sorted(by_action.items()))
    }
    sampled |= {
        Point(by_action[action], phase)
        for action, phase in (
            ("proxmox.create-vm", "mid_effect"),
            ("talos.bootstrap-etcd", "mid_effect"),
            ("talos.bootstrap-etcd", "post_effect"),
        )
    }
    return tuple(sorted(sampled))


def plan_of(lab: RunningLab) -> dict[str, Any]:
    """The plan of the lab's bootstrap, from the command."""
    return lab.json("bootstrap", str(lab.site_file))


def swept(name: str, lab: RunningLab, points: tuple[Point, ...]) -> Chain:
    """Kill at every point, resume to the end, judge."""
    chain, began = Chain(name, points), time.monotonic()
    steps = {step["key"] for step in plan_of(lab)["steps"]}
    try:
        _kill_and_resume(lab, chain)
        chain.violations += judged(lab, steps)
    finally:
        chain.seconds = time.monotonic() - began
    return chain


def _kill_and_resume(lab: RunningLab, chain: Chain) -> None:
    """Run until the operation is done or something other than the armed kill stops it."""
    done = False
    while not done:
        left = chain.unhit
        armed = {VARIABLE: ",".join(point.armed for point in left)} if left else {}
        begun = Journal.open(lab.home).operations()
        ended = (
            lab.windlass("resume", begun[0].id, "--local", "--yes", env=armed)
            if begun
            else lab.bootstrap(env=armed)
        )
        if ended.returncode == -signal.SIGKILL:
            said = ended.stderr.rpartition("failpoint ")[2].strip()
            chain.hit.append(next(point for point in left if str(point) == said))
        elif ended.returncode == PARKED and "the process died" in ended.stdout + ended.stderr:
            chain.broken += 1
        else:
            done = True
            if ended.returncode != 0:
                chain.violations.append(
                    f"exit code {ended.returncode} after {chain.hit[-1:]}: {ended.stdout[-1500:]}{ended.stderr[-1500:]}"
                )


def judged(lab: RunningLab, steps: Iterable[str]) -> list[str]:
    """What is wrong with the end of the lab's only operation, by the journal, the oplog and the world itself."""
    return [
        *_wrong_journal(lab, set(steps)),
        *wrong_effects(lab),
        *_wrong_world(lab),
        *_wrong_to_the_observer(lab),
    ]


def _wrong_journal(lab: RunningLab, steps: set[str]) -> Iterator[str]:
    journal = Journal.open(lab.home)
    operations = journal.operations()
    if len(operations) != 1:
        yield f"{len(operations)} operations instead of one"
    operation = operations[0]
    if operation.state is not OperationState.DONE:
        yield f"the operation is {operation.state} ({operation.reason}): {operation.message}"
    states = journal.step_states(operation.id)
    undone = sorted(key for key in steps if key not in states or states[key].state != "done")
    if undone:
        yield f"not done: {', '.join(undone)}"
    if (holder := journal.holder(operation.site)) is not None:
        yield f"the lock is still held: {holder}"
    if SiteLock(journal, operation.site).is_held():
        yield "the lock's file is still locked"
    if left := processes_of(lab.home):
        yield f"still running: {left}"
    verify = lab.windlass("verify")
    if verify.returncode != 0:
        yield f"windlass verify: {verify.stdout}{verify.stderr}"
    yield from _twice_done(lab.home / "journal.db")


def _twice_done(path: Path) -> Iterator[str]:
    """A step is done once in the records themselves."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        rows = db.execute(
            "select json_extract(body, '$.step') as step, count(*) from records where kind = 'done'"
            " group by step having count(*) > 1"
        ).fetchall()
    yield from (f"{step} was done {times} times" for step, times in rows)


def wrong_effects(lab: RunningLab) -> Iterator[str]:
    effects = lab.effects()
    times = Counter((e["verb"], e["target"]) for e in effects if e["verb"] in ONCE)
    yield from (
        f"{verb} {target} {count} times" for (verb, target), count in times.items() if count > 1
    )
    if unknown := {e["verb"] for e in effects} - set(ONCE):
        yield f"effects that nobody counts: {sorted(unknown)}"
    epochs = [e["epoch"] for e in effects]
    if epochs != sorted(epochs):
        yield "an effect of an earlier epoch came after one of a later epoch"
    nodes = yaml.safe_load(lab.site_file.read_text())["nodes"]
    for verb in ("vm_create", "vm_start", "apply_config", "install"):
        count = sum(e["verb"] == verb for e in effects)
        if count != len(nodes):
            yield f"{verb}: {count} for {len(nodes)} nodes"
    if sum(e["verb"] == "bootstrap" for e in effects) != 1:
        yield "etcd was not bootstrapped exactly once"


def _wrong_world(lab: RunningLab) -> Iterator[str]:
    nodes = {n["vmid"]: n["name"] for n in yaml.safe_load(lab.site_file.read_text())["nodes"]}
    vms = lab.state()["proxmox"]["vms"]
    if {int(vmid): vm["name"] for vmid, vm in vms.items()} != nodes:
        yield f"VMs are {sorted(vms)}, the site has {sorted(nodes)}"
    for vmid, vm in vms.items():
        if vm["lock"] or not vm["running"]:
            yield f"VM {vmid} is left {'locked' if vm['lock'] else 'stopped'}"
    again = lab.windlass("bootstrap", str(lab.site_file), "--json")
    if again.returncode != 0 or json.loads(again.stdout)["steps"]:
        yield f"a second bootstrap would not be empty: {again.stdout[:1500]}{again.stderr[:1500]}"


def _wrong_to_the_observer(lab: RunningLab) -> Iterator[str]:
    """What the lab's own judge says."""
    said = subprocess.run(
        [sys.executable, "-m", "windlass.lab.observer", "--lab", str(lab.folder), "--home", str(lab.home)],
        cwd=ROOT, env=lab.env(), text=True, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    if said.returncode != 0:
        yield f"the observer: {said.stdout[-3000:]}{said.stderr[-1500:]}"


def processes_of(home: Path) -> list[str]:
    """Processes that work in this WINDLASS_HOME; the lab's own are started with it too, and stay."""
    wanted = f"WINDLASS_HOME={home}".encode()
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            # It ended meanwhile, or is somebody else's.
            continue
        if wanted in environment and "windlass.lab" not in command:
            found.append(f"{process.name} {command}")
    return found


def small_site(folder: Path) -> Path:
    """A site file with one control plane and one worker, and no GitOps."""
    path = folder / "small.yaml"
    nodes = [_node("cp", "controlplane", 11), _node("w", "worker", 21)]
    path.write_text(yaml.safe_dump(_site(nodes), sort_keys=False))
    return path


def three_planes() -> dict[str, Any]:
    """A site with three control planes, each on a host of its own, and nothing else."""
    return _site([_node(f"cp-{n}", "controlplane", 10 + n, f"pve{n}") for n in (1, 2, 3)])


def one_call_at_a_time(lab: RunningLab) -> None:
    """What runs beside a step that dies, dies too, and the breaker counts it: nothing does from now on."""
    site = yaml.safe_load(lab.site_file.read_text())
    lab.site_file.write_text(yaml.safe_dump(site | {"parallel": ALONE}, sort_keys=False))


def _site(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "buoy",
        "cluster": {
            "name": "buoy",
            "endpoint": "api.buoy.example",
            "network": "10.77.0.0/24",
            "gateway": "10.77.0.1",
            "nameservers": ["10.77.0.1"],
            "talos": "v1.13.9",
            "kubernetes": "v1.34.4",
            "cni": "flannel",
            "secrets": "file:secrets.yaml",
        },
        "proxmox": {"storage": "local-lvm", "image_storage": "local", "bridge": "vmbr0"},
        "nodes": nodes,
    }


def _node(name: str, role: str, octet: int, host: str = "pve1") -> dict[str, Any]:
    return {
        "name": name, "role": role, "host": host, "address": f"10.77.0.{octet}", "vmid": 700 + octet,
        "mac": f"bc:24:11:77:00:{octet:02x}", "cpu": 2, "memory": 2480, "disk": 20,
    }  # fmt: skip
