"""The commands that read and write the journal, each against a real one."""

import json
import sqlite3
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from windlass.cli import main
from windlass.cli.exits import BAD_INPUT, DONE, NEEDS_HUMAN, REFUSED
from windlass.engine.journal import Journal
from windlass.engine.lock import SiteLock
from windlass.engine.records import Operation, OperationState
from windlass.home import windlass_home
from windlass.models.plan import Plan, Risk, Step

PLAN = Plan(
    site="home",
    verb="bootstrap",
    request={},
    steps=(
        Step("vm.create/cp-1", "vm.create", "cp-1", "machines", Risk.DISRUPTIVE),
        Step(
            "vm.start/cp-1",
            "vm.start",
            "cp-1",
            "machines",
            Risk.SAFE,
            waits_for=("vm.create/cp-1",),
        ),
    ),
)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path / "home"))
    return Journal.open(windlass_home())


@pytest.fixture
def operation(journal: Journal) -> Operation:
    return journal.create(PLAN, origin="test")


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_history_lists_the_newest_first(
    journal: Journal, operation: Operation, capsys: pytest.CaptureFixture[str]
):
    newer = journal.create(PLAN, origin="test")

    assert main(["history", "--json"]) == DONE

    listed = told(capsys)
    assert [one["id"] for one in listed] == [newer.id, operation.id]
    assert set(listed[0]) == {"id", "site", "verb", "state", "reason", "plan_hash"}


@pytest.mark.usefixtures("operation")
def test_history_of_another_site_is_empty(capsys: pytest.CaptureFixture[str]):
    assert main(["history", "cellar", "--json"]) == DONE
    assert told(capsys) == []


def test_show_has_every_step_with_its_edges_and_state(
    operation: Operation, capsys: pytest.CaptureFixture[str]
):
    assert main(["show", operation.id[:-1], "--json"]) == DONE

    shown = told(capsys)
    assert shown["plan_hash"] == PLAN.hash
    assert [(step["key"], step["waits_for"], step["state"]) for step in shown["steps"]] == [
        ("vm.create/cp-1", [], "pending"),
        ("vm.start/cp-1", ["vm.create/cp-1"], "pending"),
    ]


def test_show_prints_a_line_for_every_step(
    operation: Operation, capsys: pytest.CaptureFixture[str]
):
    assert main(["show", operation.id]) == DONE

    said = capsys.readouterr().out
    assert f"operation {operation.id}: bootstrap of site home" in said
    assert "machines  vm.start/cp-1   pending" in said


@pytest.mark.parametrize("command", ["show", "cancel", "export"])
@pytest.mark.usefixtures("journal")
def test_an_operation_that_is_not_there_is_bad_input(command: str):
    assert main([command, "nothing"]) == BAD_INPUT


def test_an_approval_names_the_plan(journal: Journal, operation: Operation):
    assert main(["approve", operation.id, "--hash", PLAN.hash]) == DONE
    assert journal.is_approved(operation.id)


def test_an_approval_of_another_plan_is_refused(
    journal: Journal, operation: Operation, capsys: pytest.CaptureFixture[str]
):
    assert main(["approve", operation.id, "--hash", "sha256:00"]) == REFUSED
    assert PLAN.hash in capsys.readouterr().err
    assert not journal.is_approved(operation.id)


def test_an_approval_without_a_hash_is_bad_input(operation: Operation):
    with pytest.raises(SystemExit) as ended:
        main(["approve", operation.id])

    assert ended.value.code == BAD_INPUT


def test_a_running_operation_is_asked_to_stop(
    journal: Journal, operation: Operation, capsys: pytest.CaptureFixture[str]
):
    with SiteLock(journal, operation.site).hold(operation.id, run="r", stop=Event()) as hold:
        journal.begin(operation.id, hold.epoch)

        assert main(["cancel", operation.id]) == DONE

        assert journal.stop_requested(operation.id)
        assert journal.operation(operation.id).state is OperationState.RUNNING
    assert f"{operation.id} is asked to stop" in capsys.readouterr().out


def test_an_operation_whose_process_died_is_cancelled_at_once(
    journal: Journal, operation: Operation, capsys: pytest.CaptureFixture[str]
):
    with SiteLock(journal, operation.site).hold(operation.id, run="r", stop=Event()) as hold:
        journal.begin(operation.id, hold.epoch)

    assert main(["cancel", operation.id]) == DONE

    after = journal.operation(operation.id)
    assert (after.state, after.reason) == (OperationState.CANCELLED, "CANCELLED")
    assert f"{operation.id} is cancelled" in capsys.readouterr().out


def test_an_operation_at_rest_is_cancelled_and_keeps_what_remains(
    journal: Journal, operation: Operation
):
    journal.set_state(operation.id, OperationState.PARKED, remains=("cordoned: w-1",))

    assert main(["cancel", operation.id]) == DONE

    after = journal.operation(operation.id)
    assert (after.state, after.remains) == (OperationState.CANCELLED, ("cordoned: w-1",))
    assert main(["cancel", operation.id]) == REFUSED


def test_a_site_is_frozen_and_thawed_with_a_reason(journal: Journal):
    assert main(["freeze", "home", "--reason", "audit"]) == DONE
    freeze = journal.frozen("home")
    assert main(["thaw", "home", "--reason", "audit is over"]) == DONE

    assert freeze is not None
    assert freeze.reason == "audit"
    assert journal.frozen("home") is None


def test_export_writes_every_record_to_a_private_file(operation: Operation, tmp_path: Path):
    path = tmp_path / "records.jsonl"

    assert main(["export", operation.id, "--output", str(path)]) == DONE

    assert [json.loads(line) for line in path.read_text().splitlines()]
    assert path.stat().st_mode & 0o777 == 0o600
    assert main(["export", operation.id, "--output", str(path)]) == BAD_INPUT


@pytest.mark.usefixtures("operation")
def test_verify_finds_a_whole_journal_whole(capsys: pytest.CaptureFixture[str]):
    assert main(["verify", "--json"]) == DONE
    assert told(capsys) == {"ok": True, "problems": []}


@pytest.mark.usefixtures("operation")
def test_verify_asks_for_a_human_when_a_record_was_changed(
    journal: Journal, capsys: pytest.CaptureFixture[str]
):
    with sqlite3.connect(journal.home / "journal.db") as db:
        db.execute("update records set body = replace(body, 'bootstrap', 'teardown')")
    db.close()

    assert main(["verify", "--json"]) == NEEDS_HUMAN
    assert told(capsys)["problems"]
