"""The shape of every control loop: informers fill a queue of keys, one worker makes each key right.

A key is worked on again after a failure, with growing pauses; it is never in the queue twice.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import ApiAwayError, ApiError, Client, Informer, Resource
from windlass.lab.controllers.objects import Key, Object, key_of

logger = logging.getLogger(__name__)

# Real seconds between attempts at a key that fails.
_BACKOFF = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

KeysOf = Callable[[Object], Iterable[Key]]


class Informers:
    """One informer a resource, shared by all loops of a process."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._informers: dict[Resource, Informer] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[Resource, asyncio.Task[None]] = {}

    def __getitem__(self, resource: Resource) -> Informer:
        """The resource's informer; one that is asked for late starts at once."""
        if resource not in self._informers:
            self._informers[resource] = Informer(self.client, resource)
            self._start(resource)
        return self._informers[resource]

    def drop(self, resource: Resource) -> None:
        """The API serves this no more: all of it is gone."""
        informer, task = self._informers.pop(resource), self._tasks.pop(resource, None)
        if task is not None:
            task.cancel()
        informer.clear()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._group:
            for resource in self._informers:
                self._start(resource)
            # A group without tasks would end, and late ones may come.
            await asyncio.Event().wait()

    def _start(self, resource: Resource) -> None:
        if self._group is not None:
            run = self._informers[resource].run()
            self._tasks[resource] = self._group.create_task(run)

    async def synced(self) -> None:
        for informer in self._informers.values():
            await informer.synced.wait()


class Controller:
    """Calls `reconcile` for every key that is due.

    Reconcile returns the lab seconds after which the key is due again, or None.
    """

    def __init__(
        self, name: str, clock: Clock, reconcile: Callable[[Key], Awaitable[float | None]]
    ) -> None:
        self.name = name
        self._clock = clock
        self._reconcile = reconcile
        self._due: dict[Key, None] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._woken = asyncio.Event()
        self._informers: list[Informer] = []

    def enqueue(self, key: Key) -> None:
        self._due[key] = None
        self._woken.set()

    def enqueue_after(self, key: Key, seconds: float) -> None:
        """In `seconds` of lab time; an earlier appointment of the same key stands."""
        self._appoint(key, self._clock.real(seconds))

    def follow(self, informer: Informer, keys_of: KeysOf | None = None) -> None:
        """Every difference in `informer` makes keys due: its own unless `keys_of` names others."""

        def changed(before: Object | None, after: Object | None) -> None:
            for document in (before, after):
                if document is not None:
                    for key in keys_of(document) if keys_of else (key_of(document),):
                        self.enqueue(key)

        informer.subscribe(changed)
        self._informers.append(informer)

    async def run(self) -> None:
        for informer in self._informers:
            await informer.synced.wait()
        while True:
            while not self._due:
                self._woken.clear()
                await self._woken.wait()
            key = next(iter(self._due))
            del self._due[key]
            await self._work(key)

    async def _work(self, key: Key) -> None:
        try:
            again = await self._reconcile(key)
        except (ApiError, ApiAwayError) as error:
            level = logging.DEBUG if self._failures.get(key, 0) < len(_BACKOFF) else logging.WARNING
            logger.log(level, "%s %s: %s", self.name, "/".join(filter(None, key)), error)
            self._fail(key)
            return
        except Exception:
            # One object that makes no sense must not stop the work on all others.
            logger.exception("%s %s", self.name, "/".join(filter(None, key)))
            self._fail(key)
            return
        self._failures.pop(key, None)
        if again is not None:
            self.enqueue_after(key, again)

    def _fail(self, key: Key) -> None:
        tries = self._failures.get(key, 0)
        self._failures[key] = tries + 1
        self._appoint(key, _BACKOFF[min(tries, len(_BACKOFF) - 1)])

    def _appoint(self, key: Key, real_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        when = loop.time() + real_seconds
        standing = self._timers.get(key)
        if standing is not None:
            if standing.when() <= when:
                return
            standing.cancel()
        self._timers[key] = loop.call_at(when, self._appointed, key)

    def _appointed(self, key: Key) -> None:
        del self._timers[key]
        self.enqueue(key)
