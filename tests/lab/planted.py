"""A small site with three control planes, runs of operations on it, and what the planted bugs are made of."""

import json
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import yaml

from tasks.connections import Connections
from tasks.proxmox import vm_settings
from tasks.registry import Context, SiteAction
from tasks.running import agent_of
from tasks.talos import voting_member
from tests.labs import RunningLab, running_lab
from tests.sweeping import three_planes
from windlass.engine.action import Resume
from windlass.engine.executor import ThreadsExecutor
from windlass.engine.journal import Journal
from windlass.engine.operation import Acting
from windlass.engine.records import Operation
from windlass.errors import (
    AmbiguousError,
    NotReadyError,
    PreflightError,
    TransientError,
    UnreachableError,
    WindlassError,
)
from windlass.lab.observer import observe
from windlass.lab.observer.reading import read
from windlass.models.load import load_site
from windlass.models.plan import Json, JsonObject, Plan, Risk, Step
from windlass.models.proxmox import Upid
from windlass.waiting import Pace, wait_for

SITE = "buoy"
# A VM that is in no site file, and the number it must not have.
EXTRA, OTHER = 801, 802
PACE = Pace(first=timedelta(seconds=0.1), longest=timedelta(seconds=0.2))
SOON = timedelta(seconds=60)


@contextmanager
def lab_until(phase: str, folder: Path, network: str, speed: float) -> Generator[RunningLab]:
    """A lab with three control planes, bootstrapped as far as `phase`."""
    folder.mkdir(exist_ok=True)
    site = folder / "three.yaml"
    site.write_text(yaml.safe_dump(three_planes(), sort_keys=False))
    with running_lab(folder, network=network, speed=speed, more=("--site", str(site))) as lab:
        done = lab.bootstrap("--until", phase)
        assert done.returncode == 0, done.stdout + done.stderr
        yield lab


@dataclass
class Trial:
    """One run on the site, in a copy of its journal. What other trials did counts as done by strangers."""

    lab: RunningLab
    home: Path
    begun: list[str] = field(default_factory=list[str])
    error: WindlassError | None = None
    told: Path | None = None
    grace: float = 0.0
    patience: float = 0.0

    @classmethod
    def of(cls, lab: RunningLab, folder: Path) -> "Trial":
        shutil.copytree(lab.home, folder / "home")
        before = Journal.open(folder / "home").operations()
        return cls(lab, folder / "home", [operation.id for operation in before])

    def __post_init__(self) -> None:
        self.loaded = load_site(self.lab.site_file)
        self.by_hand = Connections(self.loaded, "somebody")

    def journal(self, kind: type[Journal] = Journal) -> Journal:
        return kind.open(self.home)

    def run(
        self,
        plan: Plan,
        make: Callable[[Context], SiteAction],
        journal: Journal | None = None,
        acting: type[Acting] = Acting,
    ) -> Operation:
        """Act on the plan as an operation; how it ended, if not well, is kept in `error`."""
        journal = journal or self.journal()
        operation = journal.create(plan, origin="test")
        self.begun.append(operation.id)

        def made(step: Step, epoch: int) -> SiteAction:
            return make(
                Context(
                    self.loaded,
                    step,
                    Connections(self.loaded, agent_of(operation.id, epoch)),
                    no_evidence,
                )
            )

        try:
            acting(
                journal, ThreadsExecutor(), made, "trial", is_lab=True, lease=timedelta(seconds=10)
            ).act(operation)
        except WindlassError as error:
            self.error = error
        return operation

    def violated(self) -> set[str]:
        """The invariants that the observer finds violated."""
        evidence = read(
            self.lab.folder, self.home, self.told, grace=self.grace, patience=self.patience
        )
        events = tuple(
            event if event.run in self.begun else replace(event, epoch=None, run="another trial")
            for event in evidence.events
        )
        return {violation.invariant for violation in observe(replace(evidence, events=events))}

    # By hand

    def power_off(self, name: str) -> None:
        node = self.loaded.site.node(name)
        with self.by_hand.proxmox() as proxmox:
            self._ended(proxmox.stop_vm(node.host, node.vmid))

    def calm(self) -> None:
        """Every machine runs, etcd is healthy everywhere, and no VM is there that the site does not have."""
        self.lab.heal()
        with self.by_hand.proxmox() as proxmox:
            for vmid, vm in self.lab.state()["proxmox"]["vms"].items():
                if int(vmid) in (EXTRA, OTHER):
                    self._ended(proxmox.destroy_vm(vm["node"], int(vmid)))
                elif not vm["running"]:
                    self._ended(proxmox.start_vm(vm["node"], int(vmid)))
        wait_for("calm", self._check_calm, timeout=SOON, pace=PACE, stop=Event())

    def _ended(self, upid: Upid) -> None:
        with self.by_hand.proxmox() as proxmox:
            wait_for(
                str(upid), lambda: proxmox.check_task(upid), timeout=SOON, pace=PACE, stop=Event()
            )

    def _check_calm(self) -> None:
        members = [m for one in self.lab.state()["talos"]["etcd"] for m in one["members"]]
        unwell = [m["name"] for m in members if not (m["voter"] and m["healthy"])]
        if unwell or len(members) != len(self.loaded.site.control_planes):
            raise NotReadyError(f"etcd is not well on {unwell} of {len(members)}")


