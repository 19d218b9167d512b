"""The journal: what was planned, approved, begun, seen and ended, in one chain of durable records.

The records are the truth. The tables beside them are what they add up to, written in the same transaction, and
`verify` compares the two.
"""

import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import exc

import windlass
from windlass.engine import database as db
from windlass.engine.history import (
    Approval,
    Freeze,
    Operation,
    OperationState,
    StepHistory,
    StepState,
    StopRequest,
    by_step,
    last_start,
)
from windlass.engine.records import GENESIS, STEP_PHASES, Entry, Phase, Record
from windlass.errors import BadInputError, BusyError, FrozenError, NeedsHumanError, RefusedError
from windlass.models.plan import Plan

# Digits and consonants in ASCII order: ids sort by time and spell no words.
_ALPHABET = "0123456789bcdfghjkmnpqrstvwxyz"
_ID_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)


class Journal:
    """All operations of one home, for many threads and many processes at once."""

    def __init__(self, database: db.Database) -> None:
        self._db = database

    @classmethod
    def open(cls, home: Path, url: str | None = None) -> Self:
        """Open the journal in `home` (0700, made if absent), or the one behind an SQLAlchemy `url`.

        Raises BadInputError when `home` cannot be used, NeedsHumanError when the journal is damaged.
        """
        return cls(db.Database(home, url))

    @property
    def home(self) -> Path:
        return self._db.home

    @property
    def database(self) -> db.Database:
        """The tables, for the lock and for checks; everybody else uses the methods."""
        return self._db

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    # Operations

    def create(self, plan: Plan, *, origin: str, parent: str | None = None) -> Operation:
        """Store `plan` as a new operation in state planned. `origin` says who asked: cli, flow, webhook."""
        op = _new_id()

        def change(write: db.Writer) -> None:
            body: dict[str, Any] = {
                "plan": plan.to_json(),
                "verb": plan.verb,
                "origin": origin,
                "parent": parent,
                "version": windlass.__version__,
            }
            record = write.append(
                Entry(Phase.CREATED, plan.site, op, plan_hash=plan.hash, body=body)
            )
            write.connection.execute(
                sa.insert(db.operations).values(
                    id=op,
                    site=plan.site,
                    verb=plan.verb,
                    parent=parent or "",
                    plan_hash=plan.hash,
                    state=OperationState.PLANNED.value,
                    reason="",
                    message="",
                    created=record.time.isoformat(),
                    updated=record.time.isoformat(),
                    created_seq=record.seq,
                )
            )

        self._db.write(change)
        return self.operation(op)

    def operation(self, op_id: str) -> Operation:
        """The operation whose id is or begins with `op_id`. Raises BadInputError unless there is exactly one."""
        ids = sa.select(db.operations.c.id).where(
            db.operations.c.id.startswith(op_id, autoescape=True)
        )
        with self._db.reading() as read:
            found = sorted(read.scalars(ids.limit(6)))
            if op_id in found:
                found = [op_id]
            if not op_id or not found:
                raise BadInputError(f"no operation {op_id!r} in the journal {self.home}")
            if len(found) > 1:
                raise BadInputError(f"{op_id!r} could be any of {', '.join(found)}")
            return _operations(read, db.operations.c.id == found[0])[0]

    def operations(self, site: str | None = None) -> list[Operation]:
        """All operations, or those of one site, newest first."""
        with self._db.reading() as read:
            return _operations(read, sa.true() if site is None else db.operations.c.site == site)

    def latest_open(self, site: str) -> Operation | None:
        """The newest operation of the site that has not ended for good."""
        return next((op for op in self.operations(site) if not op.state.is_terminal), None)

    def attach_run(self, op_id: str, run_id: str) -> None:
        """Remember that this (Prefect) run worked on the operation; once is enough."""
        operation = self.operation(op_id)
        if run_id not in operation.runs:
            entry = Entry(Phase.RUN, operation.site, operation.id, run=run_id)
            self._db.write(lambda write: write.append(entry))

    def set_state(
        self,
        operation: Operation,
        state: OperationState,
        *,
        reason: str = "",
        message: str = "",
        remains: list[str] | None = None,
        epoch: int = 0,
        run: str = "",
    ) -> None:
        """Record where the operation stands now. With an `epoch`, only while it is the site's current one."""
        entry = Entry(
            Phase.STATE,
            operation.site,
            operation.id,
            epoch=epoch,
            run=run,
            plan_hash=operation.plan_hash,
            reason=reason,
            body={"state": state.value, "message": message, "remains": [*(remains or ())]},
        )
        self._db.write(lambda write: _set_state(write, entry))

    # Approvals

    def approve(self, op_id: str, plan_hash: str, by: str) -> Approval:
        """Say yes to exactly this plan. Raises RefusedError when the operation's plan has another hash."""
        operation = self.operation(op_id)
        if plan_hash != operation.plan_hash:
            raise RefusedError(
                f"operation {operation.id} has plan {operation.plan_hash}, the approval names {plan_hash}"
            )
        if operation.state.is_terminal:
            raise RefusedError(f"operation {operation.id} is {operation.state}: nothing to approve")
        entry = Entry(
            Phase.APPROVED, operation.site, operation.id, plan_hash=plan_hash, body={"by": by}
        )
        return _approval(self._db.write(lambda write: write.append(entry)))

    def approvals(self, op_id: str) -> list[Approval]:
        operation = self.operation(op_id)
        return [_approval(r) for r in self._records(operation.id, Phase.APPROVED)]

    def is_approved(self, op_id: str) -> bool:
        """Somebody approved the very plan that is stored."""
        plan_hash = self.operation(op_id).plan_hash
        return any(approval.plan_hash == plan_hash for approval in self.approvals(op_id))

    # Freeze and stop

    def freeze(self, site: str, reason: str, by: str) -> Freeze:
        """From now on no effect begins on the site."""
        entry = Entry(Phase.FROZEN, site, body={"reason": reason, "by": by})
        record = self._db.write(lambda write: write.append(entry))
        return Freeze(site, reason, by, record.time)

    def thaw(self, site: str, reason: str, by: str) -> None:
        entry = Entry(Phase.THAWED, site, body={"reason": reason, "by": by})
        self._db.write(lambda write: write.append(entry))

    def frozen(self, site: str) -> Freeze | None:
        """The freeze of the site, if there is one. Raises FrozenError when that cannot be read."""
        table = db.records
        query = (
            sa.select(table)
            .where(table.c.site == site, table.c.phase.in_([Phase.FROZEN, Phase.THAWED]))
            .order_by(table.c.seq.desc())
            .limit(1)
        )
        try:
            with self._db.reading() as read:
                row = read.execute(query).first()
            record = None if row is None else db.read_record(row)
        except (exc.SQLAlchemyError, NeedsHumanError, ValueError) as error:
            raise FrozenError(f"whether {site} is frozen cannot be read: {error}") from error
        if record is None:
            return None
        if problems := record.problems(record.prev):
            raise FrozenError(f"whether {site} is frozen cannot be trusted: {problems[0]}")
        if record.phase is Phase.THAWED:
            return None
        return Freeze(site, str(record.body["reason"]), str(record.body["by"]), record.time)

    def request_stop(self, op_id: str, by: str, cancel: bool) -> StopRequest:
        """Ask the operation to park at its next safe point; with `cancel`, for good.

        A cancelled operation that does not run is cancelled at once. Raises RefusedError when it has ended.
        """
        operation = self.operation(op_id)
        if operation.state.is_terminal:
            raise RefusedError(f"operation {operation.id} has ended: it is {operation.state}")
        body: dict[str, Any] = {"by": by, "cancel": cancel}
        stop = Entry(
            Phase.STOP, operation.site, operation.id, plan_hash=operation.plan_hash, body=body
        )

        def change(write: db.Writer) -> Record:
            record = write.append(stop)
            stands = write.connection.scalar(
                sa.select(db.operations.c.state).where(db.operations.c.id == operation.id)
            )
            if cancel and stands != OperationState.RUNNING:
                ends: dict[str, Any] = {
                    "state": OperationState.CANCELLED.value,
                    "message": f"cancelled by {by}",
                    "remains": [],
                }
                ended = replace(stop, phase=Phase.STATE, reason="PARKED", body=ends)
                _set_state(write, ended)
            return record

        return _stop_request(self._db.write(change))

    def stop_requested(self, op_id: str) -> StopRequest | None:
        """The newest request to stop that came after the operation last began to run; cancel weighs more."""
        records = self._records(op_id, Phase.STATE, Phase.STOP)
        began = last_start(records)
        asked = [_stop_request(r) for r in records if r.phase is Phase.STOP and r.seq > began]
        return max(asked, key=lambda request: (request.cancel, request.at), default=None)

    # Steps

    def append(self, entry: Entry) -> Record:
        """Write a record. One with an `epoch` is written only while that epoch is the site's current one.

        Raises BusyError when another holder has taken the site, ParkedError when the disk is full.
        """

        def change(write: db.Writer) -> Record:
            check_epoch(write.connection, entry)
            return write.append(entry)

        return self._db.write(change)

    def reserve(self) -> None:
        """Make sure that what follows an intent can be recorded. Raises ParkedError when it cannot."""
        self._db.reserve()

    def step_history(self, op_id: str, key: str) -> StepHistory:
        table = db.records
        query = (
            sa.select(table).where(table.c.op == op_id, table.c.step == key).order_by(table.c.seq)
        )
        with self._db.reading() as read:
            return StepHistory(tuple(db.read_record(row) for row in read.execute(query)))

    def step_states(self, op_id: str) -> dict[str, StepState]:
        """Where each step of the operation's plan stands, in the plan's order."""
        operation = self.operation(op_id)
        histories = by_step(self._records(operation.id, *STEP_PHASES))
        nothing = StepHistory(())
        return {s.key: histories.get(s.key, nothing).state(s.key) for s in operation.plan}

    def open_intents(self, site: str) -> list[tuple[Record, datetime]]:
        """Effects of running operations of the site that may still be in flight, with their deadlines."""
        running = [op for op in self.operations(site) if op.state is OperationState.RUNNING]
        return [
            (last, datetime.fromisoformat(str(last.body["deadline"])))
            for op in running
            for history in by_step(self._records(op.id, *STEP_PHASES)).values()
            if (last := history.last) is not None and last.phase is Phase.INTENT
        ]

    def durations(self, site: str, action: str) -> list[timedelta]:
        """How long past steps of this action took on this site, oldest first; skipped ones do not count."""
        table = db.records
        query = (
            sa.select(table)
            .where(
                table.c.site == site,
                table.c.phase == Phase.DONE,
                table.c.step.startswith(f"{action}/", autoescape=True),
            )
            .order_by(table.c.seq)
        )
        with self._db.reading() as read:
            done = [db.read_record(row) for row in read.execute(query)]
        return [timedelta(seconds=_seconds(r)) for r in done if r.body.get("whole") is True]

    # History

    def export(self, op_id: str) -> Iterator[dict[str, Any]]:
        """Every record of the operation as a JSON object, oldest first, hashes included."""
        for record in self._records(self.operation(op_id).id, *Phase):
            yield record.to_json()

    def verify(self) -> list[str]:
        """What is wrong with the journal: broken records, a broken chain, tables that say something else."""
        with self._db.reading() as read:
            return verify(read)

    def _records(self, op_id: str, *phases: Phase) -> list[Record]:
        table = db.records
        query = (
            sa.select(table)
            .where(table.c.op == op_id, table.c.phase.in_(phases))
            .order_by(table.c.seq)
        )
        with self._db.reading() as read:
            return [db.read_record(row) for row in read.execute(query)]


