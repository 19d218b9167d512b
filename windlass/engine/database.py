"""The journal's tables and how they are written: one chained record at a time, durable, or not at all.

SQLite beside the operator, or any database SQLAlchemy knows by URL. The protocol is the same for both: a write
first updates the head row, which is the lock that puts all writers in one line.
"""

import errno
import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import event, exc

from windlass.engine.records import GENESIS, Entry, Phase, Record, canonical, chained
from windlass.errors import BadInputError, NeedsHumanError, ParkedError
from windlass.models.plan import JsonObject

T = TypeVar("T")

# Another process may be in the middle of its own fsync; a disk that needs longer than this is broken.
BUSY_SECONDS = 30
LOCKED_TRIES = 5

# Room for the records of some hundred steps in flight. It exists so that what has begun can be recorded.
BALLAST_BYTES = 4 * 1024 * 1024

metadata = sa.MetaData()

records = sa.Table(
    "records",
    metadata,
    sa.Column(
        "seq",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("site", sa.Text, nullable=False),
    sa.Column("op", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("plan_hash", sa.Text, nullable=False),
    sa.Column("inputs", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("schema", sa.Integer, nullable=False),
    sa.Column("prev", sa.Text, nullable=False),
    sa.Column("checksum", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Index("records_of_a_step", "op", "step", "seq"),
    sa.Index("records_of_a_site", "site", "phase", "seq"),
)

head = sa.Table(
    "head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("site", sa.Text, nullable=False, index=True),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("parent", sa.Text, nullable=False),
    sa.Column("plan_hash", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created", sa.Text, nullable=False),
    sa.Column("updated", sa.Text, nullable=False),
    sa.Column("created_seq", sa.BigInteger, nullable=False),
)

# `epoch` and `op` are what the last EPOCH record says; the rest is the lease, which is worth no record.
sites = sa.Table(
    "sites",
    metadata,
    sa.Column("site", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("op", sa.Text, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
    sa.Column("renewed", sa.Text, nullable=False),
    sa.Column("released", sa.Boolean, nullable=False),
)


class Database:
    """One journal's tables; safe for many threads and many processes."""

    def __init__(self, home: Path, url: str | None) -> None:
        self.home = home
        self._ballast = home / "journal.ballast"
        self._writing = Lock()
        _prepare(home)
        self.engine = sa.create_engine(url) if url else _sqlite(home / "journal.db")
        with _readable(home):
            self._create_tables()

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Generator[sa.Connection]:
        with _readable(self.home), self.engine.connect() as connection:
            yield connection

    def write(self, change: Callable[["Writer"], T]) -> T:
        """Run `change` in one durable transaction, after all writers before it.

        Raises ParkedError when there is no room on the disk.
        """
        for last_try in (False,) * (LOCKED_TRIES - 1) + (True,):
            try:
                with self._writing, _readable(self.home), self.engine.begin() as connection:
                    return change(Writer(connection))
            except exc.OperationalError as error:
                if _says(error, "full") and self._release_ballast():
                    continue
                if _says(error, "full", "disk i/o"):
                    raise no_room(self.home) from error
                if last_try or not _says(error, "locked", "busy"):
                    raise
        raise AssertionError("the last try returns or raises")

    def reserve(self) -> None:
        """Make sure that what follows an intent can be recorded, whatever else fills the disk."""
        try:
            if self._ballast.stat().st_blocks * 512 >= BALLAST_BYTES:
                return
        except FileNotFoundError:
            pass
        try:
            fd = os.open(self._ballast, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(fd, 0, BALLAST_BYTES)
            finally:
                os.close(fd)
        except OSError as error:
            self._release_ballast()
            raise no_room(self.home) from error

    def _release_ballast(self) -> bool:
        """Give the reserved room back; False when there was none."""
        try:
            held = self._ballast.stat().st_size > 0
            os.truncate(self._ballast, 0)
        except FileNotFoundError:
            return False
        return held

    def _create_tables(self) -> None:
        # Two processes may both find no table and both create it; the second is told that it exists.
        for last_try in (False,) * (LOCKED_TRIES - 1) + (True,):
            try:
                with self.engine.begin() as connection:
                    metadata.create_all(connection)
                    if connection.execute(sa.select(head.c.seq)).first() is None:
                        connection.execute(sa.insert(head).values(id=1, seq=0, hash=GENESIS))
            except (exc.OperationalError, exc.ProgrammingError, exc.IntegrityError) as error:
                if _says(error, "full"):
                    raise no_room(self.home) from error
                if last_try:
                    raise
            else:
                return


class Writer:
    """One write in progress: appends records and changes what is projected from them."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        connection.execute(sa.update(head).values(seq=head.c.seq))
        self._head: tuple[int, str] = (
            connection.execute(sa.select(head.c.seq, head.c.hash)).one()._tuple()
        )

    def append(self, entry: Entry) -> Record:
        seq, prev = self._head
        record = chained(seq + 1, datetime.now(UTC), entry, prev=prev)
        row = record.to_json()
        row["body"] = canonical(row["body"])
        self.connection.execute(sa.insert(records).values(row))
        self.connection.execute(sa.update(head).values(seq=record.seq, hash=record.hash))
        self._head = (record.seq, record.hash)
        return record


def read_record(row: sa.Row[Any]) -> Record:
    """The record a row of `records` holds. Raises ValueError when the row makes no sense."""
    return Record(
        seq=row.seq,
        time=datetime.fromisoformat(row.time),
        entry=Entry(
            phase=Phase(row.phase),
            site=row.site,
            op=row.op,
            step=row.step,
            target=row.target,
            attempt=row.attempt,
            epoch=row.epoch,
            run=row.run,
            plan_hash=row.plan_hash,
            inputs=row.inputs,
            reason=row.reason,
            body=loads(row.body),
        ),
        prev=row.prev,
        schema=row.schema,
        checksum=row.checksum,
        hash=row.hash,
    )


def loads(text: str) -> JsonObject:
    """A record's body. Raises ValueError when it is none."""
    body = json.loads(text)
    if not isinstance(body, dict):
        raise ValueError("a record's body is an object")  # noqa: TRY004
    return cast("JsonObject", body)


def no_room(home: Path) -> ParkedError:
    return ParkedError(f"no space left for the journal in {home}: make room and resume")


def is_no_room(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _prepare(home: Path) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if home.stat().st_mode & 0o077:
            home.chmod(0o700)
    except OSError as error:
        raise BadInputError(f"{home} cannot be used for the journal: {error.strerror}") from error


def _sqlite(path: Path) -> sa.Engine:
    try:
        # SQLite gives its -wal and -shm files the mode of the database file.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.fchmod(fd, 0o600)
        os.close(fd)
    except OSError as error:
        if is_no_room(error):
            raise no_room(path.parent) from error
        raise BadInputError(f"the journal {path} cannot be opened: {error.strerror}") from error
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_SECONDS},
        pool_size=8,
        max_overflow=64,
    )

    @event.listens_for(engine, "connect")
    def durable(connection: Any, _record: object) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.exec_driver_sql("BEGIN")

    return engine


@contextmanager
def _readable(home: Path) -> Iterator[None]:
    """A journal that its database cannot read is for a person to look at, not to be made anew."""
    try:
        yield
    except exc.DatabaseError as error:
        if _says(error, "malformed", "not a database", "no such table", "no such column"):
            raise NeedsHumanError(f"the journal in {home} is damaged: {error.orig}") from error
        raise


def _says(error: exc.DBAPIError, *words: str) -> bool:
    said = str(error.orig).lower()
    return any(word in said for word in words)
