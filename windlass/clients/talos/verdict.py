"""What an error of the Talos API means for the caller: wait, observe, or ask a human."""

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from windlass.errors import AmbiguousError, NotReadyError, RefusedError, WindlassError

# Said on the way up and down, by the machine or by whatever stands between: whether it acted is unknown.
UNANSWERED = frozenset({Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.CANCELLED})
# grpclib's own words for a stream that ended without a verdict of the server.
NO_VERDICT = "Missing grpc-status header"
# FailedPrecondition means "not yet" for these calls, but not with these words.
WAITS = frozenset({"Bootstrap", "EtcdRecover"})
NEVER_MIND = ("can only be performed", "only available on control plane")
# And for any call that meets another one of its kind, or its own predecessor.
IN_PROGRESS = ("already in progress", "node is rebooting")


def verdict(method: str, error: GRPCError, unanswered: type[WindlassError]) -> type[WindlassError]:
    """The class of the error; `unanswered` is what no answer means: AmbiguousError for a write."""
    said = error.message or ""
    if error.status in UNANSWERED or said == NO_VERDICT:
        return unanswered
    if error.status is Status.FAILED_PRECONDITION:
        return _precondition(method, said)
    reads = unanswered is not AmbiguousError
    # Talos hands on what etcd or the kernel told it as Unknown; a resource may not be there yet.
    if reads and error.status in {Status.UNKNOWN, Status.NOT_FOUND}:
        return NotReadyError
    return RefusedError


def _precondition(method: str, said: str) -> type[WindlassError]:
    if any(words in said for words in IN_PROGRESS):
        return NotReadyError
    if method in WAITS and not any(words in said for words in NEVER_MIND):
        return NotReadyError
    return RefusedError