def check_epoch(connection: sa.Connection, entry: Entry) -> None:
    """Raise BusyError when the entry's epoch (if it has one) is not the current one of its site."""
    if not entry.epoch:
        return
    row = connection.execute(
        sa.select(db.sites.c.epoch, db.sites.c.op).where(db.sites.c.site == entry.site)
    ).first()
    if row is None or row.epoch != entry.epoch:
        now = "nobody" if row is None else f"operation {row.op} (epoch {row.epoch})"
        raise BusyError(f"epoch {entry.epoch} of {entry.site} is over: the site is held by {now}")


def verify(read: sa.Connection) -> list[str]:
    """Compare the chain with itself, with its head, and with the tables projected from it."""
    found: list[str] = []
    prev, seq = GENESIS, 0
    states: dict[str, tuple[str, str]] = {}
    epochs: dict[str, int] = {}
    for row in read.execute(sa.select(db.records).order_by(db.records.c.seq)):
        seq += 1
        if row.seq != seq:
            found.append(f"record {seq} is missing")
            seq = row.seq
        try:
            record = db.read_record(row)
        except (ValueError, TypeError) as error:
            found.append(f"record {row.seq} cannot be read: {error}")
        else:
            found += record.problems(prev)
            _project(record, states, epochs)
        prev = row.hash
    head = read.execute(sa.select(db.head)).first()
    if head is None or (head.seq, head.hash) != (seq, prev):
        found.append(
            f"the journal ends at record {seq}, its head says otherwise: records are missing"
        )
    return found + _compare(read, states, epochs)


