"""What the Kubernetes API means by a status. The only place that decides.

A Status object says more than its code: a conflict of field managers needs a person, a conflict of
resource versions only a fresh look.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from windlass.errors import (
    AmbiguousError,
    DeniedError,
    NotReadyError,
    RefusedError,
    UnreachableError,
    WindlassError,
)

# The server, or what stands before it, did not get its own answer.
LOST = frozenset({500, 502, 503, 504})
# A cause of this reason names one field and who owns it.
OWNED = "FieldManagerConflict"
# An apply with a field that the schema does not have: a real API server says so with a 500.
UNTYPED = "failed to create typed patch object"
LONGEST = 2000


def translate(status: int, body: Mapping[str, Any], method: str, path: str) -> WindlassError:
    """Return what a refusal is to Windlass. `body` is the Status object, or empty."""
    said = f"{method} {path}: {_said(status, body)}"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return NotReadyError(f"Kubernetes is busy at {said}", after_s=_asked(body))
    if status in LOST and not str(body.get("message")).startswith(UNTYPED):
        return unanswered(method, path, _said(status, body))
    if passing := _passing(status, body):
        return NotReadyError(f"Kubernetes {passing} {said}")
    denied = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    return (DeniedError if denied else RefusedError)(f"Kubernetes refused {said}")


def _passing(status: int, body: Mapping[str, Any]) -> str:
    """What is in the way, where nothing changed and another try may succeed."""
    if status == HTTPStatus.CONFLICT and body.get("reason") == "Conflict":
        owned = any(cause.get("reason") == OWNED for cause in causes_of(body))
        # Somebody was faster.
        return "" if owned else "has a newer object at"
    details: dict[str, Any] = body.get("details") or {}
    if status == HTTPStatus.NOT_FOUND and not details.get("name"):
        # No object is named: a server that has just started does not serve all its kinds at once.
        return "does not serve this now:"
    return "compacted the list while it was read, at" if status == HTTPStatus.GONE else ""


def unanswered(method: str, path: str, why: str) -> WindlassError:
    """Return what no answer means: a read may be asked again, a write must be observed."""
    if method == "GET":
        return UnreachableError(f"Kubernetes gave no answer to GET {path}: {why}")
    return AmbiguousError(
        f"Kubernetes gave no answer to {method} {path}, it may have been done: {why}"
    )


def _asked(body: Mapping[str, Any]) -> float:
    details: dict[str, Any] = body.get("details") or {}
    try:
        return max(float(details.get("retryAfterSeconds") or 0), 0)
    except ValueError:
        # Retry-After may be a date; then our own pace is as good.
        return 0


def causes_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    details: dict[str, Any] = body.get("details") or {}
    return details.get("causes") or []


def _said(status: int, body: Mapping[str, Any]) -> str:
    text = f"{status} {body.get('reason') or ''}: {body.get('message') or 'no reason given'}"
    details: dict[str, Any] = body.get("details") or {}
    if wait := details.get("retryAfterSeconds"):
        text += f" (asks to wait {wait} s)"
    for cause in causes_of(body):
        where, why = cause.get("field") or cause.get("reason") or "", cause.get("message") or ""
        if why not in text:
            text += f"; {where}: {why}"
    return text[:LONGEST]
