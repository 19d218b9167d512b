"""The observer's judgement of histories written down by hand: what breaks an invariant and what only looks like it."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from windlass.lab.observer import __main__ as command
from windlass.lab.observer import observe
from windlass.lab.observer.evidence import GENESIS, Acknowledged, Event, Evidence, Head, Record
from windlass.lab.observer.reading import read_journal

OPERATION, HOLDER = "0100", {"run": "r", "pid": 7, "host": "here", "lease": 5.0}


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


class Told:
    """A history: each line of the oplog or record is one second after the one before."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.events: list[Event] = []
        self.records: list[Record] = []

    def event(
        self, verb: str, target: str, *, before: Any = None, after: Any = None, epoch: int | None = None
    ) -> None:  # fmt: skip
        self.now += 1
        who = OPERATION if epoch is not None else "lab"
        self.events.append(
            Event(len(self.events) + 1, self.now, who, epoch, verb, target, before, after)
        )

    def record(self, kind: str, operation: str = OPERATION, **body: Any) -> None:
        self.now += 1
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        last = self.records[-1].hash if self.records else GENESIS
        record = Record(
            len(self.records) + 1, stamp(self.now), kind, "buoy", operation, text, last, ""
        )
        self.records.append(replace(record, hash=record.true_hash))

    def planned(self, *steps: tuple[str, str], operation: str = OPERATION, **request: Any) -> None:
        """An operation that is run, with steps of (action, target)."""
        listed = [
            {
                "key": f"{action}/{target}", "action": action, "target": target, "risk": "disruptive",
                "inputs": dict[str, Any](),
            }
            for action, target in steps
        ]  # fmt: skip
        plan = {"verb": "maintain", "request": request, "steps": listed}
        self.record("operation", operation, plan=plan, parent=None)

    def held(self, epoch: int = 1, operation: str = OPERATION) -> None:
        self.record("lock", operation, epoch=epoch, holder=json.dumps(HOLDER))
        self.record("state", operation, state="running", reason="")

    def called(self, key: str, epoch: int = 1, operation: str = OPERATION) -> None:
        about = {"step": key, "target": key.partition("/")[2], "epoch": epoch}
        self.record("intent", operation, deadline_s=4.0, **about)
        self.record("effect", operation, **about)

    def done(self, key: str, epoch: int = 1) -> None:
        self.record("done", step=key, target=key.partition("/")[2], epoch=epoch, evidence={})

    def ended(self, state: str = "done", reason: str = "SUCCESS", epoch: int = 1) -> None:
        self.record("state", state=state, reason=reason)
        self.record("unlock", "", epoch=epoch)

    def etcd(self, *names: str) -> None:
        """These are voters and healthy."""
        for number, name in enumerate(names):
            if number:
                self.event("etcd_join", name, after=f"m{name}")
                self.event("etcd_promote", name, after=f"m{name}")
            else:
                self.event("bootstrap", name, after={"cluster": "c", "etcd": "e", "member": name})
            self.event("etcd_healthy", name)

    def rebooted(self, name: str, *, epoch: int = 1) -> None:
        self.called(f"talos.reboot/{name}")
        self.event("reboot_asked", name, epoch=epoch)
        self.event("reboot", name, epoch=epoch)
        self.event("boot", name)

    def back(self, name: str) -> None:
        self.event("etcd_healthy", name)
        self.done(f"talos.reboot/{name}")

    def evidence(self, **more: Any) -> Evidence:
        last = self.records[-1] if self.records else None
        known: dict[str, Any] = {
            "events": tuple(self.events),
            "records": tuple(self.records),
            "head": Head(last.seq, last.hash) if last else None,
            "now": self.now,
        }
        return Evidence(**known | more)

    def violated(self, **more: Any) -> set[str]:
        return {violation.invariant for violation in observe(self.evidence(**more))}


@pytest.fixture
def told() -> Told:
    return Told()


