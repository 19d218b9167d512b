"""Where the journal's tables lie: one chain of records, one writer at a time, room kept for what has begun.

SQLite by default; nothing in the protocol is SQLite's own.
"""

import json
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    delete,
    event,
    func,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError

from windlass.engine.audit import audit
from windlass.engine.chain import GENESIS, canonical, record_hash
from windlass.engine.projections import FRESH, Change, change
from windlass.engine.tables import SCHEMA, head, metadata, records
from windlass.errors import BusyError, NeedsHumanError, ParkedError
from windlass.models.plan import JsonObject

# Another process may be writing; a transaction takes milliseconds.
BUSY_S = 30
# The execution option that says how SQLite begins a transaction.
BEGIN = "windlass_begin"
# A full disk must fail before an effect, not between an effect and its record.
SPARE_BYTES = 4 * 1024 * 1024


class Store:
    """The database under one home. Safe for many threads and many processes."""

    def __init__(self, engine: Engine, home: Path) -> None:
        self._engine = engine
        self._moment = engine.execution_options(**_one_moment(engine))
        # Threads that wait here do not wake each other by polling the database.
        self._alone = threading.Lock()
        self._spare = home / "journal.spare"
        self.home = home

    @classmethod
    def open(cls, home: Path) -> Self:
        """The journal in `home`, made if it is not there (0600).

        Raises:
            NeedsHumanError: it is damaged, or a newer Windlass wrote it (CODE_CHANGED).
        """
        path = home / "journal.db"
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        engine = create_engine(f"sqlite:///{path}", pool_size=8, max_overflow=64)
        _prepare_sqlite(engine)
        with _translated(home):
            _make_tables(engine)
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
            return audit(db)

    def _append(
        self, db: Connection, kind: str, site: str, operation: str, body: JsonObject
    ) -> None:
        """One more record, and what it makes of the tables."""
        last = db.execute(select(head).with_for_update()).first()
        body = {"schema": SCHEMA, **body}
        record: dict[str, Any] = {
            "seq": last.seq + 1 if last else 1,
            "time": _now(),
            "kind": kind,
            "site": site,
            "operation": operation,
            "body": canonical(body),
            "previous": last.hash if last else GENESIS,
        }
        end = {"seq": record["seq"], "hash": record_hash(record)}
        db.execute(records.insert().values(**record, hash=end["hash"]))
        if not db.execute(update(head).values(**end)).rowcount:
            db.execute(head.insert().values(id=1, **end))
        _make(db, change(kind, site, operation, body, record["time"]))

    @contextmanager
    def _reading(self) -> Generator[Connection]:
        """One moment of the journal, whatever is written meanwhile."""
        with _translated(self.home), self._moment.connect() as db:
            yield db

    @contextmanager
    def _writing(self) -> Generator[Connection]:
        """One transaction, alone: the chain has one end.

        Raises ParkedError when there is no room for it.
        """
        self._release_room()
        with self._alone, _translated(self.home), self._engine.connect() as db:
            yield db
            db.commit()

    @contextmanager
    def quiet(self) -> Generator[None]:
        """No thread of this process is in a transaction while the block lasts."""
        with self._alone:
            yield

    def reserve(self) -> None:
        """Set room aside, so that what begins now can be recorded whatever else fills the disk.

        Raises:
            ParkedError: there is no room; nothing should be begun.
        """
        if self._set_aside() >= SPARE_BYTES:
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

    def _set_aside(self) -> int:
        try:
            return self._spare.stat().st_blocks * 512
        except FileNotFoundError:
            # Never made, or another thread has just given it away.
            return 0

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

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(BEGIN, "BEGIN IMMEDIATE"))


def _one_moment(engine: Engine) -> dict[str, str]:
    """How a transaction that only reads begins, so that all it reads is of one moment."""
    if engine.dialect.name == "sqlite":
        return {BEGIN: "BEGIN"}
    return {"isolation_level": "REPEATABLE READ"}


def _make_tables(engine: Engine) -> None:
    """In one transaction, all or none: a second process waits, and finds them there. Later ones only look."""
    with engine.execution_options(**_one_moment(engine)).connect() as db:
        are_there = inspect(db).has_table(head.name)
    if not are_there:
        metadata.create_all(engine)


@contextmanager
def _translated(home: Path) -> Generator[None]:
    """A journal that cannot be read is for a person to look at; one without room waits for room.

    Raises:
        BusyError: another process does not end what it writes: it was stopped in the midst of it.
    """
    try:
        yield
    except DatabaseError as error:
        said = str(error.orig)
        if "disk is full" in said or "disk I/O error" in said:
            raise ParkedError(f"the disk under {home} is full: make room and resume") from error
        if "database is locked" in said:
            raise BusyError(
                f"another process has been writing the journal in {home} for {BUSY_S} s: it may have been stopped"
            ) from error
        if any(word in said for word in ("malformed", "not a database", "no such")):
            raise NeedsHumanError(f"the journal in {home} is damaged: {said}") from error
        raise


def _make(db: Connection, one: Change) -> None:
    where = [one.table.c[name] == value for name, value in one.key.items()]
    if one.values is None:
        db.execute(delete(one.table).where(*where))
        return
    if one.values and db.execute(update(one.table).where(*where).values(**one.values)).rowcount:
        return
    fresh = {**FRESH.get(one.table, {}), **one.key, **one.values}
    db.execute(one.table.insert().values(**fresh))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
