"""Who may write after a stop, a takeover and a death: exactly one, and the journal says which."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from tests.unit.engine.test_journal import holder
from tests.unit.engine.worlds import Thing, plan_of
from windlass.engine.executor import ThreadsExecutor
from windlass.engine.journal import Journal
from windlass.engine.lock import SiteLock
from windlass.engine.operation import Acting, reconcile
from windlass.engine.records import OperationState
from windlass.errors import BusyError, ParkedError
from windlass.models.plan import JsonObject, Step

LEASE = timedelta(seconds=1)
# A lease of 30 s is what would have to run out, were death not known at once.
LEASE_OF_THE_DEAD = timedelta(seconds=30)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.open(tmp_path)


@pytest.fixture
def stopped(journal: Journal) -> Iterator["subprocess.Popen[str]"]:
    """A holder that was stopped and whose lease ran out."""
    process = holder(journal)
    os.kill(process.pid, signal.SIGSTOP)
    while (held := journal.holder("harbour")) and time.time() - held.renewed <= 1:
        Event().wait(0.05)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.usefixtures("stopped")
def test_the_death_of_a_holder_that_was_taken_over_frees_nothing(
    journal: Journal, stopped: "subprocess.Popen[str]"
):
    lock = SiteLock(journal, "harbour", LEASE)
    with lock.hold("second", run="r", stop=Event()):
        stopped.kill()
        stopped.communicate()

        with pytest.raises(BusyError, match="second"), lock.hold("third", run="r", stop=Event()):
            pytest.fail("two holders")


@pytest.mark.usefixtures("stopped")
def test_an_operation_that_took_over_is_not_taken_for_dead(journal: Journal):
    operation = journal.create(plan_of("buoy"), origin="test")
    with SiteLock(journal, "harbour", LEASE).hold(operation.id, run="r", stop=Event()) as hold:
        journal.begin(operation.id, hold.epoch)

        assert reconcile(journal) == []


def test_a_holder_whose_lease_is_fresh_is_not_taken_over(journal: Journal):
    process = holder(journal)
    try:
        with (
            pytest.raises(BusyError, match="first"),
            SiteLock(journal, "harbour", LEASE).hold("second", run="r", stop=Event()),
        ):
            pytest.fail("two holders")
    finally:
        process.kill()
        process.communicate()


def test_an_old_epoch_writes_neither_steps_nor_states(journal: Journal):
    operation = journal.create(plan_of("buoy"), origin="test")
    with SiteLock(journal, "harbour").hold(operation.id, run="r", stop=Event()) as old:
        journal.next_epoch("harbour", "second", '{"run": "", "pid": 1, "host": "h", "lease": 30}')

        with pytest.raises(BusyError, match="second"):
            journal.write_step(operation, "make/buoy", "done", {"state": "done"}, epoch=old.epoch)
        with pytest.raises(BusyError, match="second"):
            journal.set_state(operation.id, OperationState.DONE, epoch=old.epoch)

    assert journal.step_state(operation.id, "make/buoy").state == "pending"
    assert journal.operation(operation.id).state is OperationState.PLANNED


def test_a_second_resume_of_a_running_operation_leaves_its_state_alone(journal: Journal):
    operation = journal.create(plan_of("buoy"), origin="test")
    acting = Acting(journal, ThreadsExecutor(), lambda s, _e: thing(journal, s), "run")
    with SiteLock(journal, "harbour").hold(operation.id, run="r", stop=Event()) as hold:
        journal.begin(operation.id, hold.epoch)

        with pytest.raises(BusyError, match=operation.id):
            acting.act(operation)

        assert journal.operation(operation.id).state is OperationState.RUNNING


def test_an_operation_that_finds_the_site_busy_is_parked_and_says_by_whom(journal: Journal):
    first = journal.create(plan_of("light"), origin="test")
    second = journal.create(plan_of("buoy"), origin="test")
    acting = Acting(journal, ThreadsExecutor(), lambda s, _e: thing(journal, s), "run")
    with (
        SiteLock(journal, "harbour").hold(first.id, run="r", stop=Event()),
        pytest.raises(BusyError),
    ):
        acting.act(second)

    end = journal.operation(second.id)
    assert (end.state, end.reason) == (OperationState.PARKED, "BUSY")
    assert first.id in end.message


def test_an_operation_that_loses_the_site_ends_without_a_word_in_the_journal(journal: Journal):
    operation = journal.create(plan_of("buoy", "light"), origin="test")

    class Robbed(Thing):
        def effect(self) -> None:
            journal.next_epoch(
                "harbour", "thief", '{"run": "", "pid": 1, "host": "h", "lease": 30}'
            )
            super().effect()

    acting = Acting(journal, ThreadsExecutor(), lambda s, _e: Robbed(journal.home, s.target), "run")

    with pytest.raises(BusyError, match="thief"):
        acting.act(operation)

    assert journal.operation(operation.id).state is OperationState.RUNNING
    assert not (journal.home / "light").exists()
    assert journal.verify() == []


def test_the_site_is_free_again_after_a_takeover_ended(journal: Journal, stopped: object):
    lock = SiteLock(journal, "harbour", LEASE)
    with lock.hold("second", run="r", stop=Event()):
        pass

    with lock.hold("third", run="r", stop=Event()) as hold:
        assert hold.epoch == 3
    assert stopped


def test_a_new_holder_waits_for_the_deadline_of_the_call_that_was_interrupted_and_no_longer(
    journal: Journal,
):
    dead = journal.create(plan_of("light"), origin="test")
    sent = datetime.now(UTC)
    call: JsonObject = {"state": "intent", "intent": sent.isoformat(), "deadline": 1.0}
    journal.write_step(dead, "make/light", "effect", call)
    made: list[datetime] = []

    class Noting(Thing):
        def effect(self) -> None:
            made.append(datetime.now(UTC))
            super().effect()

    operation = journal.create(plan_of("buoy"), origin="test")
    acting = Acting(journal, ThreadsExecutor(), lambda s, _e: Noting(journal.home, s.target), "run")

    assert acting.act(operation).state is OperationState.DONE

    assert len(made) == 1
    assert timedelta(seconds=1) <= made[0] - sent < LEASE_OF_THE_DEAD


def test_whoever_waits_for_an_interrupted_call_can_be_stopped(journal: Journal):
    dead = journal.create(plan_of("light"), origin="test")
    call: JsonObject = {
        "state": "intent", "intent": datetime.now(UTC).isoformat(), "deadline": 600.0,
    }  # fmt: skip
    journal.write_step(dead, "make/light", "effect", call)
    operation = journal.create(plan_of("buoy"), origin="test")
    acting = Acting(journal, ThreadsExecutor(), lambda s, _e: thing(journal, s), "run")
    acting.stop.set()

    with pytest.raises(ParkedError):
        acting.act(operation)

    assert journal.operation(operation.id).state is OperationState.PARKED
    assert not (journal.home / "buoy").exists()


def test_lock_files_are_private_and_nothing_is_left_beside_them(journal: Journal, stopped: object):
    with SiteLock(journal, "harbour", LEASE).hold("second", run="r", stop=Event()):
        files = list((journal.home / "locks").iterdir())

    assert [(file.name, file.stat().st_mode & 0o777) for file in files] == [("harbour.lock", 0o600)]
    assert stopped


def thing(journal: Journal, step: Step) -> Thing:
    return Thing(journal.home, step.target)
