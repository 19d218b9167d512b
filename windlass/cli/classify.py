"""Say which classes of change a merged commit holds, and what an upgrade plan would be asked for.

Only the commit's files and lines count, beside its first parent: never its title, labels or author.
Ends with 0 when everything is known, and with 5 when a person is needed.
"""

import argparse
import re
from datetime import timedelta
from pathlib import Path

from windlass.cli import exits, printing
from windlass.clients.git_commit import open_commit
from windlass.plans.merges import Classification, Finding, classify
from windlass.plans.merges_inert import may_be_inert, proves
from windlass.plans.merges_request import Request, consequence_of, request_of
from windlass.plans.merges_table import ORDER, Class

DEADLINE = timedelta(seconds=60)
# Of one reason a person at night reads the first few lines; --json has them all.
SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repo", metavar="DIR", type=Path, required=True, help="a Git repository, bare or not"
    )
    parser.add_argument("--commit", metavar="SHA", required=True, help="the whole id of the commit")


def run(args: argparse.Namespace) -> int:
    with open_commit(args.repo, args.commit, deadline=DEADLINE) as reader:
        commit = reader.read()
        needs_tree = may_be_inert(file.path for file in commit.files)
        found = classify(commit, reader.texts(proves) if needs_tree else {})
    if args.json:
        printing.say_json(_as_json(found))
    else:
        printing.say(_report(found))
    return exits.NEEDS_HUMAN if found.needs_person else exits.DONE


def _grouped(found: Classification) -> list[tuple[Class, str, list[Finding]]]:
    """Each class in the order of a plan with its findings; what needs a person once for each reason."""
    groups: dict[tuple[Class, str], list[Finding]] = {}
    for one in sorted(found.findings, key=lambda one: ORDER.index(one.cls)):
        groups.setdefault((one.cls, one.why if one.cls is Class.PERSON else ""), []).append(one)
    return [
        (cls, "; ".join(dict.fromkeys(one.why for one in members)), members)
        for (cls, _), members in groups.items()
    ]


def _as_json(found: Classification) -> dict[str, object]:
    request = request_of(found)
    return {
        "commit": found.commit.id,
        "parent": found.commit.parent,
        "classes": [
            {
                "class": cls,
                "files": list(dict.fromkeys(one.path for one in members)),
                "lines": [
                    {"file": one.path, "line": one.at, "removed": one.removed, "added": one.added}
                    for one in members
                    if (one.removed, one.added) != (None, None)
                ],
                "why": why,
            }
            for cls, why, members in _grouped(found)
        ],
        "request": None if request is None else _request(request),
        "needs_person": found.needs_person,
        "consequence": consequence_of(found),
    }


def _request(request: Request) -> dict[str, object]:
    steps = {"talos": request.talos, "kubernetes": request.kubernetes}
    return {
        "verb": "upgrade",
        "commit": request.commit,
        **{
            name: None if step is None else {"from": step.before, "to": step.after}
            for name, step in steps.items()
        },
        "extensions": list(request.extensions),
        "stages": [{"class": one.cls, "targets": list(one.targets)} for one in request.stages],
        "left_alone": list(request.left_alone),
        "needs_person": request.needs_person,
    }


def _report(found: Classification) -> str:
    held = ", ".join(found.classes) or "nothing"
    lines = [
        f"{found.commit.id} holds: {held}",
        f"beside its first parent {found.commit.parent or '(none: a root commit)'}",
        f"consequence: {consequence_of(found)}",
    ]
    for cls, why, members in _grouped(found):
        lines += ["", f"{cls}: {why}", *map(_line, members[:SHOWN])]
        if len(members) > SHOWN:
            lines.append(f"  ... and {len(members) - SHOWN} more; --json has them all")
    return "\n".join([*lines, "", *_next(request_of(found), needs_person=found.needs_person)])


def _line(one: Finding) -> str:
    at = f"{_shown(one.path)}:{one.at}" if one.at else _shown(one.path)
    if one.step is not None:
        return f"  {at}: {one.step.before} to {one.step.after}"
    changed = [
        f"{sign} {line.strip()}" for sign, line in (("-", one.removed), ("+", one.added)) if line
    ]
    return f"  {at}" + "".join(f"\n      {_shown(line[:120])}" for line in changed)


def _shown(text: str) -> str:
    """`text` on one line, whatever a path or a line holds."""
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def _next(request: Request | None, *, needs_person: bool) -> list[str]:
    if request is None:
        said = [] if needs_person else ["plan: none, nothing here is for an upgrade"]
    else:
        said = ["plan, in this order:"]
        said += [f"  {one.cls}: {', '.join(map(_shown, one.targets))}" for one in request.stages]
        said += [f"  left alone: {', '.join(request.left_alone)}"] if request.left_alone else []
    if needs_person:
        said.append(
            "A person is needed: nothing is planned before somebody has looked at what is named above."
        )
    return said