def reboots(told: Told, *names: str) -> None:
    told.planned(*(("talos.reboot", name) for name in names))
    told.held()


def test_one_control_plane_after_the_other_violates_nothing(told: Told):
    told.etcd("a", "b", "c")
    reboots(told, "a", "b")
    for name in ("a", "b"):
        told.rebooted(name)
        told.back(name)
    told.ended()

    assert told.violated() == set()


def test_a_second_one_before_the_first_is_back_loses_the_quorum(told: Told):
    told.etcd("a", "b", "c")
    reboots(told, "a", "b")
    told.rebooted("a")
    told.rebooted("b")

    assert told.violated() == {"I1", "I2"}


def test_of_five_control_planes_two_may_be_down_but_not_by_one_hand(told: Told):
    told.etcd("a", "b", "c", "d", "e")
    reboots(told, "a", "b")
    told.rebooted("a")
    told.rebooted("b")

    assert told.violated() == {"I2"}


def test_what_strangers_switched_off_counts_as_down(told: Told):
    told.etcd("a", "b", "c")
    told.event("vm_create", "vm/7", after={"name": "b"})
    told.event("vm_stop", "vm/7")
    reboots(told, "a")
    told.rebooted("a")

    assert told.violated() == {"I1"}


def test_what_strangers_do_to_control_planes_is_not_ours(told: Told):
    told.etcd("a", "b", "c")
    told.event("reboot", "a")
    told.event("reboot", "b")

    assert told.violated() == set()


def test_a_learner_is_no_voter(told: Told):
    told.etcd("a", "b", "c")
    told.event("etcd_join", "d", after="md")
    told.event("etcd_healthy", "d")
    reboots(told, "d")
    told.rebooted("d")

    assert told.violated() == set()


def test_a_machine_that_was_asked_again_is_not_back(told: Told):
    told.etcd("a", "b", "c", "d", "e")
    reboots(told, "a", "b")
    told.rebooted("a")
    told.called("talos.reboot/a")
    told.event("reboot_asked", "a", epoch=1)
    told.event("etcd_healthy", "a")
    told.rebooted("b")

    assert told.violated() == {"I2", "I3"}


def test_a_member_that_left_for_good_is_not_down(told: Told):
    told.etcd("a", "b", "c", "d", "e")
    told.planned(("talos.reset", "a"), ("talos.reboot", "b"))
    told.held()
    told.called("talos.reset/a")
    told.event("reset_asked", "a", epoch=1)
    told.event("etcd_leave", "a", epoch=1, before="ma")
    told.event("reset", "a", epoch=1)
    told.rebooted("b")

    assert told.violated() == set()


def test_removing_a_member_befalls_the_one_that_is_removed(told: Told):
    told.etcd("a", "b", "c")
    told.event("vm_create", "vm/7", after={"name": "c"})
    told.event("vm_stopped", "vm/7")
    told.planned(("etcd.remove", "c"))
    told.held()
    told.called("etcd.remove/c")
    told.event("etcd_remove", "b", before="mc", epoch=1)

    assert told.violated() == set()


@pytest.mark.parametrize(
    ("request_", "violated"),
    [(dict[str, Any](), {"I1"}), ({"single_control_plane": True}, set[str]())],
)
def test_the_only_control_plane_goes_down_only_when_that_was_said(
    told: Told, request_: dict[str, Any], violated: set[str]
):
    told.etcd("a")
    told.planned(("talos.reboot", "a"), **request_)
    told.held()
    told.rebooted("a")

    assert told.violated() == violated


def test_a_second_bootstrap_of_one_cluster_is_one_too_many(told: Told):
    told.etcd("a")
    told.event("bootstrap", "b", after={"cluster": "c", "etcd": "f", "member": "b"})

    assert told.violated() == {"I5"}


def test_two_clusters_may_be_bootstrapped(told: Told):
    told.etcd("a")
    told.event("bootstrap", "b", after={"cluster": "d", "etcd": "f", "member": "b"})

    assert told.violated() == set()


