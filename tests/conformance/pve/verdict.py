"""What the judges find in the lab's own record of what was asked and answered."""

from collections.abc import Iterable
from typing import Any

from tests.conformance.pve.contract import request_problems
from tests.conformance.pve.refusals import Refused, refusal_problems
from tests.conformance.pve.replies import reply_problems

Line = dict[str, Any]


def request_faults(lines: Iterable[Line]) -> set[str]:
    return {
        f"{one['method']} {one['route']}: {problem}"
        for one in lines
        for problem in request_problems(one["method"], one["route"], one["parameters"])
    }


def answer_faults(lines: Iterable[Line]) -> set[str]:
    """What is wrong with the answers, refusals among them."""
    return {
        f"{one['method']} {one.get('route', one['path'])}: {problem}"
        for one in lines
        for problem in _answer_problems(one)
    }


def _answer_problems(one: Line) -> list[str]:
    if one["status"] == 200:
        return reply_problems(one["method"], one["route"], one["data"])
    return refusal_problems(Refused.of(one))
