"""Where the journal's tables lie: one chain of records, one writer at a time, room kept for what has begun.

SQLite by default; nothing in the protocol is SQLite's own.
"""

import json
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, RowMapping, create_engine, event, func, select, update
from sqlalchemy.exc import DatabaseError, OperationalError, ProgrammingError

from windlass.engine.chain import GENESIS, canonical, problems, record_hash
from windlass.engine.projections import Tables, differences
from windlass.engine.tables import (
    SCHEMA,
    approvals,
    freezes,
    head,
    locks,
    metadata,
    operations,
    records,
    steps,
    stops,
)
from windlass.errors import NeedsHumanError, ParkedError
from windlass.models.plan import JsonObject, Plan

# Another process may be writing; a transaction takes milliseconds.
BUSY_S = 30
# A full disk must fail before an effect, not between an effect and its record.
SPARE_BYTES = 4 * 1024 * 1024


class Store:
    """The database under one home. Safe for many threads and many processes."""

    def __init__(self, engine: Engine, home: Path) -> None:
        self._engine = engine
        # Threads that wait here do not wake each other by polling the database.
        self._alone = threading.Lock()
        self._spare = home / "journal.spare"
        self.home = home

    @classmethod
    def open(cls, home: Path, url: str | None = None) -> Self:
        """The journal in `home`, made if it is not there (0600).

        Raises:
            NeedsHumanError: it is damaged, or a newer Windlass wrote it (CODE_CHANGED).
        """
        path = home / "journal.db"
        if url is None and not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        engine = create_engine(
            url or f"sqlite:///{path}", pool_pre_ping=url is not None, pool_size=8, max_overflow=64
        )
        if engine.dialect.name == "sqlite":
            _prepare_sqlite(engine)
        with _translated(home):
            _create_tables(engine)
        store = cls(engine, home)
        store._check_schema()
        return store

    def _check_schema(self) -> None:
        with self._reading() as db:
            found = db.scalar(select(func.max(records.c.seq)))
            newest = db.execute(select(records.c.body).where(records.c.seq == found)).scalar()
        if newest is not None and json.loads(newest).get("schema", SCHEMA) > SCHEMA:
            raise NeedsHumanError(
                "a newer Windlass wrote this journal: go on with that version",
                reason="CODE_CHANGED",
            )

    def verify(self) -> list[str]:
        """What is wrong with the journal: broken chain, altered records, tables that say something else."""
        with self._reading() as db:
            chain = [
                dict(row)
                for row in db.execute(select(records).order_by(records.c.seq)).mappings().all()
            ]
            found = problems(chain)
            end = db.execute(select(head.c.seq, head.c.hash)).first()
            if chain and (end is None or tuple(end) != (chain[-1]["seq"], chain[-1]["hash"])):
                found.append(
                    f"the chain ends at record {chain[-1]['seq']}, but {end and end.seq} were written"
                )
            if not chain and end is not None:
                found.append(f"the chain is empty, but {end.seq} records were written")
            rows = {
                table.name: [_plain(row) for row in db.execute(select(table)).mappings()]
                for table in (operations, steps, locks, freezes, approvals, stops)
            }
            found += differences(chain, Tables(**rows))
            for row in db.execute(select(operations)).all():
                if Plan.from_json(json.loads(row.plan)).hash != row.plan_hash:
                    found.append(
                        f"operation {row.id} has a plan that is not the one it was created with"
                    )
        return found

    def _append(
        self, db: Connection, kind: str, site: str, operation: str, body: JsonObject
    ) -> None:
        last = db.execute(select(head).with_for_update()).first()
        record: dict[str, Any] = {
            "seq": last.seq + 1 if last else 1,
            "time": now(),
            "kind": kind,
            "site": site,
            "operation": operation,
            "body": canonical({"schema": SCHEMA, **body}),
            "previous": last.hash if last else GENESIS,
        }
        end = {"seq": record["seq"], "hash": record_hash(record)}
        db.execute(records.insert().values(**record, hash=end["hash"]))
        if not db.execute(update(head).values(**end)).rowcount:
            db.execute(head.insert().values(id=1, **end))

    @contextmanager
    def _reading(self) -> Generator[Connection]:
        with _translated(self.home), self._engine.connect() as db:
            yield db

    @contextmanager
    def _writing(self) -> Generator[Connection]:
        """One transaction, alone: the chain has one end.

        Raises ParkedError when there is no room for it.
        """
        self._release_room()
        with self._alone, _translated(self.home), self._engine.connect() as db:
            if self._engine.dialect.name == "sqlite":
                _begin_immediate(db)
            yield db
            db.commit()

    def reserve(self) -> None:
        """Set room aside, so that what begins now can be recorded whatever else fills the disk.

        Raises:
            ParkedError: there is no room; nothing should be begun.
        """
        if self._spare.exists() and self._spare.stat().st_blocks * 512 >= SPARE_BYTES:
            return
        try:
            fd = os.open(self._spare, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(fd, 0, SPARE_BYTES)
            finally:
                os.close(fd)
        except OSError as error:
            self._spare.unlink(missing_ok=True)
            raise ParkedError(
                f"the disk under {self.home} is full: what happens could not be recorded, so nothing is "
                "begun; make room and resume"
            ) from error

    def _release_room(self) -> None:
        """What was set aside is for the records of what has begun, once the disk is nearly full."""
        found = os.statvfs(self.home)
        if found.f_bavail * found.f_frsize < SPARE_BYTES / 4:
            self._spare.unlink(missing_ok=True)


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # SQLAlchemy begins transactions itself; sqlite3's own idea of when would come too late for the chain.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA busy_timeout={BUSY_S * 1000}")


def _create_tables(engine: Engine) -> None:
    """Two processes may both find no tables; the second one is told that they are there."""
    for _ in metadata.tables:
        try:
            metadata.create_all(engine)
        except (OperationalError, ProgrammingError) as error:
            if "already exists" not in str(error):
                raise
        else:
            return


@contextmanager
def _translated(home: Path) -> Generator[None]:
    """A journal that cannot be read is for a person to look at; one without room waits for room."""
    try:
        yield
    except DatabaseError as error:
        said = str(error.orig)
        if "disk is full" in said or "disk I/O error" in said:
            raise ParkedError(f"the disk under {home} is full: make room and resume") from error
        if any(word in said for word in ("malformed", "not a database", "no such")):
            raise NeedsHumanError(f"the journal in {home} is damaged: {said}") from error
        raise


def _begin_immediate(db: Connection) -> None:
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            db.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError:
            if time.monotonic() > deadline:
                raise
        else:
            return


def _plain(row: RowMapping) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
