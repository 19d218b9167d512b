"""A small asynchronous client of the Kubernetes HTTP API, and the informer on top of it.

API reference: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

import aiohttp
import orjson

from windlass.lab.controllers.objects import Key, Object, key_of

logger = logging.getLogger(__name__)

# Real seconds. A loaded lab answers slowly; a dead one never.
_CALL = aiohttp.ClientTimeout(total=30, connect=5)
_WATCH_SECONDS = 290
_WATCH = aiohttp.ClientTimeout(total=None, connect=5, sock_read=_WATCH_SECONDS + 20)
# Answers after which a watch cannot go on from where it was.
_START_AGAIN = (400, 404, 410)
_RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class ApiError(Exception):
    """The API answered with a Status that is not a success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class ApiAwayError(Exception):
    """No API server answered; what was sent may or may not have been done."""


@dataclass(frozen=True)
class Access:
    """How to reach an API server and as whom. `others` are endpoints tried when one is away."""

    url: str
    ssl_context: ssl.SSLContext
    user_agent: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resource:
    """One kind as the API serves it. `group_version` is `v1` or `apps/v1`."""

    group_version: str
    plural: str
    kind: str
    namespaced: bool = True

    def ref(self, name: str, namespace: str = "") -> "Ref":
        return Ref(self, name, namespace)

    def of(self, document: Object) -> "Ref":
        namespace, name = key_of(document)
        return Ref(self, name, namespace)

    def path(self, namespace: str = "") -> str:
        """The collection's path; over all namespaces when none is given."""
        root = (
            f"/api/{self.group_version}"
            if "/" not in self.group_version
            else f"/apis/{self.group_version}"
        )
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{scope}/{self.plural}"


@dataclass(frozen=True)
class Ref:
    """One object's place in the API."""

    resource: Resource
    name: str
    namespace: str = ""
    subresource: str = ""

    @property
    def path(self) -> str:
        tail = f"/{self.subresource}" if self.subresource else ""
        return f"{self.resource.path(self.namespace)}/{self.name}{tail}"

    def sub(self, subresource: str) -> "Ref":
        return replace(self, subresource=subresource)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.resource.kind, self.namespace, self.name)))


