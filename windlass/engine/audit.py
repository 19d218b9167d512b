"""Whether a journal is whole and unaltered: every record's hash, and every table against what the records add up to."""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, select

from windlass.engine.chain import problems
from windlass.engine.projections import KEYS, Replay, change
from windlass.engine.tables import head, operations, records
from windlass.models.plan import Plan


def audit(db: Connection) -> list[str]:
    """What is wrong, in words; empty when nothing is. `db` has to show one moment of the journal."""
    chain = [
        dict(row) for row in db.execute(select(records).order_by(records.c.seq)).mappings().all()
    ]
    return [*problems(chain), *_end(db, chain), *_tables(db, chain), *_plans(db)]


def _end(db: Connection, chain: list[dict[str, Any]]) -> Iterator[str]:
    end = db.execute(select(head.c.seq, head.c.hash)).first()
    if chain and (end is None or tuple(end) != (chain[-1]["seq"], chain[-1]["hash"])):
        yield f"the chain ends at record {chain[-1]['seq']}, but {end and end.seq} were written"
    if not chain and end is not None:
        yield f"the chain is empty, but {end.seq} records were written"


def _tables(db: Connection, chain: list[dict[str, Any]]) -> Iterator[str]:
    replay = Replay()
    for record in chain:
        try:
            replay.hear(
                change(
                    record["kind"], record["site"], record["operation"],
                    json.loads(record["body"]), record["time"],
                )
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            yield f"record {record['seq']} cannot be read: {error!r}"
    for table in KEYS:
        rows = ({str(k): v for k, v in row.items()} for row in db.execute(select(table)).mappings())
        yield from replay.differences(table, rows)


def _plans(db: Connection) -> Iterator[str]:
    for row in db.execute(select(operations)).all():
        try:
            is_whole = Plan.from_json(json.loads(row.plan)).hash == row.plan_hash
        except (ValueError, KeyError, TypeError):
            is_whole = False
        if not is_whole:
            yield f"operation {row.id} has a plan that is not the one it was created with"