def _project(record: Record, states: dict[str, tuple[str, str]], epochs: dict[str, int]) -> None:
    entry = record.entry
    if entry.phase is Phase.CREATED:
        states[entry.op] = (OperationState.PLANNED, entry.plan_hash)
    elif entry.phase is Phase.STATE:
        states[entry.op] = (str(entry.body.get("state")), entry.plan_hash)
    elif entry.phase is Phase.EPOCH:
        epochs[entry.site] = entry.epoch


def _compare(
    read: sa.Connection, states: dict[str, tuple[str, str]], epochs: dict[str, int]
) -> list[str]:
    rows = read.execute(sa.select(db.operations))
    tables = {row.id: (row.state, row.plan_hash) for row in rows}
    found = [
        f"operation {op}: the table says {tables.get(op)}, its records say {states.get(op)}"
        for op in sorted(states.keys() | tables.keys())
        if tables.get(op) != states.get(op)
    ]
    held = {row.site: row.epoch for row in read.execute(sa.select(db.sites))}
    return found + [
        f"site {site}: the table says epoch {held.get(site)}, its records say {epochs.get(site)}"
        for site in sorted(epochs.keys() | held.keys())
        if held.get(site) != epochs.get(site)
    ]


def _set_state(write: db.Writer, entry: Entry) -> Record:
    check_epoch(write.connection, entry)
    record = write.append(entry)
    write.connection.execute(
        sa.update(db.operations)
        .where(db.operations.c.id == entry.op)
        .values(
            state=entry.body["state"],
            reason=entry.reason,
            message=entry.body["message"],
            updated=record.time.isoformat(),
        )
    )
    return record


