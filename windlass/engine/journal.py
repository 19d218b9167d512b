"""The journal: what was meant, what was done, who holds a site, who said yes. Durable before the next move.

Every change is a record in one hash chain; the other tables say the same for reading and are written in the same
transaction.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    func,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError

from windlass import __version__
from windlass.engine.records import (
    ENDS,
    Approval,
    Freeze,
    Holder,
    Operation,
    OperationState,
    StepState,
)
from windlass.engine.rows import holder_of, moment, operation_of, step_of
from windlass.engine.store import Store
from windlass.engine.tables import (
    approvals,
    freezes,
    locks,
    operations,
    records,
    runs,
    steps,
    stops,
)
from windlass.errors import (
    BadInputError,
    BusyError,
    FrozenError,
    RefusedError,
    UnreachableError,
    WindlassError,
)
from windlass.models.plan import Json, JsonObject, Plan

# Without vowels no identifier spells a word.
ALPHABET = "0123456789bcdfghjklmnpqrstvwxz"


class Journal(Store):
    """One journal. Safe for many threads and many processes."""

    # Operations

    def create(
        self, plan: Plan, *, origin: str, site_file: str = "", parent: str | None = None
    ) -> Operation:
        """A new operation with its plan, stored once. A plan without effects is refused: empty is not everything."""
        if plan.is_empty:
            raise RefusedError(f"the plan for {plan.site} has no effect: there is nothing to run")
        identity = _new_id()
        body: JsonObject = {
            "verb": plan.verb, "plan_hash": plan.hash, "plan": plan.to_json(), "origin": origin, "parent": parent,
            "version": __version__, "site_file": site_file,
        }  # fmt: skip
        with self._writing() as db:
            self._append(db, "operation", plan.site, identity, body)
        return self.operation(identity)

    def operation(self, identity: str) -> Operation:
        """The operation with this id, or whose id begins so.

        Raises:
            BadInputError: there is none, or more than one.
        """
        with self._reading() as db:
            rows = db.execute(
                select(operations)
                .where(operations.c.id.startswith(identity, autoescape=True))
                .limit(3)
            ).all()
            if len(rows) != 1:
                what = "more than one operation begins with" if rows else "there is no operation"
                raise BadInputError(f"{what} {identity!r}: windlass history lists them")
            return self._operation(db, rows[0])

    def operations(self, site: str | None = None) -> list[Operation]:
        """All operations, newest first."""
        wanted = select(operations).order_by(operations.c.created.desc(), operations.c.id.desc())
        if site is not None:
            wanted = wanted.where(operations.c.site == site)
        with self._reading() as db:
            return [self._operation(db, row) for row in db.execute(wanted).all()]

    def of_run(self, run: str) -> Operation | None:
        """The operation that this run of an orchestrator worked on."""
        with self._reading() as db:
            identity = db.scalar(select(runs.c.operation).where(runs.c.run == run))
        return self.operation(identity) if identity else None

    def set_state(  # noqa: PLR0913 - one record, all its fields named by the caller
        self,
        identity: str,
        state: OperationState,
        *,
        reason: str = "",
        message: str = "",
        remains: tuple[str, ...] = (),
        epoch: int | None = None,
    ) -> None:
        """Where the operation is now, and why. While it runs, only the holder of its site knows: by its `epoch`.

        Raises:
            BusyError: the `epoch` is no longer the site's, or none is given and the operation runs.
            RefusedError: the operation has ended, and stays so.
        """
        with self._writing() as db:
            self._enter(
                db, identity, state, epoch, reason=reason, message=message, remains=list(remains)
            )

    def begin(self, identity: str, epoch: int) -> None:
        """It runs, and a stop that was asked for earlier no longer counts: going on is asked for.

        Raises:
            BusyError: the `epoch` is no longer the site's.
            RefusedError: the operation has ended.
        """
        with self._writing() as db:
            self._enter(db, identity, OperationState.RUNNING, epoch)
            if db.scalar(select(func.count()).where(stops.c.operation == identity)):
                self._append(db, "go-on", _row(db, identity).site, identity, {})

    def cancel(self, identity: str, by: str) -> Operation:
        """Ask a running operation to stop at its next safe point; one at rest ends here, with what remains of it.

        Raises:
            RefusedError: it has ended already.
        """
        identity = self.operation(identity).id
        with self._writing() as db:
            row = _row(db, identity)
            if row.state == OperationState.RUNNING:
                self._append(db, "stop", row.site, identity, {"by": by})
            else:
                self._enter(
                    db, identity, OperationState.CANCELLED, None, reason="CANCELLED",
                    message=f"cancelled by {by}", remains=json.loads(row.remains),
                )  # fmt: skip
        return self.operation(identity)

    def stop_requested(self, identity: str) -> bool:
        with self._reading() as db:
            return db.scalar(select(func.count()).where(stops.c.operation == identity)) == 1

    def _enter(
        self,
        db: Connection,
        identity: str,
        state: OperationState,
        epoch: int | None,
        **said: Json,
    ) -> None:
        row = _row(db, identity)
        if row.state in ENDS:
            raise RefusedError(f"operation {identity} has ended ({row.state}): plan anew")
        if epoch is None and OperationState.RUNNING in (row.state, state):
            raise BusyError(f"operation {identity} runs: only the holder of {row.site} knows how")
        _fence(db, row.site, epoch)
        fresh: JsonObject = {"state": state.value, "reason": "", "message": "", "remains": []}
        self._append(db, "state", row.site, identity, fresh | said)

    def attach_run(self, identity: str, run: str) -> None:
        """Remember that this run of an orchestrator works on the operation."""
        with self._writing() as db:
            known = db.scalar(
                select(func.count()).where(runs.c.operation == identity, runs.c.run == run)
            )
            if not known:
                self._append(db, "run", _row(db, identity).site, identity, {"run": run})

    # People

    def approve(self, identity: str, plan_hash: str, by: str, reason: str = "") -> None:
        """Say yes to exactly this plan.

        Raises:
            RefusedError: the operation's plan has another hash, or the operation has ended.
        """
        operation = self.operation(identity)
        if plan_hash != operation.plan_hash:
            raise RefusedError(
                f"operation {operation.id} has plan {operation.plan_hash}, not {plan_hash}: read it again"
            )
        with self._writing() as db:
            row = _row(db, operation.id)
            if row.state in ENDS:
                raise RefusedError(f"operation {operation.id} has ended ({row.state}): plan anew")
            if not self._mine(db, operation.id, by):
                said: JsonObject = {"plan_hash": plan_hash, "by": by, "reason": reason}
                self._append(db, "approval", operation.site, operation.id, said)

    @staticmethod
    def _mine(db: Connection, identity: str, by: str) -> int:
        return (
            db.scalar(
                select(func.count()).where(approvals.c.operation == identity, approvals.c.by == by)
            )
            or 0
        )

    def approvals(self, identity: str) -> list[Approval]:
        with self._reading() as db:
            rows = db.execute(select(approvals).where(approvals.c.operation == identity)).all()
        return [Approval(r.operation, r.plan_hash, r.by, r.reason, moment(r.at)) for r in rows]

    def is_approved(self, identity: str) -> bool:
        operation = self.operation(identity)
        return any(one.plan_hash == operation.plan_hash for one in self.approvals(operation.id))

    def freeze(self, site: str, reason: str, by: str) -> None:
        """Nothing changes the site until it is thawed."""
        with self._writing() as db:
            self._append(db, "freeze", site, "", {"reason": reason, "by": by})

    def thaw(self, site: str, reason: str, by: str) -> None:
        with self._writing() as db:
            self._append(db, "thaw", site, "", {"reason": reason, "by": by})

    def frozen(self, site: str) -> Freeze | None:
        """The freeze of a site.

        Raises:
            FrozenError: it cannot be read, which counts as frozen.
        """
        try:
            with self._reading() as db:
                row = db.execute(select(freezes).where(freezes.c.site == site)).first()
        except (DBAPIError, WindlassError, ValueError) as error:
            raise FrozenError(f"whether {site} is frozen cannot be read: {error}") from error
        return Freeze(row.site, row.reason, row.by, moment(row.since)) if row else None

    # Steps

    def step_states(self, identity: str) -> dict[str, StepState]:
        """Every step that was ever begun."""
        with self._reading() as db:
            rows = db.execute(select(steps).where(steps.c.operation == identity)).all()
        return {row.key: step_of(row) for row in rows}

    def step_state(self, identity: str, key: str) -> StepState:
        with self._reading() as db:
            row = db.execute(
                select(steps).where(steps.c.operation == identity, steps.c.key == key)
            ).first()
        return step_of(row) if row else StepState(key, "pending")

    def write_step(
        self,
        operation: Operation,
        key: str,
        kind: str,
        body: JsonObject,
        *,
        epoch: int | None = None,
    ) -> None:
        """One record of a step; what `body` says under the name of a column is the step's from now on.

        Raises:
            BusyError: an `epoch` is given and is no longer the site's.
        """
        step = operation.plan.step(key)
        about: JsonObject = {"step": key, "target": step.target, "action": step.action}
        with self._writing() as db:
            _fence(db, operation.site, epoch)
            self._append(db, kind, operation.site, operation.id, {**about, **body})

    def durations(self, site: str, action: str) -> list[timedelta]:
        """How long this site's steps of an action took, effects and waits together."""
        with self._reading() as db:
            rows = db.execute(
                select(steps.c.started, steps.c.ended).where(
                    steps.c.site == site, steps.c.action == action,
                    steps.c.state == "done", steps.c.attempts == 1,
                )
            ).all()  # fmt: skip
        return [moment(r.ended) - moment(r.started) for r in rows if r.started and r.ended]

    # The lock of a site

    def holder(self, site: str) -> Holder | None:
        """Who holds a site, or held it last; None when nobody ever did or the last one let go."""
        with self._reading() as db:
            row = db.execute(select(locks).where(locks.c.site == site)).first()
        return holder_of(row)

    def next_epoch(
        self,
        site: str,
        operation: str,
        holder: str,
        admit: Callable[[Holder | None], None] = lambda _last: None,
    ) -> int:
        """A new epoch, durable: from now on only this holder's effects and records count.

        `admit` sees the last holder inside the transaction, and raises BusyError to leave all as it is.
        """
        with self._writing() as db:
            row = db.execute(select(locks).where(locks.c.site == site)).first()
            admit(holder_of(row))
            last = 0 if row is None else row.epoch
            body: JsonObject = {"epoch": last + 1, "holder": holder, "renewed": time.time()}
            self._append(db, "lock", site, operation, body)
        return last + 1

    def renew(self, site: str, epoch: int) -> bool:
        """The lease counts from now; False when somebody else has the site.

        Raises:
            UnreachableError: it could not be written.
        """
        try:
            with self._writing() as db:
                done = db.execute(
                    update(locks)
                    .where(locks.c.site == site, locks.c.epoch == epoch)
                    .values(renewed=time.time())
                )
                return done.rowcount == 1
        except (DBAPIError, WindlassError, OSError) as error:
            raise UnreachableError(f"the journal cannot be written: {error}") from error

    def release(self, site: str, epoch: int) -> None:
        """Let go, if it is still ours."""
        with self._writing() as db:
            if db.scalar(select(locks.c.epoch).where(locks.c.site == site)) == epoch:
                self._append(db, "unlock", site, "", {"epoch": epoch})

    def epoch(self, site: str) -> int:
        """The epoch of whoever holds the site or held it last; 0 when nobody ever did."""
        with self._reading() as db:
            return db.scalar(select(locks.c.epoch).where(locks.c.site == site)) or 0

    def calls_end(self, site: str) -> float:
        """When (seconds since 1970) no call that was ever begun on the site can still be under way.

        A call whose handle is known was answered, and is under way no more.
        """
        with self._reading() as db:
            rows = db.execute(
                select(steps.c.intent, steps.c.deadline).where(
                    steps.c.site == site,
                    steps.c.state.in_(("intent", "running")),
                    steps.c.intent.is_not(None),
                    steps.c.handle.is_(None),
                )
            ).all()
        # A clock that was set back must not make a call longer than its deadline.
        latest = time.time()
        return max(
            (min(moment(r.intent).timestamp(), latest) + (r.deadline or 0) for r in rows), default=0
        )

    # The chain

    def export(self, identity: str) -> Iterator[dict[str, Any]]:
        """The records of an operation, as they stand in the chain."""
        operation = self.operation(identity)
        with self._reading() as db:
            wanted = (
                select(records).where(records.c.operation == operation.id).order_by(records.c.seq)
            )
            for row in db.execute(wanted).mappings().all():
                yield {**row, "body": json.loads(row["body"])}

    # Rows

    @staticmethod
    def _operation(db: Connection, row: Any) -> Operation:
        known: Select[Any] = select(runs.c.run).where(runs.c.operation == row.id)
        return operation_of(row, runs=db.execute(known).scalars().all())


def _row(db: Connection, identity: str) -> Any:
    row = db.execute(select(operations).where(operations.c.id == identity)).first()
    if row is None:
        raise BadInputError(f"there is no operation {identity!r}")
    return row


def _fence(db: Connection, site: str, epoch: int | None) -> None:
    """Whoever was taken over writes no more."""
    if epoch is None:
        return
    row = db.execute(select(locks.c.epoch, locks.c.operation).where(locks.c.site == site)).first()
    if row is None or row.epoch != epoch:
        by = "nobody" if row is None else f"operation {row.operation} (epoch {row.epoch})"
        raise BusyError(f"{site} is now held by {by}; epoch {epoch} writes no more")


def _new_id() -> str:
    """Twelve signs that sort by time: seconds since 2026 in base 30, then chance."""
    seconds = int(time.time()) - 1_767_225_600
    signs = ""
    for _ in range(7):
        seconds, digit = divmod(seconds, len(ALPHABET))
        signs = ALPHABET[digit] + signs
    return signs + "".join(secrets.choice(ALPHABET) for _ in range(5))
