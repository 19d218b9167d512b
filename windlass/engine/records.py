"""One line of the journal: what it says, how it is chained to the one before, and how both are checked.

Pure values; where they are stored is `database.py`'s affair.
"""

import hashlib
import json
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from windlass.models.plan import Json, JsonObject

# Raised when a record, or what a resume concludes from records, changes its meaning.
SCHEMA = 1

# What the first record names as the one before it.
GENESIS = "sha256:" + "0" * 64


class Phase(StrEnum):
    """What a record says. The first group is about a step, the second about an operation or a site."""

    LOOK = "LOOK"
    """An attempt began by observing: a gate, or a step whose earlier effect is not settled."""
    INTENT = "INTENT"
    """The effect is about to be made; durable before it is."""
    HANDLE = "HANDLE"
    """The call returned, or its trace was found; the body has the handle (null: it had none)."""
    DONE = "DONE"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    PARKED = "PARKED"

    CREATED = "CREATED"
    STATE = "STATE"
    RUN = "RUN"
    APPROVED = "APPROVED"
    STOP = "STOP"
    EPOCH = "EPOCH"
    FROZEN = "FROZEN"
    THAWED = "THAWED"


STEP_PHASES = frozenset(
    {
        Phase.LOOK,
        Phase.INTENT,
        Phase.HANDLE,
        Phase.DONE,
        Phase.FAILED,
        Phase.REFUSED,
        Phase.PARKED,
    }
)
CLOSING = frozenset({Phase.DONE, Phase.FAILED, Phase.REFUSED, Phase.PARKED})


class Sent(StrEnum):
    """What is known of an attempt's effect when its record was written."""

    NO = "no"
    """Nothing left this process."""
    REFUSED = "refused"
    """The target answered, and said no."""
    UNKNOWN = "unknown"
    """It may have left; no answer came."""
    YES = "yes"
    """The call returned."""


@dataclass(frozen=True)
class Entry:
    """What somebody wants written. `epoch` 0 and empty strings mean "does not apply"."""

    phase: Phase
    site: str
    op: str = ""
    step: str = ""
    target: str = ""
    attempt: int = 0
    epoch: int = 0
    run: str = ""
    plan_hash: str = ""
    inputs: str = ""
    reason: str = ""
    body: JsonObject = field(default_factory=dict[str, Json])


@dataclass(frozen=True)
class Record:
    """An entry as it was written: numbered, timed, chained."""

    seq: int
    time: datetime
    entry: Entry
    prev: str
    schema: int
    checksum: str
    hash: str

    @property
    def phase(self) -> Phase:
        return self.entry.phase

    @property
    def body(self) -> JsonObject:
        return self.entry.body

    def to_json(self) -> dict[str, Any]:
        """The record as one JSON object, chain included, as it is exported."""
        return _content(self.seq, self.time, self.entry, self.prev, self.schema) | {
            "checksum": self.checksum,
            "hash": self.hash,
        }

    def problems(self, prev: str) -> list[str]:
        """What is wrong with this record when `prev` is the hash of the one before it."""
        again = chained(self.seq, self.time, self.entry, prev=self.prev, schema=self.schema)
        found: list[str] = []
        if again.checksum != self.checksum:
            found.append(f"record {self.seq}: its checksum does not fit its content")
        if again.hash != self.hash:
            found.append(f"record {self.seq}: its hash does not fit its content")
        if self.prev != prev:
            found.append(f"record {self.seq}: it does not follow the record before it")
        return found


def chained(seq: int, time: datetime, entry: Entry, *, prev: str, schema: int = SCHEMA) -> Record:
    """The record that `entry` becomes after the record whose hash is `prev`."""
    content = canonical(_content(seq, time, entry, prev, schema)).encode()
    return Record(
        seq=seq,
        time=time,
        entry=entry,
        prev=prev,
        schema=schema,
        checksum=f"{zlib.crc32(content):08x}",
        hash="sha256:" + hashlib.sha256(content).hexdigest(),
    )


def canonical(value: Any) -> str:
    """The one way a value is written where its bytes matter."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    return "sha256:" + hashlib.sha256(canonical(value).encode()).hexdigest()


def _content(seq: int, time: datetime, entry: Entry, prev: str, schema: int) -> dict[str, Any]:
    return {
        "seq": seq,
        "time": time.isoformat(timespec="microseconds"),
        "phase": entry.phase.value,
        "site": entry.site,
        "op": entry.op,
        "step": entry.step,
        "target": entry.target,
        "attempt": entry.attempt,
        "epoch": entry.epoch,
        "run": entry.run,
        "plan_hash": entry.plan_hash,
        "inputs": entry.inputs,
        "reason": entry.reason,
        "body": entry.body,
        "schema": schema,
        "prev": prev,
    }
