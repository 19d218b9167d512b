"""What the API server says about itself: health, version, discovery and schemas."""

import orjson
from aiohttp import web

from windlass.lab.kubernetes import discovery, openapi
from windlass.lab.kubernetes.answers import json_answer, respond
from windlass.lab.kubernetes.cluster import Cluster
from windlass.lab.kubernetes.documents import Document


class About:
    """Everything that is not a resource."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def health(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._cluster.available():
            return web.Response(text="ok")
        name = request.path.removeprefix("/")
        text = f"[+]ping ok\n[-]etcd failed: reason withheld\n{name} check failed\n"
        return web.Response(text=text, status=500)

    def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path, registry = request.path.rstrip("/"), self._cluster.registry
        accept = request.headers.get("Accept", "")
        if path == "/version":
            return json_answer(self._version())
        if path in ("/api", "/apis") and discovery.wants_aggregated(accept):
            body = orjson.dumps(discovery.aggregated(registry, core=path == "/api"))
            kind = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            return respond(body, content_type=kind)
        if path == "/api":
            return json_answer(discovery.versions(request.host))
        if path == "/apis":
            return json_answer(discovery.group_list(registry))
        if path.startswith("/openapi/v3"):
            return self._openapi(path)
        return self._group(path)

    def _group(self, path: str) -> web.StreamResponse:
        registry = self._cluster.registry
        groups = registry.groups()
        parts = path.strip("/").split("/")
        if parts == ["api", "v1"]:
            return json_answer(discovery.resource_list(registry, "", "v1"))
        if parts[0] == "apis" and len(parts) > 1 and parts[1] in groups:
            if len(parts) == 2:
                head = {"kind": "APIGroup", "apiVersion": "v1"}
                return json_answer(head | discovery.group(registry, parts[1]))
            if parts[2] in groups[parts[1]]:
                return json_answer(discovery.resource_list(registry, parts[1], parts[2]))
        return web.Response(text="404 page not found\n", status=404)

    def _openapi(self, path: str) -> web.StreamResponse:
        registry = self._cluster.registry
        if path == "/openapi/v3":
            return json_answer(openapi.index(registry, self._cluster.keyspace.revision))
        parts = path.removeprefix("/openapi/v3/").split("/")
        group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[-1])
        found = registry.of_version(group, version)
        if not found:
            return web.Response(text="404 page not found\n", status=404)
        custom = {r.kind: self._cluster.custom.raw_schema(r) for r in found if r.custom}
        return json_answer(openapi.document(registry, group, version, self._cluster.minor, custom))

    def _version(self) -> Document:
        major, minor = self._cluster.minor.split(".")
        return {
            "major": major,
            "minor": minor,
            "gitVersion": self._cluster.version,
            "gitCommit": "windlass-lab",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "none",
            "compiler": "none",
            "platform": "linux/amd64",
        }
