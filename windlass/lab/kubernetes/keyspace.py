"""Objects, revisions and the recent past: what etcd and the watch cache are to an API server.

Objects are shared and never changed after they are stored. Each is rendered once; a list is a join of bytes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from windlass.lab.kubernetes.documents import Document
from windlass.lab.store import Store

EventType = Literal["ADDED", "MODIFIED", "DELETED"]

# Events kept per resource for watches that resume; older ones are Gone, as after a compaction.
HISTORY = 2000


@dataclass(frozen=True)
class Stored:
    """An object as it is at one revision. `tail` is its JSON after kind and apiVersion, with the closing brace."""

    namespace: str
    name: str
    doc: Document
    revision: int
    tail: bytes

    def render(self, kind: str, api_version: str) -> bytes:
        return head(kind, api_version) + self.tail


def head(kind: str, api_version: str) -> bytes:
    return b'{"kind":"%b","apiVersion":"%b",' % (kind.encode(), api_version.encode())


@dataclass(frozen=True)
class Change:
    """One step of the keyspace. `before` is None for an addition; `now` is the last state for a deletion."""

    type: EventType
    revision: int
    storage: str
    now: Stored
    before: Stored | None
    # Rendered watch events, shared by all watchers that want the same form.
    lines: dict[Any, bytes] = field(default_factory=dict[Any, bytes], compare=False)


class Feed:
    """What one watcher has not sent yet."""

    def __init__(self) -> None:
        self._pending: list[Change] = []
        self._wake = asyncio.Event()
        self.closed = False
        self.gone = False

    def put(self, change: Change) -> None:
        self._pending.append(change)
        self._wake.set()

    def close(self, *, gone: bool = False) -> None:
        self.closed = True
        self.gone = gone
        self._wake.set()

    async def take(self, timeout: float) -> list[Change]:
        """Everything pending, as soon as there is something; empty after `timeout` real seconds or when closed."""
        if not self._pending and not self.closed:
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                return []
        self._wake.clear()
        taken, self._pending = self._pending, []
        return taken


class CompactedError(Exception):
    """The asked revision is older than what is remembered."""


class Keyspace:
    """All objects of one cluster by storage key (`group/plural`), then by (namespace, name)."""

    def __init__(self, store: Store) -> None:
        self._section = store.section("kubernetes")
        self._meta = store.section("kubernetes-meta")
        self.revision: int = self._meta.get("revision", {"value": 1})["value"]
        self.compacted = self.revision
        self._objects: dict[str, dict[tuple[str, str], Stored]] = {}
        self._history: dict[str, deque[Change]] = {}
        self._lost: dict[str, int] = {}
        self._feeds: dict[str, set[Feed]] = {}
        self.listeners: list[Callable[[Change], None]] = []
        for key in self._section:
            self._load(key)

    def _load(self, key: str) -> None:
        group, plural, namespace, name = key.split("/")
        doc = self._section[key]
        self._table(f"{group}/{plural}")[namespace, name] = _stored(namespace, name, doc)

    def _table(self, storage: str) -> dict[tuple[str, str], Stored]:
        return self._objects.setdefault(storage, {})

    def get(self, storage: str, namespace: str, name: str) -> Stored | None:
        return self._table(storage).get((namespace, name))

    def objects(self, storage: str, namespace: str | None = None) -> list[Stored]:
        """All objects of a resource, or those of one namespace, ordered by namespace and name."""
        table = self._table(storage)
        if namespace is None:
            return [table[key] for key in sorted(table)]
        return [table[key] for key in sorted(key for key in table if key[0] == namespace)]

    def past(self, storage: str, revision: int) -> dict[tuple[str, str], Stored]:
        """The objects of a resource as they were at `revision`, as far back as is remembered."""
        table = dict(self._table(storage))
        for change in reversed(self._history.get(storage, ())):
            if change.revision <= revision:
                break
            key = (change.now.namespace, change.now.name)
            if change.before is None:
                table.pop(key, None)
            else:
                table[key] = change.before
        return table

    def put(self, storage: str, namespace: str, name: str, doc: Document) -> Stored:
        """Store `doc`, which belongs to the keyspace from now on, under the next revision."""
        before = self._table(storage).get((namespace, name))
        self._advance()
        doc["metadata"]["resourceVersion"] = str(self.revision)
        now = _stored(namespace, name, doc)
        self._section[f"{storage}/{namespace}/{name}"] = doc
        self._table(storage)[namespace, name] = now
        kind: EventType = "ADDED" if before is None else "MODIFIED"
        self._publish(Change(kind, self.revision, storage, now, before))
        return now

    def delete(self, storage: str, namespace: str, name: str) -> Stored:
        """Remove the object; the event carries its last state under the revision of the deletion."""
        before = self._table(storage).pop((namespace, name))
        self._advance()
        del self._section[f"{storage}/{namespace}/{name}"]
        metadata = {**before.doc["metadata"], "resourceVersion": str(self.revision)}
        last = _stored(namespace, name, {**before.doc, "metadata": metadata})
        self._publish(Change("DELETED", self.revision, storage, last, before))
        return before

    def _advance(self) -> None:
        self.revision += 1
        self._meta["revision"] = {"value": self.revision}

    def _publish(self, change: Change) -> None:
        history = self._history.setdefault(change.storage, deque(maxlen=HISTORY))
        if len(history) == HISTORY:
            self._lost[change.storage] = history[0].revision
        history.append(change)
        for feed in self._feeds.get(change.storage, ()):
            feed.put(change)
        for listener in self.listeners:
            listener(change)

    def since(self, storage: str, revision: int) -> list[Change]:
        """What happened to a resource after `revision`.

        Raises:
            CompactedError: that is longer ago than anybody remembers.
        """
        if revision < max(self._lost.get(storage, 0), self.compacted):
            raise CompactedError(str(max(self._lost.get(storage, 0), self.compacted)))
        return [change for change in self._history.get(storage, ()) if change.revision > revision]

    def wipe(self) -> None:
        """The data directory is gone: no objects, and revisions start again."""
        self._section.clear()
        self._objects.clear()
        self._history.clear()
        self._lost.clear()
        self.revision = self.compacted = 1
        self._meta["revision"] = {"value": 1}
        for feeds in self._feeds.values():
            for feed in feeds:
                feed.close(gone=True)

    def subscribe(self, storage: str) -> Feed:
        feed = Feed()
        self._feeds.setdefault(storage, set()).add(feed)
        return feed

    def unsubscribe(self, storage: str, feed: Feed) -> None:
        self._feeds[storage].discard(feed)


def _stored(namespace: str, name: str, doc: Document) -> Stored:
    body = {key: value for key, value in doc.items() if key not in ("kind", "apiVersion")}
    tail = orjson.dumps(body)[1:]
    return Stored(namespace, name, doc, int(doc["metadata"]["resourceVersion"]), tail)