def test_a_call_that_a_resume_repeats_is_caught_when_both_took_effect(told: Told):
    told.planned(("proxmox.create-vm", "a"))
    told.held(1)
    told.called("proxmox.create-vm/a", 1)
    told.event("vm_create", "vm/7", after={"name": "a"}, epoch=1)
    told.held(2)
    told.called("proxmox.create-vm/a", 2)
    told.event("vm_create", "vm/8", after={"name": "a"}, epoch=2)

    assert told.violated() == {"I4"}


def vm(name: str, tags: str) -> dict[str, Any]:
    return {"name": name, "running": True, "config": {"tags": tags}}


def world(**vms: dict[str, Any]) -> dict[str, Any]:
    named = {number.removeprefix("_"): vm_ for number, vm_ in vms.items()}
    machines = list[Any]()
    return {"proxmox": {"vms": named, "volumes": []}, "talos": {"machines": machines, "etcd": []}}


def test_a_tagged_machine_that_is_in_no_plan_is_reported(told: Told):
    assert told.violated(truth=world(_7=vm("a", "windlass-buoy;worker"))) == {"I4"}


def test_machines_of_others_are_nobody_s_business(told: Told):
    assert told.violated(truth=world(_7=vm("a", "theirs"), _8=vm("a", ""))) == set()


def test_an_operation_without_a_process_must_have_ended(told: Told):
    reboots(told, "a")
    told.now += 100

    assert told.violated(patience=60) == {"I8"}


def test_an_operation_whose_process_lives_may_take_its_time(told: Told):
    reboots(told, "a")
    told.now += 100

    assert told.violated(patience=60, living=frozenset({"here:7"})) == set()


def test_an_end_has_a_known_reason(told: Told):
    reboots(told, "a")
    told.ended("parked", "TIRED")

    assert told.violated() == {"I8"}


def test_an_epoch_belongs_to_the_operation_that_it_was_given_to(told: Told):
    told.planned(("talos.reboot", "a"))
    told.planned(("talos.reboot", "a"), operation="0200")
    told.held(1, "0200")
    told.called("talos.reboot/a")
    told.event("reboot_asked", "a", epoch=1)

    assert told.violated() == {"I10"}


def test_an_effect_after_a_takeover_is_from_a_writer_that_is_none(told: Told):
    reboots(told, "a", "b")
    told.called("talos.reboot/a", 1)
    told.held(2)
    told.now += 10
    told.event("reboot_asked", "a", epoch=1)

    assert told.violated() == {"I10"}


def test_a_call_on_its_way_may_arrive_until_its_deadline(told: Told):
    reboots(told, "a", "b")
    told.called("talos.reboot/a", 1)
    told.held(2)
    told.event("reboot_asked", "a", epoch=1)

    assert told.violated() == set()


def test_what_trails_behind_its_call_is_no_new_effect(told: Told):
    told.planned(("talos.apply-config", "a"))
    told.held(1)
    told.called("talos.apply-config/a", 1)
    told.event("apply_config", "a", epoch=1)
    told.held(2)
    told.now += 10
    told.event("install", "a", epoch=1)

    assert told.violated() == set()


def test_an_epoch_is_given_out_once(told: Told):
    reboots(told, "a")
    told.held(1)

    assert told.violated() == {"I10"}


@pytest.mark.parametrize(
    ("action", "verb", "target"),
    [
        ("talos.reboot", "reset_asked", "a"),
        ("talos.reboot", "reboot_asked", "b"),
        ("proxmox.start-vm", "vm_destroy", "vm/7"),
        ("kubernetes.apply", "kubernetes.patch", "Deployment/apps/b"),
        ("kubernetes.apply", "apply_config", "a"),
    ],
)
def test_an_effect_that_no_step_accounts_for_is_out_of_scope(
    told: Told, action: str, verb: str, target: str
):
    told.event("vm_create", "vm/7", after={"name": "a"})
    told.planned((action, "a"))
    told.held()
    told.called(f"{action}/a")
    told.event(verb, target, epoch=1)

    assert {"I12", "I23"} <= told.violated()


