"""Where the evidence comes from: a lab's folder, a WINDLASS_HOME, and files that others kept. Nothing is changed.

The journal is read as a database, not through the engine that wrote it.
"""

import http.client
import json
import re
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from windlass.lab.observer.evidence import Acknowledged, Event, Evidence, Head, Record

# What the kernel says about a lock: its kind, the process that has it, the file's inode.
_LOCK = re.compile(
    r"^\d+: FLOCK +ADVISORY +WRITE (?P<pid>\d+) \w+:\w+:(?P<inode>\d+) ", re.MULTILINE
)
_COLUMNS = ("seq", "time", "kind", "site", "operation", "body", "previous", "hash")
_LOOKED = Path("/proc/locks")


def read_oplog(lab: Path) -> tuple[Event, ...]:
    with (lab / "oplog.jsonl").open() as file:
        return tuple(Event.of(json.loads(line)) for line in file)


def read_journal(home: Path) -> tuple[tuple[Record, ...], Head | None]:
    """The chain of a journal and where the journal says that it ends."""
    with closing(sqlite3.connect(f"file:{home / 'journal.db'}?mode=ro", uri=True)) as db:
        records = db.execute(f"select {', '.join(_COLUMNS)} from records order by seq").fetchall()
        head = db.execute("select seq, hash from head").fetchone()
    return tuple(Record(*row) for row in records), Head(*head) if head else None


def read_acknowledged(path: Path) -> tuple[Acknowledged, ...]:
    """From JSON lines with `seq` and `hash`: an export, or what a writer was told."""
    with path.open() as file:
        lines = [json.loads(line) for line in file]
    return tuple(Acknowledged(line["seq"], line["hash"]) for line in lines)


class _Control(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("lab", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def read_truth(lab: Path) -> dict[str, Any] | None:
    """The world as it is; None when the lab does not run."""
    control = _Control(lab / "control.sock")
    with closing(control):
        try:
            control.request("GET", "/state")
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        return json.loads(control.getresponse().read())


def read_living(home: Path) -> frozenset[str]:
    """HOST:PID of every process of this machine that has a site's lock; the locks are not touched."""
    inodes = {path.stat().st_ino for path in (home / "locks").glob("*.lock")}
    here = socket.gethostname()
    return frozenset(
        f"{here}:{found['pid']}"
        for found in _LOCK.finditer(_LOOKED.read_text())
        if int(found["inode"]) in inodes
    )


def read(
    lab: Path, home: Path, witness: Path | None = None, *, grace: float = 5, patience: float = 60
) -> Evidence:
    """All of it, now; see `Evidence` for the two limits, which are seconds."""
    # Who lives is read before what they wrote: one that ends meanwhile has written its end.
    living = read_living(home)
    records, head = read_journal(home)
    # Effects are read before the truth, which is younger then than all of them.
    events = read_oplog(lab)
    return Evidence(
        events=events,
        records=records,
        head=head,
        truth=read_truth(lab),
        acknowledged=read_acknowledged(witness) if witness else (),
        living=living,
        now=time.time(),
        grace=grace,
        patience=patience,
    )
