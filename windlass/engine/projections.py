"""What the journal's tables must say, if its records are true. Pure: records and rows in, differences out."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]

# What a step's record makes of its state; the other kinds leave it as it is.
STATES = {
    "intent": "intent",
    "gate": "running",
    "handle": "running",
    "done": "done",
    "failed": "failed",
    "parked": "parked",
}


@dataclass
class Said:
    """What a chain of records adds up to."""

    plans: dict[str, str] = field(default_factory=dict[str, str])
    states: dict[str, str] = field(default_factory=dict[str, str])
    steps: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    epochs: dict[str, int] = field(default_factory=dict[str, int])
    freezes: set[str] = field(default_factory=set[str])
    approvals: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])
    stops: set[str] = field(default_factory=set[str])

    def hear(self, record: Row) -> None:
        """Take one more record, in the order of the chain."""
        kind, site, operation = record["kind"], record["site"], record["operation"]
        body: dict[str, Any] = json.loads(record["body"])
        match kind:
            case "operation":
                self.plans[operation] = body["plan_hash"]
                self.states[operation] = "planned"
            case "state":
                self.states[operation] = body["state"]
            case "lock":
                self.epochs[site] = body["epoch"]
            case "approval":
                self.approvals.add((operation, body["plan_hash"], body["by"]))
            case _ if kind in STATES:
                self.steps[operation, body["step"]] = STATES[kind]
            case _:
                self._hear_flag(kind, site, operation)

    def _hear_flag(self, kind: str, site: str, operation: str) -> None:
        match kind:
            case "freeze":
                self.freezes.add(site)
            case "thaw":
                self.freezes.discard(site)
            case "stop":
                self.stops.add(operation)
            case "go-on":
                self.stops.discard(operation)
            case _:
                pass


@dataclass(frozen=True)
class Tables:
    """The rows of the tables that records are projected to."""

    operations: Iterable[Row]
    steps: Iterable[Row]
    locks: Iterable[Row]
    freezes: Iterable[Row]
    approvals: Iterable[Row]
    stops: Iterable[Row]


def differences(records: Iterable[Row], tables: Tables) -> list[str]:
    """Where a table says something else than the records; a record that cannot be read is one, too."""
    said, found = Said(), list[str]()
    for record in records:
        try:
            said.hear(record)
        except (ValueError, KeyError, TypeError) as error:
            found.append(f"record {record['seq']} cannot be read: {error!r}")
    operations = list(tables.operations)
    return [
        *found,
        *_between("plan of operation", said.plans, {r["id"]: r["plan_hash"] for r in operations}),
        *_between("state of operation", said.states, {r["id"]: r["state"] for r in operations}),
        *_between(
            "step", said.steps, {(r["operation"], r["key"]): r["state"] for r in tables.steps}
        ),
        *_between("epoch of", said.epochs, {r["site"]: r["epoch"] for r in tables.locks}),
        *_between("freeze of", _all(said.freezes), _all(r["site"] for r in tables.freezes)),
        *_between(
            "approval of",
            _all(said.approvals),
            _all((r["operation"], r["plan_hash"], r["by"]) for r in tables.approvals),
        ),
        *_between("stop of", _all(said.stops), _all(r["operation"] for r in tables.stops)),
    ]


def _all(keys: Iterable[Any]) -> dict[Any, Any]:
    return dict.fromkeys(keys, "yes")


def _between(what: str, said: Mapping[Any, Any], stands: Mapping[Any, Any]) -> list[str]:
    return [
        f"{what} {_name(key)}: the table says {stands.get(key, 'nothing')}, "
        f"the records say {said.get(key, 'nothing')}"
        for key in sorted({*said, *stands})
        if said.get(key) != stands.get(key)
    ]


def _name(key: object) -> str:
    if isinstance(key, tuple):
        return " ".join(str(part) for part in key)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return str(key)