def no_evidence(_key: str) -> JsonObject:
    return dict[str, Json]()


# Plans and actions


def reboot_plan(*names: str, one_by_one: bool = True) -> Plan:
    """Reboot these machines; without `one_by_one` nothing waits for anything."""
    now = datetime.now(UTC).isoformat()
    steps = tuple(
        Step(
            key=f"talos.reboot/{name}", action="talos.reboot", target=name, phase="reboot", risk=Risk.DISRUPTIVE,
            inputs={"after": now},
            waits_for=(f"talos.reboot/{names[i - 1]}",) if one_by_one and i else (),
        )
        for i, name in enumerate(names)
    )  # fmt: skip
    return Plan(SITE, "maintain", {}, steps)


class Reboot(SiteAction):
    """The machine has rebooted since the plan was made, and its etcd is healthy. Only where the others are."""

    resume = Resume.NEVER
    patience = "boot"

    def goal(self) -> JsonObject:
        with self.connect.talos(self.node) as talos:
            booted = talos.boot_time()
            if booted <= datetime.fromisoformat(self.text("after")):
                raise NotReadyError(f"{self.node.name} runs since {booted}")
            return voting_member(talos, self.node)

    def preconditions(self) -> None:
        for node in self.site.control_planes:
            if node.name != self.step.target:
                try:
                    with self.connect.talos(node) as talos:
                        voting_member(talos, node)
                except TransientError as down:
                    raise PreflightError(f"{node.name} is not well: {down}") from down

    def effect(self) -> JsonObject | None:
        with self.connect.talos(self.node) as talos:
            return {"actor": talos.reboot()}


class CarelessReboot(Reboot):
    """Does not ask how the others are."""

    def preconditions(self) -> None:
        return


def wait_until_down(action: SiteAction, name: str) -> None:
    """The operation's reboot of this machine has begun, and its etcd is away."""

    def check() -> None:
        for line in (action.loaded.path.parent / "oplog.jsonl").read_text().splitlines():
            event = json.loads(line)
            if (event["verb"], event["target"]) == ("reboot", name) and event[
                "run"
            ] in action.agent:
                return
        raise NotReadyError(f"{name} is not down")

    wait_for(f"{name} to go down", check, timeout=SOON, pace=PACE, stop=Event())


class SecondReboot(CarelessReboot):
    """Takes cp-2 down when cp-1 has just gone."""

    def effect(self) -> JsonObject | None:
        if self.step.target == "cp-2":
            wait_until_down(self, "cp-1")
        return super().effect()


