"""What is wrong with a refusal of the lab: by the published contract's parameters and permissions, and by the wire.

The contract has no words for refusals; their shape is that of Proxmox VE 8.4 and later.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import requests

from tests.conformance.pve.contract import entry, wrong_parameters

VERIFICATION = "Parameter verification failed."
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties\n"
DENIED = (
    r"Permission check failed( \((/\S*, [A-Z][A-Za-z.]+(\|[A-Z][A-Za-z.]+)*|user != root@pam)\))?"
)
# What the proxy says for a host that is silent: no body, since Proxmox VE itself said nothing.
PROXY = range(595, 600)
STATUSES = (400, 401, 403, 500, 501, 506, *PROXY)


@dataclass(frozen=True)
class Refused:
    """A call that was refused: with the route, if there is one, and every parameter that was given."""

    method: str
    route: str | None
    given: Mapping[str, Any]
    status: int
    reason: str
    errors: Mapping[str, str]

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "Refused":
        """As the lab's own record has it."""
        return cls(
            line["method"], line.get("route"), line["parameters"], line["status"], line["reason"],
            line["errors"],
        )  # fmt: skip


def refusal_problems(refused: Refused) -> list[str]:
    """What is wrong with the status, the reason and the errors of a refusal."""
    return list(_problems(refused))


def _problems(refused: Refused) -> Iterator[str]:
    if refused.status not in STATUSES:
        yield f"{refused.status} is no refusal of Proxmox VE"
    if not refused.reason or "\n" in refused.reason:
        yield f"{refused.reason!r} is no reason phrase"
    if (refused.status == 400) != bool(refused.errors):
        yield f"{refused.status} with errors {dict(refused.errors)}"
    if refused.status == 400:
        yield from _verification(refused)
    if refused.status == 403:
        yield from _denial(refused)
    if refused.reason.endswith(" not implemented") and refused.route is not None:
        yield f"{refused.method} {refused.route} is served and not implemented"


def _verification(refused: Refused) -> Iterator[str]:
    """Every parameter that the contract refuses is named; others only for what no schema can say."""
    assert refused.route is not None
    if refused.reason != VERIFICATION:
        yield f"400 {refused.reason}"
    wrong = wrong_parameters(refused.method, refused.route, refused.given)
    for name in wrong.keys() - refused.errors.keys():
        yield f"{name} {wrong[name]} is not named"
    for name, text in refused.errors.items():
        if not text.endswith("\n"):
            yield f"{name}: {text!r} does not end its line"
        if (text == UNKNOWN) != (wrong.get(name) == ["is not defined"]):
            yield f"{name}: the contract does not say {text!r}"


def _denial(refused: Refused) -> Iterator[str]:
    if not re.fullmatch(DENIED, refused.reason):
        yield f"{refused.reason!r} is no permission check"
        return
    assert refused.route is not None
    named = set(re.findall(r"[A-Z][a-zA-Z]+\.[A-Z][a-zA-Z.]+", refused.reason))
    check = permission(refused.method, refused.route).get("check")
    by_privilege = check and not re.search("perm-modify|userid", str(check))
    if by_privilege and not named <= set(
        re.findall(r"[A-Z][a-zA-Z]+\.[A-Z][a-zA-Z.]+", str(check))
    ):
        yield f"{sorted(named)} are not what the contract asks for: {check}"


def permission(method: str, route: str) -> Mapping[str, Any]:
    """Who may make a call; nothing in it: only root@pam."""
    return (entry(method, route) or {}).get("permissions") or {}


BARE = "Permission check failed"


def denial_of_nobody(method: str, route: str, given: Mapping[str, Any]) -> str | None:
    """A pattern of what a caller without a single privilege is told first; None: the contract lets it in."""
    allowed = permission(method, route)
    if not allowed:
        return re.escape(f"{BARE} (user != root@pam)")
    return _denied(cast(list[Any], allowed["check"]), given) if "check" in allowed else None


def _denied(check: list[Any], given: Mapping[str, Any]) -> str:
    kind, *rest = check
    if kind == "and":
        return _denied(rest[0], given)
    if kind == "or":
        return BARE
    if kind != "perm":
        # Checks about users and their groups are code; the contract only names them.
        return DENIED
    path, privileges, *options = rest
    asked = "|".join(privileges) if "any" in options else privileges[0]
    where = str(path).format_map(defaultdict(lambda: "-", given))
    return re.escape(f"{BARE} ({where}, {asked})")


def body_problems(answer: requests.Response) -> list[str]:
    """What is wrong with the way a refusal comes over the wire."""
    return list(_body(answer))


def _body(answer: requests.Response) -> Iterator[str]:
    if answer.headers.get("Connection") != "close":
        yield "the connection is not closed"
    if answer.status_code in PROXY or answer.status_code == 401:
        # A failed login is the one 401 that has a body.
        if answer.content and answer.reason != "authentication failure":
            yield f"{answer.status_code} with a body: {answer.text}"
        return
    if _by_the_web_server(answer):
        if answer.text != answer.reason:
            yield f"the reason is {answer.reason!r}, the body {answer.text!r}"
        return
    yield from _json_body(answer)


def _json_body(answer: requests.Response) -> Iterator[str]:
    body = answer.json()
    allowed = {"data", "message"} | ({"errors"} if answer.status_code == 400 else set[str]())
    if set(body) != allowed:
        yield f"the body has {sorted(body)}"
        return
    if body["data"] is not None:
        yield f"data is {body['data']!r}"
    if not body["message"].endswith("\n") or body["message"].split("\n")[0] != answer.reason:
        yield f"the reason is {answer.reason!r}, the message {body['message']!r}"


def _by_the_web_server(answer: requests.Response) -> bool:
    """What is refused before any call is looked for is plain text, whatever format was asked for."""
    unfit = ("no formatter for uri ", "no such uri", "Unexpected content ", "for data too large")
    return answer.status_code == 506 or (
        answer.status_code == 501 and answer.reason.startswith(unfit)
    )


def refused_by(
    method: str, route: str | None, given: Mapping[str, Any], answer: requests.Response
) -> Refused:
    """A refusal as its caller sees it."""
    is_json = bool(answer.content) and "json" in answer.headers.get("Content-Type", "")
    errors: Mapping[str, str] = answer.json().get("errors", {}) if is_json else {}
    return Refused(method, route, given, answer.status_code, answer.reason, errors)
