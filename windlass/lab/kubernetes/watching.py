"""List and watch: consistent lists with continuation, and streams of what happens after them."""

import base64
import binascii
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from windlass.lab.kubernetes import faults
from windlass.lab.kubernetes.calls import Call
from windlass.lab.kubernetes.cluster import Cluster
from windlass.lab.kubernetes.documents import Document
from windlass.lab.kubernetes.forms import Form
from windlass.lab.kubernetes.keyspace import Change, CompactedError, Feed, Keyspace, Stored
from windlass.lab.kubernetes.selectors import Predicate, field_selector, label_selector
from windlass.lab.kubernetes.status import (
    ApiError,
    Subject,
    bad_request,
    expired,
    field_forbidden,
    invalid,
    too_large_revision,
)

_GONE = "The resourceVersion for the provided watch is too old."
_BOOKMARK_SECONDS = 60.0
_LAST_BOOKMARK_SECONDS = 2.0
_DEFAULT_WATCH_SECONDS = 1800.0


def selection(call: Call, cluster: Cluster) -> Predicate:
    """The call's label and field selectors, and the name of a watch on one object."""
    resource = call.target.resource
    custom = cluster.custom.selectable(resource) if resource.custom else ()
    tests = [
        label_selector(call.query.get("labelSelector", "")),
        field_selector(call.query.get("fieldSelector", ""), resource, custom),
    ]
    if call.target.name:
        name = call.target.name
        tests.append(lambda doc: doc["metadata"]["name"] == name)
    wanted = [test for test in tests if test is not None]
    return lambda doc: all(test(doc) for test in wanted)


@dataclass(frozen=True)
class Page:
    """Part of a list as it is now, whatever becomes of its objects."""

    form: Form
    objects: list[Stored]
    metadata: Document

    def render(self) -> bytes:
        return self.form.many(self.objects, self.metadata)


def list_objects(call: Call, cluster: Cluster) -> Page:
    form = Form.of(call, cluster)
    selects = selection(call, cluster)
    keyspace = cluster.keyspace
    revision = _revision(call.query.get("resourceVersion", ""))
    if revision > keyspace.revision:
        raise too_large_revision(revision, keyspace.revision)
    found, at = _objects(call, cluster)
    page, metadata = _page(call, keyspace, [one for one in found if selects(one.doc)])
    if at is not None:
        metadata["resourceVersion"] = str(at)
    return Page(form, page, metadata)


def _objects(call: Call, cluster: Cluster) -> tuple[list[Stored], int | None]:
    """What is there now; or, from a server that lags behind, what was there and the revision of that."""
    keyspace, target = cluster.keyspace, call.target
    lag = stale_by(call, cluster)
    if not lag:
        return keyspace.objects(target.resource.storage, target.namespace), None
    at = max(keyspace.revision - lag, 1)
    past = keyspace.past(target.resource.storage, at)
    wanted = sorted(key for key in past if target.namespace in (None, key[0]))
    return [past[key] for key in wanted], at


def stale_by(call: Call, cluster: Cluster) -> int:
    """By how many revisions a read that asks for any state is behind; 0 without the fault."""
    if call.query.get("resourceVersion") != "0":
        return 0
    stale = faults.fires(cluster.world.faults, faults.STALE, call)
    return int(stale.args.get("back", 10)) if stale else 0


