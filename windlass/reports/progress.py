"""How far an operation is, and how it ended: phase by phase, forecast beside fact."""

from dataclasses import dataclass
from datetime import timedelta

from windlass.models.plan import Plan, Step
from windlass.models.progress import OperationProgress, StepProgress
from windlass.reports.plan import duration, escaped, phases

BAR = 20


@dataclass(frozen=True)
class PhaseProgress:
    """One phase: how many of its steps are done, and from its first start to its last end."""

    name: str
    done: int
    total: int
    running: tuple[str, ...]
    failed: tuple[StepProgress, ...]
    took: timedelta | None
    forecast: timedelta


def by_phase(plan: Plan, progress: OperationProgress) -> list[PhaseProgress]:
    """The phases of a plan with what is known of their steps."""
    return [_phase(name, steps, plan, progress) for name, steps in phases(plan)]


def _phase(name: str, steps: list[Step], plan: Plan, progress: OperationProgress) -> PhaseProgress:
    known = [progress.steps[s.key] for s in steps if s.key in progress.steps]
    started = min((s.started for s in known if s.started), default=None)
    ended = max((s.ended for s in known if s.ended), default=None)
    return PhaseProgress(
        name=name,
        done=sum(s.state == "done" for s in known),
        total=len(steps),
        running=tuple(s.key for s in known if s.state == "running"),
        failed=tuple(s for s in known if s.state == "failed"),
        took=ended - started if started and ended else None,
        forecast=_forecast(name, plan),
    )


def _forecast(phase: str, plan: Plan) -> timedelta:
    """From the phase's first start to its last end, were every step to take what was forecast."""
    ends: dict[str, timedelta] = {}
    spans: list[tuple[timedelta, timedelta]] = []
    for step in plan:
        start = max((ends[key] for key in step.waits_for), default=timedelta(0))
        ends[step.key] = start + step.forecast.expected
        if step.phase == phase:
            spans.append((start, ends[step.key]))
    return max(end for _, end in spans) - min(start for start, _ in spans)


def bar(done: int, total: int) -> str:
    """A bar of text: `[######....] 12/20`."""
    filled = BAR * done // total if total else BAR
    return f"[{'#' * filled}{'.' * (BAR - filled)}] {done}/{total}"


def result_text(plan: Plan, progress: OperationProgress) -> str:
    """The end of an operation as plain lines."""
    lines = [f"{progress.verb} of site {progress.site}: {ending(progress)}", ""]
    lines.append(f"  {'phase':<14}{'steps':>7}{'took':>14}{'forecast':>14}")
    for phase in by_phase(plan, progress):
        took = duration(phase.took) if phase.took is not None else "-"
        lines.append(
            f"  {phase.name:<14}{f'{phase.done}/{phase.total}':>7}{took:>14}{duration(phase.forecast):>14}"
        )
    if progress.started and progress.ended:
        total = duration(progress.ended - progress.started)
        lines.append(f"  {'in all':<14}{'':>7}{total:>14}{duration(plan.critical_path):>14}")
    lines += [
        f"  failed: {s.key}: {s.message}" for s in progress.steps.values() if s.state == "failed"
    ]
    lines += [f"  remains: {what}" for what in progress.remains]
    return "\n".join(lines)


def ending(progress: OperationProgress) -> str:
    """The state in a few words, with the reason when it is not plain success."""
    if progress.state == "done":
        return "done"
    why = f": {progress.message}" if progress.message else ""
    return (
        f"{progress.state} ({progress.reason}){why}"
        if progress.reason
        else f"{progress.state}{why}"
    )


def result_markdown(plan: Plan, progress: OperationProgress) -> str:
    """The report artifact of the Prefect UI: phases, then every step, forecast beside fact."""
    lines = [
        f"# {progress.verb} of site {escaped(progress.site)}: {escaped(progress.state)}",
        "",
        f"Operation `{progress.id}`. {escaped(progress.message)}",
        "",
        "| phase | steps | took | forecast |",
        "|---|---:|---:|---:|",
    ]
    for phase in by_phase(plan, progress):
        took = duration(phase.took) if phase.took is not None else ""
        lines.append(
            f"| {escaped(phase.name)} | {phase.done}/{phase.total} | {took} | {duration(phase.forecast)} |"
        )
    if progress.remains:
        lines += ["", "## What remains", "", *(f"- {escaped(what)}" for what in progress.remains)]
    lines += ["", "## Steps", "", "| step | state | took | forecast | |", "|---|---|---:|---:|---|"]
    for step in plan:
        known = progress.steps.get(step.key, StepProgress(step.key, "pending"))
        took = duration(known.took) if known.took is not None else ""
        lines.append(
            f"| {escaped(step.key)} | {known.state} | {took} | {duration(step.forecast.expected)} "
            f"| {escaped(known.message)} |"
        )
    return "\n".join(lines)
