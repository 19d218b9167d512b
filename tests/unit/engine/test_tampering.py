"""A journal that was edited, cut short, damaged or has no room says so; it never goes on as if nothing was."""

import shutil
import sqlite3
import threading
from pathlib import Path
from threading import Event

import pytest

from tests.unit.engine.worlds import Thing, plan_of
from windlass.engine import store
from windlass.engine.journal import Journal
from windlass.engine.lock import SiteLock
from windlass.engine.projections import KEYS, UNRECORDED
from windlass.engine.steps import StepRunner
from windlass.engine.store import SPARE_BYTES
from windlass.errors import BusyError, FrozenError, NeedsHumanError

COLUMNS = ("time", "kind", "site", "operation", "body", "previous", "hash")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """One with records of every kind, at rest."""
    journal = Journal.open(tmp_path)
    operation = journal.create(plan_of("buoy"), origin="test")
    journal.approve(operation.id, operation.plan_hash, by="me")
    journal.attach_run(operation.id, "run-1")
    with SiteLock(journal, "harbour").hold(operation.id, run="run-1", stop=Event()) as hold:
        journal.begin(operation.id, hold.epoch)
        runner = StepRunner(journal, hold, operation, Event())
        runner.run(operation.plan.step("make/buoy"), Thing(tmp_path, "buoy"))
    journal.cancel(operation.id, "me")
    journal.freeze("harbour", "storm", "me")
    return journal


def sql(journal: Journal, statement: str, *values: object) -> None:
    db = sqlite3.connect(journal.home / "journal.db")
    with db:
        db.execute(statement, values)
    db.close()


def test_any_flipped_bit_of_any_record_is_found(journal: Journal):
    assert journal.verify() == []
    db = sqlite3.connect(journal.home / "journal.db")
    rows = db.execute(f"SELECT seq, {', '.join(COLUMNS)} FROM records").fetchall()
    missed: list[tuple[int, str, int]] = []

    for seq, *values in rows:
        for column, value in zip(COLUMNS, values, strict=True):
            # A body can be long: its every seventh byte stands for the others.
            for at in range(0, len(value), 7 if column == "body" else 5):
                flipped = value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
                db.execute(f"UPDATE records SET {column} = ? WHERE seq = ?", (flipped, seq))
                db.commit()
                if not journal.verify():
                    missed.append((seq, column, at))
        db.execute(
            f"UPDATE records SET {', '.join(f'{c} = ?' for c in COLUMNS)} WHERE seq = ?",
            (*values, seq),
        )
        db.commit()
    db.close()

    assert missed == []
    assert journal.verify() == []


def test_a_chain_that_lost_its_tail_is_found(journal: Journal):
    sql(journal, "DELETE FROM records WHERE seq = (SELECT max(seq) FROM records)")

    assert any("were written" in problem for problem in journal.verify())


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE steps SET state = 'pending'", "steps {op} make/buoy state: the table says pending"),
        ("UPDATE steps SET evidence = '{}'", "steps {op} make/buoy evidence: the table says {}"),
        ("UPDATE steps SET handle = '{\"id\":1}'", "steps {op} make/buoy handle"),
        ("UPDATE steps SET effects = 0", "steps {op} make/buoy effects: the table says 0"),
        ("UPDATE steps SET deadline = 0.5", "steps {op} make/buoy deadline"),
        ("UPDATE operations SET state = 'done'", "operations {op} state: the table says done"),
        ("UPDATE operations SET message = 'x'", "operations {op} message: the table says x"),
        ("UPDATE operations SET remains = '[1]'", "operations {op} remains"),
        ("UPDATE operations SET plan_hash = 'x'", "operations {op} plan_hash: the table says x"),
        ("UPDATE operations SET version = '9'", "operations {op} version: the table says 9"),
        ("UPDATE locks SET epoch = 7", "locks harbour epoch: the table says 7"),
        ("UPDATE locks SET holder = '{}'", "locks harbour holder: the table says {}"),
        ("UPDATE locks SET operation = 'x'", "locks harbour operation: the table says x"),
        ("DELETE FROM freezes", "freezes harbour: the records tell of it"),
        ("DELETE FROM stops", "stops {op}: the records tell of it"),
        ("INSERT INTO approvals VALUES ('op', 'hash', 'mallory', '2026', '')", "approvals op hash mallory"),
        ("DELETE FROM approvals", "approvals {op}"),
        ("UPDATE runs SET run = 'run-2'", "runs {op} run-2: the table has it"),
        ("DELETE FROM operations", "operations {op}: the records tell of it"),
    ],
)  # fmt: skip
def test_a_table_that_says_something_else_than_the_records_is_found(
    journal: Journal, statement: str, found: str
):
    operation = journal.operations()[0].id
    sql(journal, statement)

    wanted = found.replace("{op}", operation)
    assert any(problem.startswith(wanted) for problem in journal.verify()), journal.verify()


