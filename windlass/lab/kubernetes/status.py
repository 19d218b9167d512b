"""Refusals in the API server's own words: code, reason, message and details, ready to be sent as a Status."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True)
class Cause:
    """One thing that is wrong with one field."""

    reason: str
    message: str
    field: str = ""

    def json(self) -> dict[str, str]:
        doc = {"reason": self.reason, "message": self.message, "field": self.field}
        return {key: value for key, value in doc.items() if value}

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ApiError(Exception):
    """The request is answered with a Status and nothing changed."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}

    def json(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if not self.reason:
            del status["reason"]
        if self.details is not None:
            status["details"] = self.details
        return {**status, "code": self.code}


@dataclass(frozen=True)
class Subject:
    """What an error is about: `pods "a"`, `deployments.apps "b"`."""

    group: str
    plural: str
    kind: str
    name: str = ""

    def __str__(self) -> str:
        qualified = f"{self.plural}.{self.group}" if self.group else self.plural
        return f'{qualified} "{self.name}"' if self.name else qualified

    def details(self, *, kind: str | None = None, **more: Any) -> dict[str, Any]:
        doc = {"name": self.name, "group": self.group, "kind": kind or self.plural}
        return {key: value for key, value in doc.items() if value} | more


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(about: Subject, why: str, causes: Iterable[Cause] = ()) -> ApiError:
    details = about.details()
    if listed := [cause.json() for cause in causes]:
        details["causes"] = listed
    return ApiError(403, "Forbidden", f"{about} is forbidden: {why}", details=details)


def not_found(about: Subject) -> ApiError:
    return ApiError(404, "NotFound", f"{about} not found", details=about.details())


def no_such_resource() -> ApiError:
    message = "the server could not find the requested resource"
    return ApiError(404, "NotFound", message, details={})


def method_not_allowed() -> ApiError:
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, details={})


def already_exists(about: Subject) -> ApiError:
    return ApiError(409, "AlreadyExists", f"{about} already exists", details=about.details())


def conflict(about: Subject, why: str) -> ApiError:
    message = f"Operation cannot be fulfilled on {about}: {why}"
    return ApiError(409, "Conflict", message, details=about.details())


MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def unsupported_media_type(accepted: Iterable[str]) -> ApiError:
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
    )
    return ApiError(415, "UnsupportedMediaType", message)


def invalid(about: Subject, causes: Iterable[Cause]) -> ApiError:
    """422 with every cause named, worded as a list when there are several."""
    found = list(causes)
    said = str(found[0]) if len(found) == 1 else f"[{', '.join(str(cause) for cause in found)}]"
    kind = f"{about.kind}.{about.group}" if about.group else about.kind
    return ApiError(
        422,
        "Invalid",
        f'{kind} "{about.name}" is invalid: {said}',
        details=about.details(kind=about.kind, causes=[cause.json() for cause in found]),
    )


def required(field: str, detail: str = "") -> Cause:
    message = f"Required value: {detail}" if detail else "Required value"
    return Cause("FieldValueRequired", message, field)


def invalid_value(field: str, value: Any, detail: str) -> Cause:
    shown = orjson.dumps(value).decode()
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: {detail}", field)


def unsupported_value(field: str, value: Any, supported: Iterable[str]) -> Cause:
    shown = orjson.dumps(value).decode()
    listed = ", ".join(f'"{one}"' for one in supported)
    message = f"Unsupported value: {shown}: supported values: {listed}"
    return Cause("FieldValueNotSupported", message, field)


def field_forbidden(field: str, detail: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", field)


def not_implemented(what: str) -> ApiError:
    """The lab lacks this and says so; a real API server would have done it."""
    return ApiError(501, "NotImplemented", f"the lab's Kubernetes API does not have {what}")


def too_large_revision(asked: int, current: int) -> ApiError:
    message = f"Too large resource version: {asked}, current: {current}"
    cause = Cause("ResourceVersionTooLarge", "Too large resource version")
    details = {"causes": [cause.json()], "retryAfterSeconds": 1}
    return ApiError(504, "Timeout", f"Timeout: {message}", details=details)
