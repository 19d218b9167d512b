"""The journal: a chain that shows every change, approvals bound to a plan, and a lock that fences."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from tests.unit.engine.worlds import plan_of
from windlass.engine.journal import Journal
from windlass.engine.lock import SiteLock
from windlass.engine.operation import reconcile
from windlass.engine.records import ENDS, Operation, OperationState
from windlass.errors import BadInputError, BusyError, RefusedError
from windlass.models.plan import Plan, Risk


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.open(tmp_path)


def sql(journal: Journal, statement: str) -> None:
    with sqlite3.connect(journal.home / "journal.db") as db:
        db.execute(statement)


def test_the_journal_is_private(journal: Journal):
    assert (journal.home / "journal.db").stat().st_mode & 0o077 == 0


def test_a_stored_plan_is_read_back_whole(journal: Journal):
    plan = plan_of("buoy", "light")

    operation = journal.create(plan, origin="test")

    assert Journal.open(journal.home).operation(operation.id).plan == plan


def test_an_operation_is_found_by_the_beginning_of_its_id(journal: Journal):
    operation = journal.create(plan_of("buoy"), origin="test")

    assert journal.operation(operation.id[:9]).id == operation.id


def test_an_unknown_operation_is_bad_input(journal: Journal):
    with pytest.raises(BadInputError, match="zzz"):
        journal.operation("zzz")


def test_an_empty_plan_is_never_an_operation(journal: Journal):
    with pytest.raises(RefusedError, match="no effect"):
        journal.create(Plan("harbour", "bootstrap", {}, ()), origin="test")


def test_a_plan_of_gates_alone_is_never_an_operation(journal: Journal):
    plan = plan_of("buoy")
    gates = replace(plan, steps=tuple(replace(step, risk=Risk.READ) for step in plan))

    with pytest.raises(RefusedError, match="no effect"):
        journal.create(gates, origin="test")


def test_an_approval_of_another_plan_is_refused_and_names_both(journal: Journal):
    operation = journal.create(plan_of("buoy"), origin="test")

    with pytest.raises(RefusedError, match=operation.plan_hash):
        journal.approve(operation.id, "sha256:other", by="me")

    assert not journal.is_approved(operation.id)


def test_an_untouched_journal_verifies(journal: Journal):
    operation = journal.create(plan_of("buoy"), origin="test")
    journal.approve(operation.id, operation.plan_hash, by="me")
    runs(journal, operation)

    assert journal.verify() == []


@pytest.mark.parametrize(
    "column", ["time", "kind", "site", "operation", "body", "previous", "hash"]
)
def test_an_edit_of_any_column_of_a_record_is_found(journal: Journal, column: str):
    journal.create(plan_of("buoy"), origin="test")
    journal.freeze("harbour", "storm", "me")

    sql(journal, f"UPDATE records SET {column} = {column} || 'x' WHERE seq = 1")

    assert journal.verify()


def test_a_record_that_was_taken_out_is_found(journal: Journal):
    journal.create(plan_of("buoy"), origin="test")
    journal.freeze("harbour", "storm", "me")
    journal.thaw("harbour", "over", "me")

    sql(journal, "DELETE FROM records WHERE seq = 2")

    assert any("record 2 is missing" in problem for problem in journal.verify())


def test_a_state_that_no_record_tells_of_is_found(journal: Journal):
    operation = journal.create(plan_of("buoy"), origin="test")

    sql(journal, "UPDATE operations SET state = 'done'")

    assert any(operation.id in problem for problem in journal.verify())


def test_a_plan_that_was_edited_is_found(journal: Journal):
    journal.create(plan_of("buoy"), origin="test")

    sql(journal, "UPDATE operations SET plan = replace(plan, 'buoy', 'mine')")

    assert any("plan" in problem for problem in journal.verify())


def test_two_processes_write_one_chain(journal: Journal):
    script = (
        "import sys; from pathlib import Path; from windlass.engine.journal import Journal;"
        "j = Journal.open(Path(sys.argv[1]));"
        "[j.freeze(f'site{i}', 'r', sys.argv[2]) for i in range(20)]"
    )
    root = Path(__file__).parents[3]
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(journal.home), name], cwd=root)
        for name in "ab"
    ]

    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert journal.verify() == []


def test_a_freeze_is_there_until_it_is_thawed(journal: Journal):
    journal.freeze("harbour", "storm", "me")
    found = journal.frozen("harbour")

    journal.thaw("harbour", "over", "me")

    assert found is not None
    assert found.reason == "storm"
    assert journal.frozen("harbour") is None


def test_a_second_holder_is_told_who_holds_the_site(journal: Journal):
    first = journal.create(plan_of("buoy"), origin="test")
    second = journal.create(plan_of("light"), origin="test")
    lock = SiteLock(journal, "harbour")

    with (
        lock.hold(first.id, run="r", stop=Event()),
        pytest.raises(BusyError, match=first.id),
        lock.hold(second.id, run="r", stop=Event()),
    ):
        pytest.fail("two holders")


def test_every_hold_has_a_higher_epoch(journal: Journal):
    lock = SiteLock(journal, "harbour")

    with lock.hold("a", run="r", stop=Event()) as first:
        pass
    with lock.hold("b", run="r", stop=Event()) as second:
        pass

    assert second.epoch > first.epoch


HOLDER = """
import os, signal, sys, time
from datetime import timedelta
from pathlib import Path
from threading import Event
from windlass.engine.journal import Journal
from windlass.engine.lock import SiteLock
from windlass.errors import BusyError
journal = Journal.open(Path(sys.argv[1]))
with SiteLock(journal, "harbour", timedelta(seconds=1)).hold("first", run="r", stop=Event()) as hold:
    print("held", flush=True)
    sys.stdin.readline()
    try:
        hold.check()
        print("still the writer", flush=True)
    except BusyError:
        print("fenced", flush=True)
