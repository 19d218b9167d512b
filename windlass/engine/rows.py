"""Rows of the journal's tables as the records they stand for."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from windlass.engine.records import Holder, Operation, OperationState, StepState
from windlass.models.plan import Plan


def holder_of(row: Any) -> Holder | None:
    if row is None or not row.operation:
        return None
    who = json.loads(row.holder)
    return Holder(
        site=row.site,
        epoch=row.epoch,
        operation=row.operation,
        run=who["run"],
        pid=who["pid"],
        host=who["host"],
        renewed=row.renewed,
        lease=timedelta(seconds=who["lease"]),
    )


def operation_of(row: Any, *, runs: Sequence[str]) -> Operation:
    return Operation(
        id=row.id, site=row.site, verb=row.verb, plan=Plan.from_json(json.loads(row.plan)),
        plan_hash=row.plan_hash, state=OperationState(row.state), reason=row.reason, message=row.message,
        remains=tuple(json.loads(row.remains)), origin=row.origin, parent=row.parent, version=row.version,
        site_file=row.site_file, created=moment(row.created), updated=moment(row.updated), runs=tuple(runs),
    )  # fmt: skip


def step_of(row: Any) -> StepState:
    return StepState(
        key=row.key, state=row.state, attempts=row.attempts, deaths=row.deaths, effects=row.effects,
        started=moment(row.started) if row.started else None,
        ended=moment(row.ended) if row.ended else None,
        intent=moment(row.intent) if row.intent else None,
        deadline=timedelta(seconds=row.deadline) if row.deadline is not None else None,
        handle=json.loads(row.handle) if row.handle else None,
        evidence=json.loads(row.evidence) if row.evidence else None,
        message=row.message,
    )  # fmt: skip


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
