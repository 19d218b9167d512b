"""One writer a site: a lease in the journal with a fencing epoch, backed by a kernel lock that death releases.

`flock` on the file that is now at `locks/SITE.lock` answers for processes of this machine. Whoever gets it has the
site: the holder before is dead or has let go, and the next one goes on once the call that was interrupted can no longer
be under way. A stopped holder keeps its flock but cannot renew its lease. Once that has run out, and the holder gives
no sign while it is watched, another one takes over: in the transaction that raises the epoch, and only if the holder's
last sign is unchanged, it puts a new file, already locked, in the place of the old one. The stopped process is left
with a lock on a file that nobody looks at; woken, it finds that its epoch makes no effect and no record any more.
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
from pathlib import Path
from threading import Event

from sqlalchemy.exc import DBAPIError

from windlass.engine.journal import Journal
from windlass.engine.records import Holder
from windlass.errors import BusyError, NotReadyError, UnreachableError, WindlassError
from windlass.waiting import Pace, wait_for

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
# A renewal that is late by this share of the lease means that nobody knows any more who writes.
MARGIN = 3
# Renewals in one lease: several may be late before it counts.
BEATS = 10


@dataclass
class Hold:
    """The lock while it is held; every effect asks `check` first."""

    journal: Journal
    site: str
    epoch: int
    lease: timedelta
    renewed: float

    def let_calls_end(self, stop: Event) -> None:
        """A call that a dead holder sent may still arrive: until its own deadline, nothing is begun.

        Raises:
            ParkedError: `stop` was set meanwhile.
        """
        until = self.journal.calls_end(self.site)

        def passed() -> None:
            left = until - time.time()
            if left > 0:
                raise NotReadyError(
                    f"{left:.1f} s until the call that was interrupted has run out of time"
                )

        wait_for(
            "the interrupted call to end", passed,
            timeout=timedelta(seconds=max(until - time.time(), 0) + 1),
            pace=Pace(first=timedelta(seconds=0.05), longest=timedelta(seconds=0.5)), stop=stop,
        )  # fmt: skip

    def check(self) -> None:
        """Raise BusyError when somebody else is the writer now, or when that cannot be known."""
        current = self.journal.holder(self.site)
        if current is None or current.epoch != self.epoch:
            by = f"operation {current.operation} (epoch {current.epoch})" if current else "nobody"
            raise BusyError(f"{self.site} is now held by {by}; epoch {self.epoch} writes no more")
        if time.monotonic() - self.renewed > self.lease.total_seconds() * (1 - 1 / MARGIN):
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
        """Hold the site for as long as the block lasts; `stop` is set when somebody else took it meanwhile.

        Raises:
            BusyError: another operation holds it; names it.
        """
        journal, site, lease = self.journal, self.site, self.lease
        folder = journal.home / "locks"
        folder.mkdir(mode=0o700, exist_ok=True)
        fd, epoch = self._acquire(operation, run)
        try:
            hold = Hold(journal, site, epoch, lease, time.monotonic())
            ended = Event()
            heart = threading.Thread(
                target=_beat, args=(hold, ended, stop), name=f"lease-{site}", daemon=True
            )
            heart.start()
            try:
                yield hold
            finally:
                ended.set()
                heart.join()
                self._release(epoch)
        finally:
            os.close(fd)

    def _release(self, epoch: int) -> None:
        try:
            self.journal.release(self.site, epoch)
        except (WindlassError, DBAPIError) as error:
            # The kernel frees the file all the same; only the journal still names the holder.
            logger.warning("the release of %s could not be recorded: %s", self.site, error)

    @property
    def path(self) -> Path:
        return self.journal.home / "locks" / f"{self.site}.lock"

    def is_held(self) -> bool:
        """A living process, or one that is stopped, has the site."""
        if not self.path.exists():
            return False
        fd = self._flock()
        if fd is None:
            return True
        os.close(fd)
        return False

    def _acquire(self, operation: str, run: str) -> tuple[int, int]:
        """The locked file and the new epoch."""
        fd = self._flock()
        if fd is None:
            return self._take_over(operation, run)

        def admit(_last: Holder | None) -> None:
            if not _is_at(self.path, fd):
                raise BusyError(f"{self.site} was taken by another operation just now")

        with _closed_unless_kept(fd):
            return fd, self.journal.next_epoch(
                self.site, operation, _holder(run, self.lease), admit
            )

    def _take_over(self, operation: str, run: str) -> tuple[int, int]:
        silent = self._silent()
        fresh = self.path.with_name(f"{self.site}.{os.getpid()}.{time.monotonic_ns()}")
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)

        def admit(last: Holder | None) -> None:
            if last is None or (last.epoch, last.renewed) != (silent.epoch, silent.renewed):
                raise BusyError(f"{self.site} was taken by another operation just now")
            fresh.replace(self.path)

        with _closed_unless_kept(fd):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                epoch = self.journal.next_epoch(
                    self.site, operation, _holder(run, self.lease), admit
                )
            except BaseException:
                fresh.unlink(missing_ok=True)
                raise
        logger.warning(
            "took %s over from operation %s: it gave no sign", self.site, silent.operation
        )
        return fd, epoch

    def _silent(self) -> Holder:
        """The holder whose lease ran out and who gives no sign while it is watched; BusyError otherwise."""
        first = self.journal.holder(self.site)
        if first is None:
            raise BusyError(f"{self.site} is just being let go by another operation: try again")
        if time.time() - first.renewed > first.lease.total_seconds():
            Event().wait(first.lease.total_seconds() / MARGIN)
            if self.journal.holder(self.site) == first:
                return first
        raise BusyError(
            f"{self.site} is held by operation {first.operation} (process {first.pid} on {first.host}): "
            f"wait for it, or windlass cancel {first.operation}"
        )

    def _flock(self) -> int | None:
        """A descriptor that has the file now at the path; None: a living process has it."""
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
            if _is_at(self.path, fd):
                return fd
            os.close(fd)


@contextmanager
def _closed_unless_kept(fd: int) -> Generator[None]:
    """Close the descriptor when the block fails."""
    try:
        yield
    except BaseException:
        os.close(fd)
        raise


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _holder(run: str, lease: timedelta) -> str:
    who = {"run": run, "pid": os.getpid(), "host": socket.gethostname()}
    return json.dumps({**who, "lease": lease.total_seconds()})


def _beat(hold: Hold, ended: Event, stop: Event) -> None:
    """Renew the lease; when somebody else has the site, everything that waits here stops."""
    while not ended.wait(hold.lease.total_seconds() / BEATS):
        began = time.monotonic()
        try:
            if not hold.journal.renew(hold.site, hold.epoch):
                stop.set()
                return
            hold.renewed = began
        except UnreachableError as error:
            logger.warning("the lease on %s could not be renewed: %s", hold.site, error)