@pytest.mark.parametrize(
    ("action", "target", "verb", "on"),
    [
        ("proxmox.start-vm", "a", "vm_start", "vm/7"),
        ("proxmox.download-image", "pve1", "download", "pve1/local:iso/talos.iso"),
        ("kubernetes.apply", "deployment.apps.web", "kubernetes.patch", "Deployment/apps/web"),
        ("kubernetes.apply", "namespace.apps", "kubernetes.create", "Namespace/apps"),
        ("acceptance.cleanup", "proof", "kubernetes.delete", "Namespace/proof"),
        ("talos.apply-config", "a", "install", "a"),
    ],
)
def test_an_effect_is_found_in_the_plan_by_what_it_is_called_there(
    told: Told, action: str, target: str, verb: str, on: str
):  # fmt: skip
    told.event("vm_create", "vm/7", after={"name": "a"})
    told.planned((action, target))
    told.held()
    told.called(f"{action}/{target}")
    told.event(verb, on, epoch=1)

    assert told.violated() == set()


def frozen_after(told: Told, seconds: float) -> None:
    reboots(told, "a")
    told.record("freeze", "", reason="look", by="me")
    told.now += seconds
    told.called("talos.reboot/a")
    told.event("reboot_asked", "a", epoch=1)


def test_what_begins_after_a_freeze_is_reported(told: Told):
    frozen_after(told, 6)

    assert told.violated() == {"I14"}


def test_what_begins_within_the_grace_is_not(told: Told):
    frozen_after(told, 0)

    assert told.violated() == set()


def test_what_begins_after_a_thaw_is_not(told: Told):
    reboots(told, "a")
    told.record("freeze", "", reason="look", by="me")
    told.now += 10
    told.record("thaw", "", reason="seen", by="me")
    told.rebooted("a")

    assert told.violated() == set()


def test_a_task_that_began_before_a_freeze_may_end_after_it(told: Told):
    told.planned(("proxmox.create-vm", "a"))
    told.held()
    told.called("proxmox.create-vm/a")
    told.record("freeze", "", reason="look", by="me")
    told.now += 10
    told.event("vm_create", "vm/7", after={"name": "a"}, epoch=1)

    assert told.violated() == set()


def test_an_effect_before_its_record_was_not_announced(told: Told):
    reboots(told, "a")
    told.event("reboot_asked", "a", epoch=1)
    told.called("talos.reboot/a")

    assert told.violated() == {"I23"}


def altered(records: list[Record]) -> list[Record]:
    return [records[0], replace(records[1], text="{}"), *records[2:]]


def cut_out(records: list[Record]) -> list[Record]:
    return [records[0], *records[2:]]


def rehashed(records: list[Record]) -> list[Record]:
    """Whoever alters a record can compute its hash, but not those behind it."""
    record = replace(records[0], stamp=stamp(1))
    return [replace(record, hash=record.true_hash), *records[1:]]


@pytest.mark.parametrize("tamper", [altered, rehashed, cut_out])
def test_a_chain_that_was_tampered_with_is_reported(
    told: Told, tamper: Callable[[list[Record]], list[Record]]
):
    told.record("freeze", "", reason="look", by="me")
    told.record("thaw", "", reason="seen", by="me")
    told.record("freeze", "", reason="look", by="me")
    records = tamper(told.records)

    assert "I23" in told.violated(records=tuple(records))


def test_a_journal_that_lost_its_end_is_reported(told: Told):
    reboots(told, "a")

    assert told.violated(records=tuple(told.records[:-1])) == {"I24"}