@pytest.mark.parametrize(
    ("table", "column"), [(table.name, c.name) for table in KEYS for c in table.columns]
)
def test_no_column_of_any_table_is_altered_unseen(journal: Journal, table: str, column: str):
    sql(journal, f"UPDATE {table} SET \"{column}\" = 'other'")

    assert bool(journal.verify()) == (column not in UNRECORDED)


def test_a_journal_that_is_being_written_verifies_at_every_moment(journal: Journal):
    over = Event()

    def write() -> None:
        other = Journal.open(journal.home)
        for i in range(300):
            other.freeze(f"site{i % 7}", str(i), "me")
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    problems: list[str] = []
    looks = 0
    while not over.is_set():
        problems += journal.verify()
        looks += 1
    writer.join()

    assert problems == []
    assert looks > 3


def test_a_process_that_was_stopped_while_it_wrote_keeps_nobody_from_reading_and_is_named(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "BUSY_S", 0)
    stopped = sqlite3.connect(journal.home / "journal.db", isolation_level=None)
    stopped.execute("BEGIN IMMEDIATE")
    try:
        other = Journal.open(journal.home)
        assert [one.id for one in other.operations()] == [one.id for one in journal.operations()]
        with pytest.raises(BusyError, match="another process has been writing the journal"):
            other.freeze("harbour", "storm", "me")
    finally:
        stopped.close()


def test_room_that_another_thread_gives_away_meanwhile_is_set_aside_anew(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    journal.reserve()
    spare = journal.home / "journal.spare"
    really = Path.exists

    def exists_and_is_gone(path: Path) -> bool:
        there = really(path)
        if path == spare:
            spare.unlink(missing_ok=True)
        return there

    monkeypatch.setattr(Path, "exists", exists_and_is_gone)
    journal.reserve()
    spare.unlink(missing_ok=True)
    journal.reserve()

    assert spare.stat().st_size == SPARE_BYTES


def test_a_step_record_names_epoch_run_attempt_plan_and_inputs(journal: Journal):
    operation = journal.operations()[0]

    intent = next(r for r in journal.export(operation.id) if r["kind"] == "intent")

    assert intent["body"]["plan_hash"] == operation.plan_hash
    assert {"epoch", "run", "attempt", "inputs", "step", "target", "schema"} <= set(intent["body"])


def test_a_file_that_is_no_journal_needs_a_human_and_is_left_as_it_is(tmp_path: Path):
    (tmp_path / "journal.db").write_bytes(b"not a database at all" * 100)

    with pytest.raises(NeedsHumanError, match="damaged"):
        Journal.open(tmp_path)

    assert (tmp_path / "journal.db").read_bytes().startswith(b"not a database")


def test_a_freeze_that_cannot_be_read_counts_as_frozen(journal: Journal):
    sql(journal, "DROP TABLE freezes")

    with pytest.raises(FrozenError, match="cannot be read"):
        journal.frozen("harbour")


def test_a_log_cut_anywhere_leaves_a_prefix_of_what_was_written(tmp_path: Path):
    whole = tmp_path / "whole"
    whole.mkdir()
    journal = Journal.open(whole)
    for i in range(6):
        journal.freeze(f"site{i}", "storm", "me")
    log = (whole / "journal.db-wal").read_bytes()
    lengths: list[int] = []

    for cut in (*range(0, len(log), 1021), len(log)):
        copy = tmp_path / f"cut{cut}"
        copy.mkdir()
        shutil.copy(whole / "journal.db", copy)
        (copy / "journal.db-wal").write_bytes(log[:cut])
        opened = Journal.open(copy)
        assert opened.verify() == []
        lengths.append(sum(opened.frozen(f"site{i}") is not None for i in range(6)))
        shutil.rmtree(copy)

    assert lengths == sorted(lengths)
    assert lengths[-1] == 6


def test_room_is_set_aside_before_anything_is_begun(journal: Journal):
    journal.reserve()

    spare = (journal.home / "journal.spare").stat()
    assert (spare.st_size, spare.st_mode & 0o777) == (SPARE_BYTES, 0o600)
