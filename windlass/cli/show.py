"""One operation: its plan, how far each step came, and who approved it."""

import argparse

from windlass.cli import exits, journals, printing
from windlass.engine.journal import Journal, Operation, StepState
from windlass.models.plan import Step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operation", help="its id, or the beginning of it")


def run(args: argparse.Namespace) -> int:
    journal = journals.open_journal()
    operation = journal.operation(args.operation)
    states = journal.step_states(operation.id)
    if args.json:
        printing.say_json(_as_json(operation, states))
        return exits.DONE
    printing.say(_heading(operation, journal))
    printing.table(
        ["phase", "step", "state", "took", "said"],
        [_row(step, states.get(step.key)) for step in operation.plan],
    )
    return exits.DONE


def _as_json(operation: Operation, states: dict[str, StepState]) -> dict[str, object]:
    return {
        **journals.brief(operation),
        "message": operation.message,
        "remains": list(operation.remains),
        "created": operation.created.isoformat(),
        "updated": operation.updated.isoformat(),
        "parent": operation.parent,
        "runs": list(operation.runs),
        "steps": [_step(step, states.get(step.key)) for step in operation.plan],
    }


def _step(step: Step, state: StepState | None) -> dict[str, object]:
    return {
        "key": step.key,
        "waits_for": list(step.waits_for),
        "phase": step.phase,
        "risk": step.risk.value,
        "state": "pending" if state is None else state.state,
        "attempts": 0 if state is None else state.attempts,
        "started": state.started.isoformat() if state and state.started else None,
        "ended": state.ended.isoformat() if state and state.ended else None,
        "message": None if state is None else state.message,
    }


def _heading(operation: Operation, journal: Journal) -> str:
    reason = f" ({operation.reason})" if operation.reason else ""
    lines = [
        f"operation {operation.id}: {operation.verb} of site {operation.site}",
        f"state      {operation.state.value}{reason}",
        f"plan       {operation.plan_hash}",
        f"started    {journals.moment(operation.created)}",
    ]
    if operation.message:
        lines.append(f"message    {operation.message}")
    lines += [f"remains    {what}" for what in operation.remains]
    if journal.frozen(operation.site) is not None:
        lines.append("frozen     nothing changes this site until windlass thaw")
    if operation.state.value == "awaiting-approval":
        lines.append(f"approve    windlass approve {operation.id} --hash {operation.plan_hash}")
    return "\n".join([*lines, ""])


def _row(step: Step, state: StepState | None) -> tuple[object, ...]:
    if state is None:
        return step.phase, step.key, "pending", None, None
    took = None
    if state.started and state.ended:
        took = f"{(state.ended - state.started).total_seconds():.1f} s"
    return step.phase, step.key, state.state, took, state.message or None