"""


def holder(journal: Journal) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(journal.home)],
        cwd=Path(__file__).parents[3], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_death_of_a_holder_frees_the_site_at_once(journal: Journal):
    process = holder(journal)
    process.kill()
    process.communicate()

    with SiteLock(journal, "harbour").hold("second", run="r", stop=Event()) as hold:
        assert hold.epoch == 2


def test_a_holder_that_was_stopped_is_taken_over_and_finds_itself_fenced(journal: Journal):
    process = holder(journal)
    os.kill(process.pid, signal.SIGSTOP)
    lock = SiteLock(journal, "harbour", timedelta(seconds=1))
    try:
        while journal.holder("harbour") is not None and not _silent(journal):
            Event().wait(0.1)
        with lock.hold("second", run="r", stop=Event()):
            os.kill(process.pid, signal.SIGCONT)
            said, _ = process.communicate("go\n", timeout=30)
    finally:
        process.kill()

    assert said == "fenced\n"


def _silent(journal: Journal) -> bool:
    found = journal.holder("harbour")
    return found is not None and time.time() - found.renewed > 1


def test_an_operation_whose_process_died_is_parked_when_somebody_looks(journal: Journal):
    operation = journal.create(plan_of("buoy"), origin="test")
    runs(journal, operation)

    assert reconcile(journal) == [operation.id]
    assert journal.operation(operation.id).state is OperationState.PARKED


def test_an_operation_that_somebody_went_on_with_meanwhile_is_not_parked(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    operation = journal.create(plan_of("buoy"), origin="test")
    runs(journal, operation)

    def resumed_just_after(_lock: SiteLock) -> bool:
        runs(journal, operation)
        return False

    monkeypatch.setattr(SiteLock, "is_held", resumed_just_after)

    assert reconcile(journal) == []
    assert journal.operation(operation.id).state is OperationState.RUNNING


@pytest.mark.parametrize("end", sorted(ENDS))
def test_an_operation_that_has_ended_stays_so(journal: Journal, end: OperationState):
    operation = journal.create(plan_of("buoy"), origin="test")
    epoch = runs(journal, operation)
    journal.set_state(operation.id, end, reason="SUCCESS", epoch=epoch)

    for go_on in (
        lambda: runs(journal, operation),
        lambda: journal.set_state(operation.id, OperationState.PARKED),
        lambda: journal.set_state(operation.id, OperationState.FAILED, epoch=epoch + 1),
        lambda: journal.cancel(operation.id, "me"),
        lambda: journal.approve(operation.id, operation.plan_hash, "me"),
    ):
        with pytest.raises(RefusedError, match=f"has ended .{end}."):
            go_on()

    found = journal.operation(operation.id)
    assert (found.state, found.reason) == (end, "SUCCESS")


def test_what_is_said_of_a_running_operation_its_holder_alone_says(journal: Journal):
    operation = journal.create(plan_of("buoy"), origin="test")
    runs(journal, operation)

    with pytest.raises(BusyError, match="only the holder of harbour knows"):
        journal.set_state(operation.id, OperationState.AWAITING_APPROVAL)

    assert journal.operation(operation.id).state is OperationState.RUNNING


def test_going_on_forgets_an_earlier_stop_and_only_the_holder_goes_on(journal: Journal):
    operation = journal.create(plan_of("buoy"), origin="test")
    epoch = runs(journal, operation)
    journal.cancel(operation.id, "me")

    with pytest.raises(BusyError):
        journal.begin(operation.id, epoch - 1)
    assert journal.stop_requested(operation.id)

    journal.begin(operation.id, epoch)
    assert not journal.stop_requested(operation.id)


def runs(journal: Journal, operation: Operation) -> int:
    """The operation runs, as far as the journal knows; the epoch of its holder."""
    who = '{"run": "", "pid": 1, "host": "h", "lease": 30}'
    epoch = journal.next_epoch(operation.site, operation.id, who)
    journal.begin(operation.id, epoch)
    return epoch