def test_a_journal_that_was_set_back_as_a_whole_is_given_away_by_what_others_were_told(told: Told):
    reboots(told, "a")
    last, kept = told.records[-1], told.records[-2]

    assert told.violated(
        records=tuple(told.records[:-1]),
        head=Head(kept.seq, kept.hash),
        acknowledged=(Acknowledged(last.seq, last.hash),),
    ) == {"I24"}


def test_an_epoch_that_acted_and_is_not_in_the_journal_gives_it_away(told: Told):
    told.event("reboot_asked", "a", epoch=3)

    assert "I24" in told.violated()


def test_a_success_with_a_step_left_is_a_lie(told: Told):
    reboots(told, "a")
    told.ended()

    assert told.violated() == {"I32"}


def test_a_reboot_that_is_not_over_is_not_done(told: Told):
    reboots(told, "a")
    told.called("talos.reboot/a")
    told.event("reboot_asked", "a", epoch=1)
    told.done("talos.reboot/a")
    told.event("reboot", "a", epoch=1)
    told.event("boot", "a")

    assert told.violated() == {"I32"}


def test_an_object_that_was_never_written_is_not_applied(told: Told):
    told.planned(("kubernetes.apply", "deployment.apps.web"))
    told.held()
    told.called("kubernetes.apply/deployment.apps.web")
    told.done("kubernetes.apply/deployment.apps.web")

    assert told.violated() == {"I32"}


def test_what_cannot_be_judged_is_said(told: Told):
    told.planned(("talos.secrets", "buoy"))
    told.held()
    told.done("talos.secrets/buoy")
    evidence = told.evidence()

    assert observe(evidence) == []
    assert "I32: no ground truth for done steps of talos.secrets 1x" in evidence.notes


def test_a_world_that_the_oplog_does_not_explain_is_said(told: Told):
    told.etcd("a")
    members = [{"name": name, "voter": True, "healthy": True} for name in ("a", "b")]
    truth = world() | {"talos": {"machines": [], "etcd": [{"group": "c", "members": members}]}}
    evidence = told.evidence(truth=truth)

    observe(evidence)

    assert evidence.notes == ["I1, I2: etcd's voters are ['a', 'b'], by the oplog they are ['a']"]


def stored(told: Told, home: Path) -> None:
    """The history as a journal keeps it."""
    with closing(sqlite3.connect(home / "journal.db")) as db, db:
        db.execute("create table records (seq, time, kind, site, operation, body, previous, hash)")
        db.execute("create table head (id, seq, hash)")
        for r in told.records:
            row = (r.seq, r.stamp, r.kind, r.site, r.operation, r.text, r.previous, r.hash)
            db.execute("insert into records values (?,?,?,?,?,?,?,?)", row)
        db.execute(
            "insert into head values (1, ?, ?)", (told.records[-1].seq, told.records[-1].hash)
        )


def test_a_journal_is_read_as_it_is_stored(told: Told, tmp_path: Path):
    reboots(told, "a")
    stored(told, tmp_path)

    records, head = read_journal(tmp_path)

    assert records == tuple(told.records)
    assert head == Head(told.records[-1].seq, told.records[-1].hash)


def test_the_command_ends_with_one_when_something_is_violated(
    told: Told, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    reboots(told, "a")
    told.ended("failed", "FAILED")
    stored(told, tmp_path)
    line = {
        "seq": 1,
        "time": stamp(told.now),
        "run": OPERATION,
        "epoch": 1,
        "verb": "reboot_asked",
        "target": "b",
    }
    (tmp_path / "oplog.jsonl").write_text(
        json.dumps({**line, "before": None, "after": None}) + "\n"
    )

    code = command.main(["--lab", str(tmp_path), "--home", str(tmp_path), "--json"])

    said = json.loads(capsys.readouterr().out)
    assert code == 1
    assert [one["invariant"] for one in said["violations"]] == ["I12", "I23"]
    assert said["unjudged"] == ["I4: the VMs there are now were not looked at"]
