"""What a record makes of the tables. They are written from it, and verified by saying the whole chain again. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table

from windlass.engine.chain import canonical
from windlass.engine.tables import approvals, freezes, locks, operations, runs, steps, stops

Row = Mapping[str, Any]
Key = tuple[Any, ...]

# Which columns tell a table's rows apart, and what a row is before any record says more.
KEYS: dict[Table, tuple[str, ...]] = {
    operations: ("id",),
    steps: ("operation", "key"),
    locks: ("site",),
    freezes: ("site",),
    approvals: ("operation", "plan_hash", "by"),
    stops: ("operation",),
    runs: ("operation", "run"),
}
FRESH: dict[Table, Row] = {
    operations: {"state": "planned", "reason": "", "message": "", "remains": "[]"},
    steps: {"state": "pending", "attempts": 0, "deaths": 0, "effects": 0, "message": ""},
}
# A sign of life is no record: between two of them the table alone knows the last one.
UNRECORDED = {"renewed"}


@dataclass(frozen=True)
class Change:
    """One row that is made or altered; removed where `values` is None."""

    table: Table
    key: Row
    values: Row | None


@dataclass(frozen=True)
class _Projection:
    """Which columns a kind of record states, always or when it has them, and which of them its time."""

    table: Table
    states: tuple[str, ...] = ()
    may_state: tuple[str, ...] = ()
    dated: tuple[str, ...] = ()
    removes: bool = False


_STEP = _Projection(
    steps,
    states=("action", "site"),
    may_state=(
        "state", "attempts", "deaths", "effects", "started", "ended", "intent", "deadline", "handle", "evidence",
        "message",
    ),
)  # fmt: skip
_STATED = ("site", "verb", "plan", "plan_hash", "origin", "parent", "version", "site_file")
_PROJECTIONS = {
    "operation": _Projection(operations, _STATED, dated=("created", "updated")),
    "state": _Projection(operations, ("state", "reason", "message", "remains"), dated=("updated",)),
    "run": _Projection(runs),
    "approval": _Projection(approvals, ("reason",), dated=("at",)),
    "stop": _Projection(stops, ("by",), dated=("at",)),
    "go-on": _Projection(stops, removes=True),
    "freeze": _Projection(freezes, ("reason", "by"), dated=("since",)),
    "thaw": _Projection(freezes, removes=True),
    "lock": _Projection(locks, ("epoch", "operation", "holder", "renewed")),
    "unlock": _Projection(locks, ("operation",)),
    **dict.fromkeys(
        ("intent", "gate", "effect", "ambiguous", "handle", "done", "failed", "parked"), _STEP
    ),
}


def change(kind: str, site: str, operation: str, body: Row, time: str) -> Change:
    """What one record makes of one row.

    Raises:
        KeyError: the body lacks what its kind needs, or there is no such kind.
    """
    how = _PROJECTIONS[kind]
    about = {**body, "site": site, "operation": operation, "id": operation, "key": body.get("step")}
    key = {name: about[name] for name in KEYS[how.table]}
    if how.removes:
        return Change(how.table, key, None)
    stated = {name: _cell(about[name]) for name in how.states}
    stated |= {name: _cell(body[name]) for name in how.may_state if name in body}
    return Change(how.table, key, stated | dict.fromkeys(how.dated, time))


def _cell(value: Any) -> Any:
    return canonical(value) if isinstance(value, dict | list) else value


class Replay:
    """The tables that a chain of records adds up to."""

    def __init__(self) -> None:
        self.rows: dict[Table, dict[Key, dict[str, Any]]] = {table: {} for table in KEYS}

    def hear(self, one: Change) -> None:
        """Take one more change, in the order of the chain."""
        rows, key = self.rows[one.table], _key(one.table, one.key)
        if one.values is None:
            rows.pop(key, None)
            return
        empty = dict.fromkeys(column.name for column in one.table.columns)
        row = rows.setdefault(key, {**empty, **FRESH.get(one.table, {}), **one.key})
        row.update(one.values)

    def differences(self, table: Table, rows: Iterable[Row]) -> Iterator[str]:
        """Where the table says something else than the records."""
        stands = {_key(table, row): row for row in rows}
        said = self.rows[table]
        for key in sorted({*said, *stands}):
            name = f"{table.name} {' '.join(str(part) for part in key)}"
            if key not in stands:
                yield f"{name}: the records tell of it and the table does not"
            elif key not in said:
                yield f"{name}: the table has it and no record tells of it"
            else:
                yield from _columns(name, said[key], stands[key])


def _columns(name: str, said: Row, stands: Row) -> Iterator[str]:
    for column in said:
        if column not in UNRECORDED and said[column] != stands[column]:
            shown = (str(value)[:80] for value in (stands[column], said[column]))
            yield "{} {}: the table says {}, the records say {}".format(name, column, *shown)


def _key(table: Table, row: Row) -> Key:
    return tuple(row[name] for name in KEYS[table])
