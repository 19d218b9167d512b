"""A plan for people: what will be done, in which order, what is left alone, what forbids it."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby

from windlass.models.plan import Plan, Risk, Step

RISK_WORDS = {
    Risk.READ: "gate",
    Risk.SAFE: "safe",
    Risk.DISRUPTIVE: "disruptive",
    Risk.DESTRUCTIVE: "destructive",
}


def duration(span: timedelta) -> str:
    """`4 s`, `2 min 05 s`, `1 h 10 min`: as a person says it."""
    seconds = span.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60:02d} min"


def escaped(text: str) -> str:
    """Text from outside that cannot become markup: names and messages are other people's."""
    for sign in "\\`*_[]<>|!#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def phases(plan: Plan) -> Iterator[tuple[str, list[Step]]]:
    """The steps by phase, in the order phases first appear."""
    order = {phase: i for i, phase in enumerate(dict.fromkeys(step.phase for step in plan))}
    for phase, steps in groupby(sorted(plan, key=lambda s: order[s.phase]), key=lambda s: s.phase):
        yield phase, list(steps)


def summary(plan: Plan) -> str:
    """One line: how much, how risky, how long."""
    if not plan.steps:
        return "nothing to do"
    counts = Counter(step.risk for step in plan)
    effects = sum(count for risk, count in counts.items() if risk is not Risk.READ)
    risky = [
        f"{counts[r]} {RISK_WORDS[r]}" for r in (Risk.DISRUPTIVE, Risk.DESTRUCTIVE) if counts[r]
    ]
    detail = f" ({', '.join(risky)})" if risky else ""
    return (
        f"{effects} effects{detail} and {counts[Risk.READ]} gates; "
        f"about {duration(plan.critical_path)} when all goes well"
    )


def plan_text(plan: Plan) -> str:
    """Plain lines for a terminal or a log."""
    lines = [f"{plan.verb} of site {plan.site}: {summary(plan)}"]
    for phase, steps in phases(plan):
        lines.append(f"  {phase}")
        for action, grouped in groupby(
            sorted(steps, key=lambda s: s.action), key=lambda s: s.action
        ):
            targets = [step.target for step in grouped]
            shown = ", ".join(targets[:8]) + (
                f" and {len(targets) - 8} more" if len(targets) > 8 else ""
            )
            lines.append(f"    {action:<24} {shown}")
    lines += [f"  left alone: {one.target}: {one.why}" for one in plan.left_alone]
    lines += [f"  warning: {text}" for text in plan.warnings]
    lines += [f"  BLOCKED: {block.what}\n           {block.remedy}" for block in plan.blocks]
    if plan.steps:
        lines.append(f"  plan {plan.hash}")
    return "\n".join(lines)


def plan_markdown(plan: Plan) -> str:
    """The plan artifact of the Prefect UI."""
    lines = [f"# {plan.verb} of site {escaped(plan.site)}", "", f"**{summary(plan)}**", ""]
    if plan.blocks:
        lines += ["## Blocked", ""]
        lines += [f"- **{escaped(block.what)}**: {escaped(block.remedy)}" for block in plan.blocks]
        lines.append("")
    for phase, steps in phases(plan):
        lines += [
            f"## {escaped(phase)}",
            "",
            "| step | kind | waits for | forecast |",
            "|---|---|---|---:|",
        ]
        lines += [
            f"| {escaped(step.key)} | {RISK_WORDS[step.risk]} | {_waits(step)} "
            f"| {duration(step.forecast.expected)} ({step.forecast.source}) |"
            for step in steps
        ]
        lines.append("")
    if plan.left_alone:
        lines += ["## Left alone", ""]
        lines += [f"- {escaped(one.target)}: {escaped(one.why)}" for one in plan.left_alone]
    lines += [f"- warning: {escaped(text)}" for text in plan.warnings]
    if plan.steps:
        lines += ["", f"Plan hash: `{plan.hash}`"]
    return "\n".join(lines)


def _waits(step: Step) -> str:
    shown = [escaped(key) for key in step.waits_for[:3]]
    more = len(step.waits_for) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
