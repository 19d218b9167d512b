"""The event ring of a machine: what happened since its boot, for those who watch."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from windlass.protos.talosapi.machine_pb2 import Event

RING = 1000
_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_counter = itertools.count(1)


def event_id(now: float) -> str:
    """Twelve bytes in base32hex that sort by time: seconds, then a count that makes them unique."""
    value = (int(now) << 64) | next(_counter)
    return "".join(_ALPHABET[(value << 4 >> shift) & 31] for shift in range(95, -1, -5))


class Events:
    """Published events, the last thousand of them, and everybody who listens."""

    def __init__(self) -> None:
        self._ring: deque[Event] = deque(maxlen=RING)
        self._listeners: set[asyncio.Queue[Event]] = set()

    def publish(self, payload: Message, actor: str = "") -> None:
        data = AnyMessage(
            type_url=f"talos/runtime/{payload.DESCRIPTOR.full_name}",
            value=payload.SerializeToString(),
        )
        event = Event(data=data, id=event_id(time.time()), actor_id=actor)
        self._ring.append(event)
        for listener in self._listeners:
            listener.put_nowait(event)

    async def listen(
        self, tail: int, actor: str = "", after: str = ""
    ) -> AsyncGenerator[Event, None]:
        """An empty event says that the watch stands; then the last `tail` (-1: all), then what comes."""
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield Event()
            for event in self._past(tail, after):
                if not actor or event.actor_id == actor:
                    yield event
            while True:
                event = await queue.get()
                if not actor or event.actor_id == actor:
                    yield event
        finally:
            self._listeners.discard(queue)

    def _past(self, tail: int, after: str) -> Iterable[Event]:
        events = list(self._ring)
        if after:
            return [event for event in events if event.id > after]
        if tail < 0:
            return events
        return events[len(events) - tail :] if tail else []
