"""What this API server can get wrong on request, as the real one does on a bad day.

Arguments that narrow every fault: `verb`, `resource` (plural), `object` (name), `agent` (first word of the user agent).
"""

from windlass.lab.faults import Fault, Faults
from windlass.lab.kubernetes.calls import Call
from windlass.lab.kubernetes.status import MODIFIED, ApiError, conflict

WATCH_GONE = "k8s-watch-gone"
SLOW = "k8s-slow"
LOST_ANSWER = "k8s-lost-answer"
STALE = "k8s-stale"

_KNOWN = {
    "k8s-429": "calls are throttled: 429 with Retry-After (retry_after_s, default 1)",
    "k8s-500": "calls fail with 500 InternalError",
    "k8s-503": "calls fail with 503 ServiceUnavailable",
    "k8s-leader-changed": "calls fail with etcdserver: leader changed",
    "k8s-conflict": "writes of existing objects fail with 409 Conflict",
    WATCH_GONE: "watches are Gone: 410, or an ERROR event inside a stream (mode=event)",
    SLOW: "answers come at one byte a second",
    LOST_ANSWER: "the call takes effect and the connection is cut instead of an answer",
    STALE: "reads with resourceVersion=0 lag behind by `back` revisions (default 10)",
}
_WRITES = ("update", "patch", "delete")


def declare(faults: Faults) -> None:
    for name, does in _KNOWN.items():
        faults.declare(name, does)


def fires(faults: Faults, name: str, call: Call) -> Fault | None:
    target = call.target
    return faults.fires(
        name,
        verb=call.verb,
        resource=target.resource.plural,
        object=target.name,
        agent=call.user_agent.split("/")[0],
    )


def refuse(faults: Faults, call: Call) -> None:
    """Raise whatever is switched on for this call, before it does anything."""
    if not faults.active():
        return
    if throttled := fires(faults, "k8s-429", call):
        seconds = int(throttled.args.get("retry_after_s", 1))
        text = "the server has received too many requests and has asked us to try again later"
        raise ApiError(
            429,
            "TooManyRequests",
            text,
            details={"retryAfterSeconds": seconds},
            headers={"Retry-After": str(seconds)},
        )
    if fires(faults, "k8s-500", call):
        raise ApiError(500, "InternalError", "Internal error occurred: the lab was told to fail")
    if fires(faults, "k8s-503", call):
        text = "the server is currently unable to handle the request"
        raise ApiError(503, "ServiceUnavailable", text)
    if fires(faults, "k8s-leader-changed", call):
        raise ApiError(500, "", "etcdserver: leader changed")
    if call.verb in _WRITES and fires(faults, "k8s-conflict", call):
        raise conflict(call.target.resource.about(call.target.name), MODIFIED)
