r"""The two protobuf bodies that kubectl sends and never repeats as JSON: Namespace and DeleteOptions.

Field numbers by hand; any other kind is refused with 415. An envelope is `k8s\0` and a message
{1: {1: apiVersion, 2: kind}, 2: the object}.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from windlass.lab.kubernetes.documents import Document, section
from windlass.lab.kubernetes.status import ApiError, bad_request, unsupported_media_type

Wire = Literal["string", "int", "bool", "time", "message", "map"]

MAGIC = b"k8s\x00"
MEDIA = "application/vnd.kubernetes.protobuf"


@dataclass(frozen=True)
class Field:
    name: str
    wire: Wire = "string"
    repeated: bool = False
    message: "dict[int, Field] | None" = None


_OWNER = {
    1: Field("kind"),
    3: Field("name"),
    4: Field("uid"),
    5: Field("apiVersion"),
    6: Field("controller", "bool"),
    7: Field("blockOwnerDeletion", "bool"),
}
_META = {
    1: Field("name"),
    2: Field("generateName"),
    3: Field("namespace"),
    4: Field("selfLink"),
    5: Field("uid"),
    6: Field("resourceVersion"),
    7: Field("generation", "int"),
    8: Field("creationTimestamp", "time"),
    9: Field("deletionTimestamp", "time"),
    10: Field("deletionGracePeriodSeconds", "int"),
    11: Field("labels", "map"),
    12: Field("annotations", "map"),
    13: Field("ownerReferences", "message", repeated=True, message=_OWNER),
    14: Field("finalizers", repeated=True),
}
_NAMESPACE = {
    1: Field("metadata", "message", message=_META),
    2: Field("spec", "message", message={1: Field("finalizers", repeated=True)}),
    3: Field("status", "message", message={1: Field("phase")}),
}
_DELETE_OPTIONS = {
    1: Field("gracePeriodSeconds", "int"),
    2: Field("preconditions", "message", message={1: Field("uid"), 2: Field("resourceVersion")}),
    3: Field("orphanDependents", "bool"),
    4: Field("propagationPolicy"),
    5: Field("dryRun", repeated=True),
}
_KINDS = {"Namespace": _NAMESPACE, "DeleteOptions": _DELETE_OPTIONS}
_ENVELOPE = {
    1: Field("type", "message", message={1: Field("apiVersion"), 2: Field("kind")}),
    2: Field("raw", "message"),
}


def decode(body: bytes, expected: str) -> Document:
    """The object in a protobuf envelope.

    Raises:
        ApiError: 415 for a kind without a table, 400 for what is no envelope.
    """
    if not body.startswith(MAGIC):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {expected}): provided data does not appear "
            f"to be a protobuf message, expected prefix {_go_bytes(MAGIC)} ({body[:8].hex()})"
        )
    try:
        envelope = _message(body[len(MAGIC) :], _ENVELOPE)
        said = section(envelope, "type")
        kind = said.get("kind", "")
        if kind not in _KINDS:
            raise _unreadable(kind)
        found = _message(envelope.get("raw", b""), _KINDS[kind])
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise _broken(expected, error) from error
    return {"kind": kind, "apiVersion": said.get("apiVersion", "v1"), **found}


def _unreadable(kind: str) -> ApiError:
    """Upstream's refusal of a media type, and what a caller can do instead."""
    refusal = unsupported_media_type(("application/json", "application/yaml"))
    known = " and ".join(_KINDS)
    refusal.message += (
        f"; the lab reads {known} as protobuf, not {kind}: send it as JSON, "
        "as kubectl apply and kubectl create -f do"
    )
    return refusal


def _broken(expected: str, error: Exception) -> ApiError:
    return bad_request(f"the protobuf body is not a {expected}: {error}")


def _go_bytes(raw: bytes) -> str:
    return "[" + " ".join(str(one) for one in raw) + "]"


def _message(raw: bytes, table: dict[int, Field]) -> Document:
    doc: Document = {}
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        value, at = _value(raw, at, tag & 7)
        found = table.get(tag >> 3)
        if found is None:
            continue
        typed = _typed(value, found)
        if found.wire == "map":
            doc.setdefault(found.name, {}).update(typed)
        elif found.repeated:
            doc.setdefault(found.name, []).append(typed)
        elif typed not in ("", None):
            doc[found.name] = typed
    return doc


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = raw[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def _value(raw: bytes, at: int, wire: int) -> tuple[int | bytes, int]:
    if wire == 0:
        return _varint(raw, at)
    if wire == 2:
        length, at = _varint(raw, at)
        if at + length > len(raw):
            raise ValueError("unexpected EOF")
        return raw[at : at + length], at + length
    width = {1: 8, 5: 4}.get(wire)
    if width is None:
        raise ValueError(f"illegal wireType {wire}")
    return raw[at : at + width], at + width


def _typed(value: int | bytes, found: Field) -> Any:
    if isinstance(value, int):
        if found.wire == "bool":
            return bool(value)
        return value - (1 << 64) if value >= 1 << 63 else value
    if found.wire == "message":
        return value if found.message is None else _message(value, found.message)
    if found.wire == "map":
        entry = _message(value, {1: Field("key"), 2: Field("value")})
        return {entry.get("key", ""): entry.get("value", "")}
    if found.wire == "time":
        moment = _message(value, {1: Field("seconds", "int")}).get("seconds", 0)
        return (
            datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
        )
    return value.decode()
