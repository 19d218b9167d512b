"""Durable state of the lab: named sections of JSON documents, on disk as soon as they are written.

A lab that is killed and started again on the same folder has the same VMs, disks and objects. SQLite is told not
to wait for the platter: the lab survives its own death, not a power cut, and says so.
"""

import sqlite3
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import orjson

Document = dict[str, Any]


class Store:
    """One SQLite file; all access from the lab's event loop."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS documents"
            " (section TEXT, key TEXT, body BLOB, PRIMARY KEY (section, key)) WITHOUT ROWID"
        )

    def section(self, name: str) -> "Section":
        return Section(self._db, name)

    def close(self) -> None:
        self._db.close()


class Section(MutableMapping[str, Document]):
    """A mapping from key to document. What is read is a copy: change it, then assign it back."""

    def __init__(self, db: sqlite3.Connection, name: str) -> None:
        self._db = db
        self._name = name

    def __getitem__(self, key: str) -> Document:
        row = self._db.execute(
            "SELECT body FROM documents WHERE section=? AND key=?", (self._name, key)
        ).fetchone()
        if row is None:
            raise KeyError(key)
        return orjson.loads(row[0])

    def __setitem__(self, key: str, value: Document) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)",
            (self._name, key, orjson.dumps(value)),
        )

    def __delitem__(self, key: str) -> None:
        gone = self._db.execute(
            "DELETE FROM documents WHERE section=? AND key=?", (self._name, key)
        )
        if not gone.rowcount:
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        rows = self._db.execute(
            "SELECT key FROM documents WHERE section=? ORDER BY key", (self._name,)
        ).fetchall()
        return iter([key for (key,) in rows])

    def __len__(self) -> int:
        return self._db.execute(
            "SELECT count(*) FROM documents WHERE section=?", (self._name,)
        ).fetchone()[0]

    def clear(self) -> None:
        self._db.execute("DELETE FROM documents WHERE section=?", (self._name,))
