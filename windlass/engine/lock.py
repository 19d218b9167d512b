"""One writer a site: a lease in the journal with a fencing epoch, backed by a kernel lock that death releases.

`flock` on `locks/SITE.lock` answers for processes of this machine: a dead holder has none, and the next one goes on
once the call that was interrupted can no longer be under way. A stopped holder keeps its flock but cannot renew its
lease: once that has run out another one takes over by epoch, and the woken process finds that it writes no more.
"""

import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import IO

from windlass.engine.journal import Journal
from windlass.engine.records import Holder
from windlass.errors import BusyError, NotReadyError, UnreachableError
from windlass.waiting import Pace, wait_for

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
# A renewal that is late by this share of the lease means that nobody knows any more who writes.
MARGIN = 3


@dataclass
class Hold:
    """The lock while it is held; every effect asks `check` first."""

    journal: Journal
    site: str
    epoch: int
    lease: timedelta
    renewed: float

    def check(self) -> None:
        """Raise BusyError when somebody else is the writer now, or when that cannot be known."""
        current = self.journal.holder(self.site)
        if current is None or current.epoch != self.epoch:
            by = f"operation {current.operation} (epoch {current.epoch})" if current else "nobody"
            raise BusyError(f"{self.site} is now held by {by}; epoch {self.epoch} writes no more")
        if time.time() - self.renewed > self.lease.total_seconds() * (1 - 1 / MARGIN):
            raise BusyError(
                f"the lease on {self.site} could not be renewed in time; nothing more is begun"
            )


@dataclass(frozen=True)
class SiteLock:
    """The lock of one site in one journal."""

    journal: Journal
    site: str
    lease: timedelta = LEASE

    @contextmanager
    def hold(self, operation: str, *, run: str, stop: Event) -> Generator[Hold]:
        """Hold the site for as long as the block lasts.

        Raises:
            BusyError: another operation holds it; names it.
            ParkedError: `stop` was set while an interrupted call was waited for.
        """
        journal, site, lease = self.journal, self.site, self.lease
        folder = journal.home / "locks"
        folder.mkdir(mode=0o700, exist_ok=True)
        with (folder / f"{site}.lock").open("a") as file:
            _lock(file, journal, site, lease)
            _let_calls_end(journal, site, stop)
            epoch = journal.next_epoch(site, operation, _holder(run))
            hold = Hold(journal, site, epoch, lease, time.time())
            ended = Event()
            heart = threading.Thread(
                target=_beat, args=(hold, ended), name=f"lease-{site}", daemon=True
            )
            heart.start()
            try:
                yield hold
            finally:
                ended.set()
                heart.join()
                journal.release(site, epoch)


def _holder(run: str) -> str:
    return json.dumps({"run": run, "pid": os.getpid(), "host": socket.gethostname()})


def _lock(file: IO[str], journal: Journal, site: str, lease: timedelta) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = journal.holder(site)
        if holder is None or _is_silent(holder, lease):
            # Its process is there and does nothing: stopped, or hung. The epoch fences it.
            logger.warning("taking over %s: its holder has not renewed its lease", site)
            return
        raise BusyError(
            f"{site} is held by operation {holder.operation} (process {holder.pid} on {holder.host}): "
            f"wait for it, or windlass cancel {holder.operation}"
        ) from error


def _is_silent(holder: Holder, lease: timedelta) -> bool:
    return time.time() - holder.renewed > lease.total_seconds()


def _let_calls_end(journal: Journal, site: str, stop: Event) -> None:
    """A call that a dead holder sent may still arrive: until its own deadline, nothing is begun."""
    until = journal.calls_end(site)

    def passed() -> None:
        left = until - time.time()
        if left > 0:
            raise NotReadyError(
                f"{left:.1f} s until the call that was interrupted has run out of time"
            )

    wait_for(
        "the interrupted call to end", passed, timeout=timedelta(seconds=max(until - time.time(), 0) + 1),
        pace=Pace(first=timedelta(seconds=0.05), longest=timedelta(seconds=0.5)), stop=stop,
    )  # fmt: skip


def _beat(hold: Hold, ended: Event) -> None:
    while not ended.wait(hold.lease.total_seconds() / MARGIN):
        try:
            if hold.journal.renew(hold.site, hold.epoch):
                hold.renewed = time.time()
        except UnreachableError as error:
            logger.warning("the lease on %s could not be renewed: %s", hold.site, error)
