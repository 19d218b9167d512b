"""Journals, and an operation, that do not do what they must: what the planted bugs of the engine are made of."""

import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, select, update

from windlass.engine.journal import Journal
from windlass.engine.operation import Acting
from windlass.engine.records import Freeze, Holder, Operation
from windlass.engine.tables import head, locks
from windlass.models.plan import JsonObject


class DeafJournal(Journal):
    """Does not look whether a site is frozen."""

    def frozen(self, site: str) -> Freeze | None:  # noqa: ARG002 - that is the bug
        return None


class SilentJournal(Journal):
    """Writes no record of a call."""

    def write_step(
        self,
        operation: Operation,
        key: str,
        kind: str,
        body: JsonObject,
        *,
        epoch: int | None = None,
    ) -> None:
        if kind != "effect":
            super().write_step(operation, key, kind, body, epoch=epoch)


class SameEpochJournal(Journal):
    """Gives the epoch out that it gave out last."""

    def next_epoch(
        self,
        site: str,
        operation: str,
        holder: str,
        admit: Callable[[Holder | None], None] = lambda _last: None,  # noqa: ARG002 - part of the bug
    ) -> int:
        with self._writing() as db:
            epoch = db.scalar(select(locks.c.epoch).where(locks.c.site == site))
            now = {"operation": operation, "holder": holder, "renewed": time.time()}
            db.execute(update(locks).where(locks.c.site == site).values(**now))
        assert isinstance(epoch, int)
        return epoch


class WitnessedJournal(Journal):
    """Tells what it acknowledged."""

    def __init__(self, engine: Engine, home: Path) -> None:
        super().__init__(engine, home)
        self.told: dict[int, str] = {}

    @contextmanager
    def _writing(self) -> Generator[Connection]:
        with super()._writing() as db:
            yield db
            end = db.execute(select(head.c.seq, head.c.hash)).first()
        if end is not None:
            self.told[end.seq] = end.hash

    def lose_power(self) -> None:
        """Nothing is left of this journal but what is on the disk."""
        self._engine.dispose()

    def write_told(self, path: Path) -> Path:
        lines = [json.dumps({"seq": seq, "hash": hash_}) for seq, hash_ in self.told.items()]
        path.write_text("\n".join(lines) + "\n")
        return path


class UnsyncedJournal(WitnessedJournal):
    """Acknowledges what is nowhere but in its memory."""

    def __init__(self, engine: Engine, home: Path) -> None:
        super().__init__(engine, home)
        self._turn = threading.RLock()
        self._kept = engine.connect()
        self._kept.begin()

    @contextmanager
    def _writing(self) -> Generator[Connection]:
        with self._turn:
            yield self._kept
            end = self._kept.execute(select(head.c.seq, head.c.hash)).first()
            if end is not None:
                self.told[end.seq] = end.hash

    @contextmanager
    def _reading(self) -> Generator[Connection]:
        with self._turn:
            yield self._kept

    def lose_power(self) -> None:
        self._kept.close()
        super().lose_power()


class ForgetfulActing(Acting):
    """Does not write down how it ended."""

    @contextmanager
    def _recorded(self, operation: Operation, epoch: int) -> Generator[None]:  # noqa: ARG002 - that is the bug
        yield
