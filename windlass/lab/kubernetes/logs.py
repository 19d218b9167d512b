"""What a call for a container's log asks for, and the log as it is shown then."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from windlass.lab.kubernetes.calls import Call
from windlass.lab.kubernetes.documents import Document, entries, section
from windlass.lab.kubernetes.status import (
    ApiError,
    Cause,
    Subject,
    bad_request,
    field_forbidden,
    invalid,
    invalid_value,
)

# Real seconds between looks at a log that is followed.
_LOOK_AGAIN = 0.05
_PULLING = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


@dataclass(frozen=True)
class LogOptions:
    """PodLogOptions, of one container."""

    container: str
    previous: bool = False
    follow: bool = False
    timestamps: bool = False
    since: datetime | None = None
    tail: int | None = None
    limit: int | None = None


class Log(Protocol):
    """One run of a container; lines begin with their time."""

    has_ended: bool
    written: int

    def after(self, position: int) -> list[str]: ...


PodLogs = Callable[[str, str, LogOptions], AsyncIterator[bytes] | None]


def options_of(call: Call) -> LogOptions:
    """Raises: ApiError, 400 or 422, what is asked for makes no sense."""
    seconds, tail, limit = (call.number(n) for n in ("sinceSeconds", "tailLines", "limitBytes"))
    time = _time(call.query.get("sinceTime", ""))
    causes = list(_wrong(call, tail, limit, seconds))
    if causes:
        raise invalid(Subject("", "PodLogOptions", "PodLogOptions", call.target.name), causes)
    if seconds is not None:
        time = call.now - timedelta(seconds=seconds)
    return LogOptions(
        container=call.query.get("container", ""),
        previous=_flag(call, "previous"),
        follow=_flag(call, "follow"),
        timestamps=_flag(call, "timestamps"),
        since=time,
        tail=tail,
        limit=limit,
    )


def _flag(call: Call, name: str) -> bool:
    return name in call.query and call.query[name].lower() not in ("false", "0")


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        form = "2006-01-02T15:04:05Z07:00"
        raise bad_request(
            f'parsing time "{text}" as "{form}": cannot parse "{text}" as "2006"'
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _wrong(call: Call, tail: int | None, limit: int | None, seconds: int | None) -> Iterator[Cause]:
    if tail is not None and tail < 0:
        yield invalid_value("tailLines", tail, "must be greater than or equal to 0")
    if limit is not None and limit < 1:
        yield invalid_value("limitBytes", limit, "must be greater than 0")
    if seconds is not None and call.query.get("sinceTime"):
        said = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        yield field_forbidden("[]", said)
    elif seconds is not None and seconds < 1:
        yield invalid_value("sinceSeconds", seconds, "must be greater than 0")
    if call.query.get("stream"):
        yield field_forbidden("stream", "may not be specified")


def container_of(pod: Document, options: LogOptions) -> str:
    """The container that is meant. Raises: ApiError 400, none or several."""
    name = pod["metadata"]["name"]
    names = [
        c["name"] for kind in ("containers", "initContainers") for c in entries(pod["spec"], kind)
    ]
    wanted = options.container or names[0]
    if wanted not in names:
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    if not options.container and len(pod["spec"]["containers"]) > 1:
        listed = " ".join(c["name"] for c in pod["spec"]["containers"])
        raise bad_request(
            f"a container name must be specified for pod {name}, choose one of: [{listed}]"
        )
    return wanted


def absence(pod: Document, options: LogOptions) -> ApiError:
    """Why a container of a pod on a node has no such log, in the kubelet's words."""
    where = f'container "{options.container}" in pod "{pod["metadata"]["name"]}"'
    if options.previous:
        return bad_request(f"previous terminated {where} not found")
    reason = "ContainerCreating"
    for kind in ("containerStatuses", "initContainerStatuses"):
        for one in entries(pod, "status", kind):
            if one["name"] == options.container:
                reason = section(one, "state", "waiting").get("reason", reason)
    return bad_request(f"{where} is waiting to start: {_PULLING.get(reason, reason)}")


async def stream(
    log: Log, options: LogOptions, is_there: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The log as asked for; a followed one until its run ends or nobody `is_there` to tell more."""
    left = options.limit
    position, lines = log.written, _chosen(log.after(0), options)
    while True:
        for line in lines:
            shown = _shown(line, options)[:left]
            yield shown
            left = None if left is None else left - len(shown)
        if left == 0 or not options.follow:
            return
        over = log.has_ended or not is_there()
        lines, position = log.after(position), log.written
        if over and not lines:
            return
        if not lines:
            await asyncio.sleep(_LOOK_AGAIN)


def _chosen(lines: Iterable[str], options: LogOptions) -> list[str]:
    since = options.since
    found = [one for one in lines if since is None or _time_of(one) >= since]
    return found if options.tail is None else found[max(len(found) - options.tail, 0) :]


def _time_of(line: str) -> datetime:
    return datetime.fromisoformat(line.partition(" ")[0])


def _shown(line: str, options: LogOptions) -> bytes:
    text = line if options.timestamps else line.partition(" ")[2]
    return f"{text}\n".encode()