class Client:
    """One connection pool to the API. Use as an async context manager."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._urls = (access.url, *access.others)
        self._session: aiohttp.ClientSession | None = None
        self._kinds: dict[tuple[str, str], Resource] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._access.ssl_context, limit=0),
            headers={"User-Agent": self._access.user_agent},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, ref: Ref) -> Object | None:
        """The object, or None where there is none."""
        try:
            return await self.call("GET", ref.path)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def list(self, resource: Resource, namespace: str = "", **params: str) -> list[Object]:
        answer = await self.call("GET", resource.path(namespace), params=params)
        return answer["items"]

    async def create(self, resource: Resource, body: Object) -> Object:
        namespace, _ = key_of({"metadata": {"name": "", **body["metadata"]}})
        return await self.call("POST", resource.path(namespace), body=body)

    async def create_if_absent(self, resource: Resource, body: Object) -> None:
        """There is an object of that name afterwards, this one or an earlier one."""
        try:
            await self.create(resource, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    async def apply(self, ref: Ref, body: Object, *, manager: str, dry_run: bool = False) -> Object:
        """Server-side apply, taking over what others own."""
        params = {"fieldManager": manager, "force": "true"}
        if dry_run:
            params["dryRun"] = "All"
        return await self.call(
            "PATCH", ref.path, body=body, content_type=APPLY_PATCH, params=params
        )

    async def merge(self, ref: Ref, body: Object) -> Object:
        return await self.call("PATCH", ref.path, body=body, content_type=MERGE_PATCH)

    async def merge_status(self, ref: Ref, status: Object) -> Object:
        return await self.merge(ref.sub("status"), {"status": status})

    async def replace(self, ref: Ref, body: Object) -> Object:
        """Update; the resourceVersion in `body` guards against changes of others."""
        return await self.call("PUT", ref.path, body=body)

    async def delete(self, ref: Ref, **options: Any) -> None:
        """Delete with DeleteOptions such as gracePeriodSeconds; what is gone already is fine."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", **options}
        with suppress_codes(404):
            await self.call("DELETE", ref.path, body=body)

    async def take_off_finalizer(self, ref: Ref, known: Object, finalizer: str) -> None:
        """`known` guards: a change of another in between is a conflict."""
        meta = known["metadata"]
        kept = [one for one in meta.get("finalizers", ()) if one != finalizer]
        guard = {"resourceVersion": meta["resourceVersion"], "finalizers": kept or None}
        with suppress_codes(404):
            await self.merge(ref, {"metadata": guard})

    async def evict(self, namespace: str, pod: str) -> None:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        }
        await self.call("POST", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", body=body)

    async def kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource that serves a kind; None where the API knows no such kind now."""
        found = self._kinds.get((api_version, kind))
        if found is None:
            await self._discover(api_version)
            found = self._kinds.get((api_version, kind))
        return found

    async def served(self, verbs: Set[str]) -> Sequence[Resource]:
        """Every resource that has these verbs, in its group's preferred version, custom ones included."""
        groups = (await self.call("GET", "/apis"))["groups"]
        versions = ["v1", *(one["preferredVersion"]["groupVersion"] for one in groups)]
        found: list[Resource] = []
        for version in versions:
            prefix = "/apis" if "/" in version else "/api"
            # A group may go between the two calls.
            with suppress_codes(404):
                answer = await self.call("GET", f"{prefix}/{version}")
                found += [
                    Resource(version, one["name"], one["kind"], one["namespaced"])
                    for one in answer["resources"]
                    if verbs <= set(one["verbs"]) and "/" not in one["name"]
                ]
        return found

    async def _discover(self, api_version: str) -> None:
        prefix = "/apis" if "/" in api_version else "/api"
        with suppress_codes(404):
            answer = await self.call("GET", f"{prefix}/{api_version}")
            for one in answer["resources"]:
                if "/" not in one["name"]:
                    self._kinds[api_version, one["kind"]] = Resource(
                        api_version, one["name"], one["kind"], one["namespaced"]
                    )

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        content_type: str = JSON,
        params: Mapping[str, str] | None = None,
    ) -> Object:
        """One request, one answer.

        Raises:
            ApiError: the server said no.
            ApiAwayError: nobody answered.
        """
        try:
            async with self._http.request(
                method,
                self._urls[0] + path,
                data=None if body is None else orjson.dumps(body),
                headers={"Content-Type": content_type, "Accept": JSON},
                params=params or {},
                timeout=_CALL,
            ) as answer:
                return _judged(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            self._rotate()
            raise ApiAwayError(f"{method} {path}: {error!r}") from error

    async def watch(self, path: str, params: Mapping[str, str]) -> AsyncIterator[Object]:
        """The events of one watch, until the server ends it.

        Raises as `call` does, for an ERROR event too.
        """
        params = {
            **params,
            "watch": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
            "allowWatchBookmarks": "true",
        }
        try:
            async with self._http.get(
                self._urls[0] + path, params=params, headers={"Accept": JSON}, timeout=_WATCH
            ) as answer:
                if answer.status != 200:
                    _judged(answer.status, await answer.read())
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield _event(line)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._rotate()
            raise ApiAwayError(f"watch {path}: {error!r}") from error

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is used outside its context")
        return self._session

    def _rotate(self) -> None:
        self._urls = (*self._urls[1:], self._urls[0])


def _judged(status: int, body: bytes) -> Object:
    try:
        answer: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = {"reason": "Unknown", "message": body[:500].decode(errors="replace")}
    if status < 400:
        return answer
    raise ApiError(
        status, answer.get("reason") or "Unknown", answer.get("message") or f"HTTP {status}"
    )


def _event(line: bytes) -> Object:
    event: Object = orjson.loads(line)
    if event["type"] == "ERROR":
        status = event["object"]
        raise ApiError(
            status.get("code", 500), status.get("reason", "Unknown"), status.get("message", "")
        )
    return event


class suppress_codes(suppress):  # noqa: N801 - reads as contextlib.suppress, which it narrows
    """Like `contextlib.suppress`, for answers of the API by their code."""

    def __init__(self, *codes: int) -> None:
        super().__init__(ApiError)
        self._codes = codes

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> bool:
        return isinstance(error, ApiError) and error.code in self._codes


Change = Callable[[Object | None, Object | None], None]


class Informer:
    """All objects of one resource, kept current by list and watch. `items` are read, never changed.

    Subscribers are told (before, after) of every difference, after `items` has it.
    """

    def __init__(self, client: Client, resource: Resource, **params: str) -> None:
        self.resource = resource
        self.items: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        self._client = client
        self._params = params
        self._version = ""
        self._subscribers: list[Change] = []

    def subscribe(self, change: Change) -> None:
        self._subscribers.append(change)
        for document in self.items.values():
            change(None, document)

    def get(self, name: str, namespace: str = "") -> Object | None:
        return self.items.get((namespace, name))

    def learn(self, document: Object) -> None:
        """What the caller just wrote is known at once, before the watch tells of it."""
        self._store(key_of(document), document)

    def clear(self) -> None:
        """Nothing of it is there any more."""
        for key in list(self.items):
            self._store(key, None)

    def in_namespace(self, namespace: str) -> list[Object]:
        return [document for (where, _), document in self.items.items() if where == namespace]

    async def run(self) -> None:
        """Forever: list, watch, and list again where the watch cannot go on."""
        attempt = 0
        while True:
            before = self._version
            try:
                if not self._version:
                    await self._relist()
                await self._follow()
            except ApiError as error:
                logger.debug("watching %s: %s", self.resource.plural, error)
                if error.code in _START_AGAIN:
                    self._version = ""
            except ApiAwayError as error:
                logger.debug("watching %s: %s", self.resource.plural, error)
            attempt = 0 if self._version != before else attempt + 1
            await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])

    async def _relist(self) -> None:
        answer = await self._client.call("GET", self.resource.path(), params=self._params)
        fresh = {key_of(document): document for document in answer["items"]}
        for key in [key for key in self.items if key not in fresh]:
            self._store(key, None)
        for key, document in fresh.items():
            self._store(key, document)
        self._version = answer["metadata"]["resourceVersion"]
        self.synced.set()

    async def _follow(self) -> None:
        params = {**self._params, "resourceVersion": self._version}
        async for event in self._client.watch(self.resource.path(), params):
            document = event["object"]
            if event["type"] != "BOOKMARK":
                gone = event["type"] == "DELETED"
                self._store(key_of(document), None if gone else document)
            self._version = document["metadata"]["resourceVersion"]

    def _store(self, key: Key, after: Object | None) -> None:
        before = self.items.get(key)
        if after is None:
            if self.items.pop(key, None) is None:
                return
        elif before is not None and _is_older_or_same(after, before):
            return
        else:
            self.items[key] = after
        for change in self._subscribers:
            change(before, after)


def _is_older_or_same(one: Object, other: Object) -> bool:
    """Of two states of the same object; the watch may lag behind what was learned from a write."""
    mine, its = one["metadata"], other["metadata"]
    return mine["uid"] == its["uid"] and int(mine["resourceVersion"]) <= int(its["resourceVersion"])
