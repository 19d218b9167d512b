"""From an HTTP request to an answer: authentication, routing, bodies, statuses and streams."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from windlass.lab.kubernetes import (
    admission,
    bodies,
    faults,
    logs,
    protobuf,
    status,
    subresources,
)
from windlass.lab.kubernetes.about import About
from windlass.lab.kubernetes.answers import JSON, respond
from windlass.lab.kubernetes.calls import Call, User, resolve
from windlass.lab.kubernetes.cluster import Cluster, Outcome
from windlass.lab.kubernetes.deletion import options_of
from windlass.lab.kubernetes.documents import Document
from windlass.lab.kubernetes.forms import Form
from windlass.lab.kubernetes.keyspace import Stored
from windlass.lab.kubernetes.logs import LogOptions, PodLogs
from windlass.lab.kubernetes.operations import Operations
from windlass.lab.kubernetes.status import ApiError
from windlass.lab.kubernetes.watching import Watch, list_objects, stale_by

# The first address of the service network is the API's own.
_OWN_ADDRESS = str(admission.SERVICE_NETWORK.network_address + 1)
_BODIES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


def _no_logs(namespace: str, name: str, options: LogOptions) -> AsyncIterator[bytes] | None:
    del namespace, name, options
    return None


class Endpoints:
    """Everything the server answers."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        faults.declare(cluster.world.faults)
        self.operations = Operations(cluster)
        self._about = About(cluster)
        self.pod_logs: PodLogs = _no_logs
        self.prepared = False
        self._scales = subresources.Scales(self.operations)
        self._evictions = subresources.Evictions(self.operations)
        self._bindings = subresources.Bindings(self.operations)

    def prepare(self) -> None:
        """Make what an API server makes by itself as soon as there is an etcd to keep it."""
        self.prepared = True
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self._ensure("/api/v1/namespaces", {"metadata": {"name": name}})
        for name, value in admission.SYSTEM_PRIORITIES.items():
            path = "/apis/scheduling.k8s.io/v1/priorityclasses"
            self._ensure(path, {"metadata": {"name": name}, "value": value})
        port = {"name": "https", "port": 443, "targetPort": 6443}
        service = {
            "metadata": {"name": "kubernetes"},
            "spec": {"clusterIP": _OWN_ADDRESS, "ports": [port]},
        }
        self._ensure("/api/v1/namespaces/default/services", service)

    def _ensure(self, path: str, doc: Document) -> None:
        target = resolve(path, self.cluster.registry)
        storage, namespace, _ = target.key
        if self.cluster.keyspace.get(storage, namespace, doc["metadata"]["name"]) is not None:
            return
        call = Call(
            verb="create",
            target=target,
            query={},
            user=User("system:apiserver", ("system:masters",)),
            user_agent="kube-apiserver",
            now=self.cluster.world.clock.now(),
        )
        self.operations.create(call, doc)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            return respond(orjson.dumps(error.json()), error.code, error.headers)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path in ("/healthz", "/livez", "/readyz"):
            return self._about.health(request)
        user = _user(request)
        if not path.startswith(("/api/", "/apis/")) or path.count("/") < 3:
            return self._about.answer(request)
        if path.startswith("/apis/") and path.rstrip("/").count("/") == 3:
            return self._about.answer(request)
        return await self._resource(request, user)

    async def _resource(self, request: web.BaseRequest, user: User) -> web.StreamResponse:
        target = resolve(request.path, self.cluster.registry)
        query = dict(request.query)
        verb = _verb(request.method, bool(target.name), query)
        call = Call(
            verb=verb,
            target=target,
            query=query,
            user=user,
            user_agent=request.headers.get("User-Agent", ""),
            now=self.cluster.world.clock.now(),
            # A body without a type is JSON, as it is for the real server.
            content_type=request.content_type if "Content-Type" in request.headers else JSON,
            accept=request.headers.get("Accept", ""),
        )
        self._authorize(call)
        if not self.cluster.available():
            raise ApiError(500, "", "etcdserver: request timed out")
        if not self.prepared:
            self.prepare()
        self._check_verb(call)
        switched = self.cluster.world.faults
        faults.refuse(switched, call)
        if verb == "watch":
            return await self._watch(request, call)
        if target.subresource == "log":
            return await self._log(request, call)
        body = await self._body(request, call)
        answer = self._perform(call, body)
        if faults.fires(switched, faults.LOST_ANSWER, call) and request.transport:
            request.transport.abort()
        if faults.fires(switched, faults.SLOW, call):
            return await self._slowly(request, answer)
        return answer

    async def _slowly(self, request: web.BaseRequest, answer: web.Response) -> web.StreamResponse:
        body = answer.body
        assert isinstance(body, bytes)  # every answer of this server is rendered
        headers = {"Content-Type": JSON, "Content-Length": str(len(body))}
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        for byte in body:
            await response.write(bytes([byte]))
            await self.cluster.world.clock.sleep(1)
        await response.write_eof()
        return response

    def _authorize(self, call: Call) -> None:
        if call.user.may_everything or call.target.resource.kind.startswith("SelfSubject"):
            return
        target = call.target
        where = (
            f' in the namespace "{target.namespace}"'
            if target.namespace
            else " at the cluster scope"
        )
        what = target.resource.plural + (f"/{target.subresource}" if target.subresource else "")
        why = (
            f'User "{call.user.name}" cannot {call.verb} resource "{what}" in API group '
            f'"{target.resource.group}"{where}'
        )
        raise status.forbidden(target.resource.about(target.name), why)

    def _check_verb(self, call: Call) -> None:
        target = call.target
        if target.subresource and target.subresource not in target.resource.subresources:
            raise status.no_such_resource()
        if not target.subresource and call.verb not in target.resource.verbs:
            raise status.method_not_allowed()
        if target.subresource:
            return
        nowhere = target.resource.namespaced and target.namespace is None
        if call.verb in ("create", "deletecollection") and (nowhere or target.name):
            raise status.method_not_allowed()
        if call.verb in ("update", "patch") and not target.name:
            raise status.method_not_allowed()

    async def _body(self, request: web.BaseRequest, call: Call) -> Any:
        raw = await request.read()
        if not raw:
            return None if call.verb in ("delete", "deletecollection", "get", "list") else {}
        media = call.content_type
        if call.verb == "patch":
            if media not in _PATCHES:
                raise ApiError(
                    415, "UnsupportedMediaType", "415: Unsupported Media Type", details={}
                )
        elif media not in _BODIES:
            raise status.unsupported_media_type(_BODIES)
        if media == protobuf.MEDIA:
            return protobuf.decode(raw, call.target.resource.kind)
        return bodies.parse(raw, call)

    def _perform(self, call: Call, body: Any) -> web.Response:
        verb, target = call.verb, call.target
        if verb == "list":
            return respond(list_objects(call, self.cluster).render())
        if verb == "deletecollection":
            # Only the page that was asked for goes, and the answer shows it as it was.
            page = list_objects(call, self.cluster)
            self.operations.deletions.of_collection(call, options_of(call, body), page.objects)
            return respond(page.render())
        if target.subresource or target.resource.kind in _REVIEWED:
            return self._render(call, self._subresource(call, body))
        if verb == "get":
            return self._render(call, Outcome(self._read(call)))
        actions: dict[str, Callable[[Call, Any], Outcome]] = {
            "create": self.operations.create,
            "update": self.operations.update,
            "patch": self.operations.patch,
            "delete": lambda call, body: self.operations.deletions.delete(
                call, options_of(call, body)
            ),
        }
        return self._render(call, actions[verb](call, body))

    def _read(self, call: Call) -> Stored:
        target = call.target
        if lag := stale_by(call, self.cluster):
            at = max(self.cluster.keyspace.revision - lag, 1)
            past = self.cluster.keyspace.past(target.resource.storage, at)
            found = past.get((target.namespace or "", target.name))
            if found is None:
                raise status.not_found(target.resource.about(target.name))
            return found
        return self.operations.get(target)

    def _subresource(self, call: Call, body: Any) -> Outcome:
        """Whatever is not a plain read or write of an object."""
        name, resource = call.target.subresource, call.target.resource
        if resource.kind == "Binding" or name == "binding":
            return self._bindings.create(call, body)
        if not name:
            return subresources.review(call, body)
        if name == "scale":
            return (
                self._scales.get(call.target)
                if call.verb == "get"
                else self._scales.write(call, body)
            )
        if name == "eviction":
            return self._evictions.create(call, body)
        if name == "finalize":
            return subresources.finalize(self.operations, call, body)
        if name in ("token", "ephemeralcontainers", "resize"):
            raise status.not_implemented(f"{resource.plural}/{name}")
        if call.verb == "get":
            return Outcome(self.operations.get(call.target))
        return (
            self.operations.patch(call, body)
            if call.verb == "patch"
            else self.operations.update(call, body)
        )

    async def _log(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        """A container's log, from the kubelet that runs it."""
        options = logs.options_of(call)
        pod = self.operations.get(call.target).doc
        options = replace(options, container=logs.container_of(pod, options))
        source = self.pod_logs(call.target.namespace or "", call.target.name, options)
        if source is None and not pod["spec"].get("nodeName"):
            return web.Response(status=204)
        if source is None:
            raise logs.absence(pod, options)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        async for line in source:
            await response.write(line)
        await response.write_eof()
        return response

    def _render(self, call: Call, outcome: Outcome) -> web.Response:
        headers = [("Warning", f'299 - "{_quoted(text)}"') for text in call.warnings]
        if isinstance(outcome.stored, Stored):
            body = Form.of(call, self.cluster).one(outcome.stored)
        else:
            body = orjson.dumps(outcome.doc)
        response = respond(body, outcome.code)
        for name, value in headers:
            response.headers.add(name, value)
        return response

    async def _watch(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        watch = Watch.open(call, self.cluster)
        response = web.StreamResponse(headers={"Content-Type": JSON})
        response.enable_chunked_encoding()
        try:
            await response.prepare(request)
            async for batch in watch.batches():
                await response.write(batch)
            await response.write_eof()
        except ConnectionResetError:
            return response
        finally:
            watch.close()
        return response


_REVIEWED = {
    "Binding", "SelfSubjectReview", "TokenReview", "LocalSubjectAccessReview",
    "SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview",
}  # fmt: skip
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


def _verb(method: str, named: bool, query: dict[str, str]) -> str:
    if method in ("GET", "HEAD"):
        if query.get("watch", "").lower() in ("1", "true"):
            return "watch"
        return "get" if named else "list"
    if method == "DELETE":
        return "delete" if named else "deletecollection"
    if method not in _VERBS:
        raise status.method_not_allowed()
    return _VERBS[method]


def _user(request: web.BaseRequest) -> User:
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport else None
    if not certificate:
        raise status.unauthorized()
    parts = [pair for rdn in certificate["subject"] for pair in rdn]
    names = [value for key, value in parts if key == "commonName"]
    groups = tuple(value for key, value in parts if key == "organizationName")
    return User(names[0] if names else "", (*groups, "system:authenticated"))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
