"""How far an operation is, read from the journal: what reports and the command line show."""

from windlass.engine.journal import Journal
from windlass.engine.records import StepState
from windlass.models.progress import OperationProgress, State, StepProgress


def progress_of(journal: Journal, operation: str) -> OperationProgress:
    """How far an operation is, as the journal has it now."""
    found = journal.operation(operation)
    states = journal.step_states(found.id)
    return OperationProgress(
        id=found.id,
        site=found.site,
        verb=found.verb,
        state=found.state.value,
        reason=found.reason,
        message=found.message,
        steps={step.key: _progress(step.key, states.get(step.key)) for step in found.plan},
        remains=found.remains,
    )


# The journal's words for a step, as reports say them.
SAID: dict[str, State] = {
    "pending": "pending",
    "intent": "running",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "parked": "parked",
}


def _progress(key: str, state: StepState | None) -> StepProgress:
    if state is None:
        return StepProgress(key, "pending")
    return StepProgress(key, SAID[state.state], state.started, state.ended, state.message)