class InsistingReboot(Reboot):
    """Calls until it has an answer."""

    def effect(self) -> JsonObject | None:
        return wait_for("an answer", self._call, timeout=SOON, pace=PACE, stop=Event())

    def _call(self) -> JsonObject | None:
        try:
            return super().effect()
        except (AmbiguousError, UnreachableError) as silent:
            raise NotReadyError(str(silent)) from silent


class StrayingReboot(Reboot):
    """Takes one machine along that nobody planned."""

    def effect(self) -> JsonObject | None:
        handle = super().effect()
        wait_until_down(self, "cp-1")
        with self.connect.talos(self.site.node("cp-3")) as talos:
            talos.reboot()
        return handle


class TrustingReboot(Reboot):
    """Takes the answer for the deed."""

    has_answer = False

    def goal(self) -> JsonObject:
        return {"answered": True} if self.has_answer else super().goal()

    def effect(self) -> JsonObject | None:
        handle = super().effect()
        self.has_answer = True
        return handle


def create_plan() -> Plan:
    step = Step(
        key="proxmox.create-vm/cp-4", action="proxmox.create-vm", target="cp-4", phase="vms", risk=Risk.SAFE,
        inputs={"host": "pve1", "vmid": EXTRA},
    )  # fmt: skip
    return Plan(SITE, "scale", {}, (step,))


class CreateVm(SiteAction):
    """One more VM of the site, which nobody starts."""

    numbers: tuple[int, ...] = (EXTRA,)

    def goal(self) -> JsonObject:
        with self.connect.proxmox() as proxmox:
            if proxmox.find_vm(self.numbers[-1]) is None:
                raise NotReadyError(f"there is no VM {self.numbers[-1]}")
            config = proxmox.vm_config("pve1", self.numbers[-1])
        if config.lock:
            raise NotReadyError(f"VM {self.numbers[-1]} is locked ({config.lock})")
        return {"vmid": EXTRA}

    def effect(self) -> JsonObject | None:
        image = next(
            v.rsplit("/", 1)[1] for v in self._volumes() if v.endswith("-nocloud-amd64.iso")
        )
        node = self.site.node("cp-1").model_copy(update={"name": "cp-4"})
        with self.connect.proxmox() as proxmox:
            tasks = [
                str(proxmox.create_vm("pve1", number, vm_settings(self.site, node, image)))
                for number in self.numbers
            ]
        return {"upid": tasks[0]}

    def _volumes(self) -> Iterator[str]:
        with self.connect.proxmox() as proxmox:
            yield from (one.volid for one in proxmox.content("pve1", "local", "iso"))


class CreateVmAgain(CreateVm):
    """Takes the next number when it has no answer."""

    numbers = (EXTRA, OTHER)


def bootstrap_plan() -> Plan:
    step = Step(
        key="talos.bootstrap-etcd/cp-1", action="talos.bootstrap-etcd", target="cp-1", phase="etcd",
        risk=Risk.DISRUPTIVE,
    )  # fmt: skip
    return Plan(SITE, "bootstrap", {}, (step,))


class BootstrapOnce(SiteAction):
    """etcd begins on the step's node."""

    patience = "etcd"

    def goal(self) -> JsonObject:
        with self.connect.talos(self.node) as talos:
            return voting_member(talos, self.node)

    def effect(self) -> JsonObject | None:
        with self.connect.talos(self.node) as talos:
            talos.bootstrap()
        return None


class BootstrapTwice(BootstrapOnce):
    """And on another one, to be on the safe side."""

    def effect(self) -> JsonObject | None:
        with (
            self.connect.talos(self.node) as talos,
            self.connect.talos(self.site.node("cp-2")) as other,
        ):
            other.version()
            talos.bootstrap()
            other.bootstrap()
        return None