def _operations(read: sa.Connection, which: sa.ColumnElement[bool]) -> list[Operation]:
    runs: dict[str, list[str]] = {}
    attached = sa.select(db.records.c.op, db.records.c.run).where(db.records.c.phase == Phase.RUN)
    mine = db.records.c.op.in_(sa.select(db.operations.c.id).where(which))
    for row in read.execute(attached.where(mine).order_by(db.records.c.seq)):
        runs.setdefault(row.op, []).append(row.run)
    joined = sa.select(db.operations, db.records.c.body).join(
        db.records, db.records.c.seq == db.operations.c.created_seq
    )
    newest_first = joined.where(which).order_by(db.operations.c.created_seq.desc())
    return [_operation(row, runs.get(row.id, [])) for row in read.execute(newest_first)]


def _operation(row: sa.Row[Any], runs: list[str]) -> Operation:
    try:
        body = db.loads(row.body)
        state = OperationState(row.state)
    except ValueError as error:
        raise NeedsHumanError(f"operation {row.id} cannot be read: {error}") from error
    return Operation(
        id=row.id,
        site=row.site,
        verb=row.verb,
        plan_hash=row.plan_hash,
        state=state,
        reason=row.reason or None,
        message=row.message,
        created=datetime.fromisoformat(row.created),
        updated=datetime.fromisoformat(row.updated),
        runs=tuple(runs),
        parent=row.parent or None,
        created_seq=row.created_seq,
        created_body=body,
    )


def _approval(record: Record) -> Approval:
    entry = record.entry
    return Approval(entry.op, entry.plan_hash, str(entry.body["by"]), record.time)


def _stop_request(record: Record) -> StopRequest:
    entry = record.entry
    return StopRequest(entry.op, str(entry.body["by"]), record.time, entry.body["cancel"] is True)


def _seconds(record: Record) -> float:
    took = record.body["took"]
    return float(took) if isinstance(took, int | float) else 0.0


def _new_id() -> str:
    tenths = int((datetime.now(UTC) - _ID_EPOCH) / timedelta(milliseconds=100))
    digits = ""
    for _ in range(8):
        tenths, digit = divmod(tenths, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits + "".join(secrets.choice(_ALPHABET) for _ in range(4))
