"""What the observer judges by: effects that took place, records that were written, plans, and the world as it is.

Times are seconds since 1970. The lab's clock is the machine's own, and so is the journal's: on one machine times of
both compare, to the millisecond that the oplog keeps. Order within one source is by `seq`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

GENESIS = "0" * 64
# The oplog cuts its times to milliseconds; half a record's way to the disk may lie between the two.
SAME_S = 0.002


@dataclass(frozen=True)
class Violation:
    """An invariant that does not hold, where it shows, and why."""

    invariant: str
    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.invariant} at {self.where}: {self.why}"


@dataclass(frozen=True)
class Event:
    """One line of the oplog. `run` is a Windlass operation when it carries an epoch."""

    seq: int
    time: float
    run: str
    epoch: int | None
    verb: str
    target: str
    before: Any = None
    after: Any = None

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "Event":
        return cls(
            line["seq"], seconds(line["time"]), line["run"], line["epoch"], line["verb"], line["target"],
            line["before"], line["after"],
        )  # fmt: skip

    @property
    def by_windlass(self) -> bool:
        return self.epoch is not None

    @property
    def where(self) -> str:
        return f"event {self.seq} ({self.verb} {self.target})"

    def say(self, word: str, of: str = "after") -> Any:
        """A field of `after` or `before`, when that is an object."""
        told: Any = self.after if of == "after" else self.before
        return told.get(word) if isinstance(told, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]


@dataclass(frozen=True)
class Record:
    """One record of the journal's chain, as it is stored: `text` is the body that the hash covers."""

    seq: int
    stamp: str
    kind: str
    site: str
    operation: str
    text: str
    previous: str
    hash: str

    @cached_property
    def body(self) -> dict[str, Any]:
        return json.loads(self.text)

    @property
    def time(self) -> float:
        return seconds(self.stamp)

    @property
    def where(self) -> str:
        return f"record {self.seq} ({self.kind})"

    @property
    def true_hash(self) -> str:
        """What the hash must be."""
        covered = [
            self.seq, self.stamp, self.kind, self.site, self.operation, self.text, self.previous,
        ]  # fmt: skip
        return hashlib.sha256(canonical({"record": covered}).encode()).hexdigest()


@dataclass(frozen=True)
class Planned:
    """One step of an approved plan."""

    key: str
    action: str
    target: str
    risk: str
    inputs: Mapping[str, Any]

    @property
    def is_gate(self) -> bool:
        return self.risk == "read"


@dataclass(frozen=True)
class Operation:
    """One operation as its first record has it."""

    id: str
    site: str
    verb: str
    request: Mapping[str, Any]
    steps: tuple[Planned, ...]
    parent: str | None
    created: float


@dataclass(frozen=True)
class Head:
    """Where the journal says that its chain ends."""

    seq: int
    hash: str


@dataclass(frozen=True)
class Acknowledged:
    """A record that somebody was told is written: by an export, or by the call that wrote it."""

    seq: int
    hash: str


@dataclass(frozen=True)
class Evidence:
    """Everything there is to judge by. `truth` is the lab's GET /state, None when no lab answers.

    `living` names the lock holders ("host:pid") that were seen alive at `now`; `grace` is how many seconds after a
    freeze an effect may still begin, `patience` how many an operation may be without an end or a process.
    """

    events: tuple[Event, ...]
    records: tuple[Record, ...] = ()
    head: Head | None = None
    truth: Mapping[str, Any] | None = None
    acknowledged: tuple[Acknowledged, ...] = ()
    living: frozenset[str] = frozenset()
    now: float = 0
    grace: float = 5
    patience: float = 600
    notes: list[str] = field(default_factory=list[str])

    @cached_property
    def operations(self) -> dict[str, Operation]:
        return {r.operation: _operation(r) for r in self.records if r.kind == "operation"}

    def of_kind(self, *kinds: str) -> Iterable[Record]:
        return (record for record in self.records if record.kind in kinds)

    @cached_property
    def by_windlass(self) -> tuple[Event, ...]:
        return tuple(event for event in self.events if event.by_windlass)

    @cached_property
    def vm_names(self) -> dict[int, str]:
        """What every VM that there ever was is called."""
        vms = (self.truth or {}).get("proxmox", {}).get("vms", {})
        names = {int(vmid): str(vm["name"]) for vmid, vm in vms.items()}
        created = [event for event in self.events if event.verb == "vm_create"]
        return names | {vmid_of(e.target): str(e.say("name")) for e in created if e.say("name")}

    @cached_property
    def member_names(self) -> dict[str, str]:
        """The machine of every member that etcd ever had."""
        born = {e.say("member"): e.target for e in self.events if e.verb == "bootstrap"}
        return born | {e.after: e.target for e in self.events if e.verb == "etcd_join"}

    def machine(self, event: Event) -> str:
        """The machine that an effect befell: itself, the one that is that VM, or the one whose member is removed."""
        if event.target.startswith("vm/"):
            return self.vm_names.get(vmid_of(event.target), event.target)
        if event.verb == "etcd_remove":
            return self.member_names.get(event.before, event.target)
        return event.target


def vmid_of(target: str) -> int:
    """The number in `vm/NUMBER`."""
    return int(target.removeprefix("vm/"))


def canonical(body: Mapping[str, Any]) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _operation(record: Record) -> Operation:
    plan = record.body["plan"]
    steps = tuple(
        Planned(s["key"], s["action"], s["target"], s["risk"], s["inputs"]) for s in plan["steps"]
    )
    return Operation(
        record.operation, record.site, plan["verb"], plan["request"], steps,
        record.body.get("parent"), record.time,
    )  # fmt: skip