def _revision(text: str) -> int:
    if not text:
        return 0
    if not text.isdigit():
        raise bad_request(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": '
            f'strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def _page(call: Call, keyspace: Keyspace, found: list[Stored]) -> tuple[list[Stored], Document]:
    """One page of a list. Later pages show what is there when they are asked for, not a snapshot."""
    limit = call.number("limit") or 0
    revision, start = keyspace.revision, ("", "")
    if token := call.query.get("continue"):
        revision, start = _parse_continue(token, keyspace)
        found = [one for one in found if (one.namespace, one.name) > start]
    metadata: Document = {"resourceVersion": str(revision)}
    if limit and len(found) > limit:
        last = found[limit - 1]
        said = {"v": "meta.k8s.io/v1", "rv": revision, "start": [last.namespace, last.name]}
        metadata["continue"] = base64.urlsafe_b64encode(orjson.dumps(said)).decode().rstrip("=")
        if not call.query.get("labelSelector") and not call.query.get("fieldSelector"):
            metadata["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    return found, metadata


def _parse_continue(token: str, keyspace: Keyspace) -> tuple[int, tuple[str, str]]:
    try:
        said = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        revision, (namespace, name) = int(said["rv"]), said["start"]
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
    if revision < keyspace.compacted:
        raise expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a "
            "new list without the continue parameter, or use the continue token in this response to retrieve the "
            "remainder of the results. Continuing with the provided token results in an inconsistent list - objects "
            "that were created, modified, or deleted between the time the first chunk was returned and now may show "
            "up in the list."
        )
    return revision, (namespace, name)


@dataclass
class Watch:
    """One open watch. `lines` yields rendered events in batches, one batch a write."""

    call: Call
    cluster: Cluster
    form: Form
    selects: Predicate
    feed: Feed
    backlog: list[bytes]
    sent: int

    @classmethod
    def open(cls, call: Call, cluster: Cluster) -> "Watch":
        """Fix the point where the watch starts.

        Raises:
            ApiError: 400 or 410, before anything was streamed.
        """
        form, selects = Form.of(call, cluster), selection(call, cluster)
        gone = faults.fires(cluster.world.faults, faults.WATCH_GONE, call)
        if gone and gone.args.get("mode") != "event":
            raise expired(_GONE)
        keyspace, storage = cluster.keyspace, call.target.resource.storage
        said = call.query.get("resourceVersion", "")
        revision = _revision(said)
        initial = _wants_initial(call)
        watch = cls(call, cluster, form, selects, Feed(), [], keyspace.revision)
        if initial or (revision == 0 and initial is None):
            watch._begin_with_state(
                bookmark=bool(initial) or (not said and call.flag("allowWatchBookmarks"))
            )
        elif revision:
            watch._begin_with_past(revision)
        watch.feed = keyspace.subscribe(storage)
        if gone:
            watch.feed.close(gone=True)
        return watch

    def close(self) -> None:
        self.cluster.keyspace.unsubscribe(self.call.target.resource.storage, self.feed)

    def _begin_with_state(self, *, bookmark: bool) -> None:
        keyspace, target = self.cluster.keyspace, self.call.target
        for index, stored in enumerate(keyspace.objects(target.resource.storage, target.namespace)):
            if self.selects(stored.doc):
                change = Change("ADDED", stored.revision, target.resource.storage, stored, None)
                line = self.form.event("ADDED", change, stored, columns=index == 0)
                self.backlog.append(line)
        if bookmark:
            annotations = {"k8s.io/initial-events-end": "true"}
            self.backlog.append(self.form.bookmark(keyspace.revision, annotations))

    def _begin_with_past(self, revision: int) -> None:
        try:
            past = self.cluster.keyspace.since(self.call.target.resource.storage, revision)
        except CompactedError as error:
            raise expired(f"too old resource version: {revision} ({error})") from error
        for change in past:
            self.backlog.extend(self._lines(change))

    def _lines(self, change: Change) -> list[bytes]:
        """What this watcher sees of a change: nothing, or one event."""
        namespace = self.call.target.namespace
        if namespace is not None and change.now.namespace != namespace:
            return []
        was = change.before is not None and self.selects(change.before.doc)
        now = change.type != "DELETED" and self.selects(change.now.doc)
        if not was and not now:
            return []
        kind = ("MODIFIED" if was else "ADDED") if now else "DELETED"
        stored = change.now
        if kind == "DELETED" and change.type != "DELETED" and change.before is not None:
            stored = _at_revision(change.before, change.revision)
        return [self.form.event(kind, change, stored, columns=not self.backlog)]

    async def batches(self) -> AsyncIterator[bytes]:
        """Events until the client's timeout, the server's end or a compaction."""
        asked = self.call.number("timeoutSeconds")
        end = time.monotonic() + (asked or _DEFAULT_WATCH_SECONDS)
        bookmarks = self.call.flag("allowWatchBookmarks")
        next_bookmark = min(time.monotonic() + _BOOKMARK_SECONDS, end - _LAST_BOOKMARK_SECONDS)
        if self.backlog:
            yield b"".join(self.backlog)
        while (moment := time.monotonic()) < end:
            until = min(end, next_bookmark) if bookmarks else end
            changes = await self.feed.take(max(until - moment, 0.0))
            if lines := [line for change in changes for line in self._lines(change)]:
                yield b"".join(lines)
            if self.feed.closed:
                if self.feed.gone:
                    yield error_line(expired(_GONE))
                return
            if bookmarks and time.monotonic() >= next_bookmark:
                yield self.form.bookmark(self.cluster.keyspace.revision, {})
                next_bookmark = time.monotonic() + _BOOKMARK_SECONDS


def _wants_initial(call: Call) -> bool | None:
    if "sendInitialEvents" not in call.query:
        return None
    if call.query.get("resourceVersionMatch") != "NotOlderThan":
        text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        cause = field_forbidden("resourceVersionMatch", text)
        raise invalid(Subject("meta.k8s.io", "listoptions", "ListOptions"), [cause])
    return call.flag("sendInitialEvents")


def _at_revision(stored: Stored, revision: int) -> Stored:
    metadata = {**stored.doc["metadata"], "resourceVersion": str(revision)}
    doc = {**stored.doc, "metadata": metadata}
    body = {key: value for key, value in doc.items() if key not in ("kind", "apiVersion")}
    return Stored(stored.namespace, stored.name, doc, revision, orjson.dumps(body)[1:])


def error_line(error: ApiError) -> bytes:
    return b'{"type":"ERROR","object":%b}\n' % orjson.dumps(error.json())
