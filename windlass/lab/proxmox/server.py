"""One HTTPS listener a host. Each request goes through the decisions of Proxmox VE in Proxmox VE's order."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

import windlass.lab.proxmox.api  # noqa: F401 # pyright: ignore[reportUnusedImport] - fills the route table
from windlass.lab.oplog import Actor
from windlass.lab.proxmox.access import Identity, unauthorized
from windlass.lab.proxmox.datacenter import Datacenter
from windlass.lab.proxmox.faults import WireFault
from windlass.lab.proxmox.parameters import verify
from windlass.lab.proxmox.recorder import Recorder
from windlass.lab.proxmox.refusals import Refusal, bad_parameter, not_implemented
from windlass.lab.proxmox.routing import Call, Route, find
from windlass.lab.proxmox.wire import answer, compress, decode_body, plain, refuse, split_target

_METHODS = ("GET", "POST", "PUT", "DELETE")
_FORMATS = ("json", "extjs")
# What Proxmox VE can answer in and the lab cannot.
_LACKING = ("html", "htmljs", "png", "spiceconfig")
_COOKIE = re.compile(r"(?:^|;\s*)PVEAuthCookie=([^;]*)")


class Api:
    """Answers the requests that arrive at one host."""

    def __init__(self, dc: Datacenter, recorder: Recorder, host: str) -> None:
        self._dc = dc
        self._host = host
        self._recorder = recorder

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, query = split_target(request.raw_path)
        fitting = re.fullmatch(r"/api2/+([a-z][a-z0-9]+)(/.*)?", path)
        if request.method not in _METHODS:
            return plain(501, f"method '{request.method}' not available")
        if request.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return plain(501, "chunked transfer encoding not supported")
        if fitting is None:
            return (
                plain(501, "no such uri")
                if path.startswith("/api2")
                else plain(500, f"no such file '{path}'")
            )
        inner = (fitting[2] or "/").rstrip("/") or "/"
        found = find(request.method, inner)
        wire = WireFault.of(self._dc.world, request.method, inner, found[0].path if found else "")
        if wire is not None and not wire.executes:
            return await wire.spoil(request, answer(None, {}))
        # A client that hangs up does not stop what it asked for.
        response = await asyncio.shield(self._answer(request, fitting[1], inner, query))
        compress(request, response)
        return await wire.spoil(request, response) if wire is not None else response

    async def _answer(
        self, request: web.BaseRequest, form: str, path: str, query: Mapping[str, Any]
    ) -> web.Response:
        line: dict[str, Any] = {
            "method": request.method, "path": path, "agent": request.headers.get("User-Agent", ""), "parameters": dict(query),
        }  # fmt: skip
        try:
            data, extra = await self._decide(request, form, path, query, line)
        except Refusal as refusal:
            self._recorder.record(
                line
                | {"status": refusal.status, "reason": refusal.reason, "errors": refusal.errors}
            )
            if refusal.plain:
                return plain(refusal.status, refusal.text)
            return _extjs(None, refusal) if form == "extjs" else refuse(refusal)
        self._recorder.record(line | {"status": 200, "data": data})
        return _extjs(data, None) if form == "extjs" else answer(data, extra)

    async def _decide(
        self,
        request: web.BaseRequest,
        form: str,
        path: str,
        query: Mapping[str, Any],
        line: dict[str, Any],
    ) -> tuple[Any, dict[str, Any]]:
        found = find(request.method, path)
        identity = self._authenticate(request, found[0] if found else None)
        line["user"] = identity.name
        body = await decode_body(request)
        _check_format(form, path)
        if found is None:
            raise not_implemented(request.method, path)
        route, in_path = found
        line["route"] = route.path
        for name, value in in_path.items():
            if str((body | dict(query)).get(name, value)) != value:
                raise bad_parameter(
                    name,
                    f"duplicate parameter (already defined in URI) with conflicting values ('{value}' != '{(body | dict(query))[name]}')",
                )
        raw: dict[str, Any] = body | dict(query) | in_path
        raw.pop("_dc", None)
        line["parameters"] = raw
        if not route.token and identity.token:
            raise Refusal(
                f"URI '{path}' not available with API token, need proper ticket.", status=403
            )
        route.check(self._dc.access, identity, raw)
        self._proxy(raw.get("node") if "node" in in_path else None)
        actor = Actor.of_user_agent(request.headers.get("User-Agent", ""))
        call = Call(self._dc, identity, actor, self._host, verify(raw, route.parameters))
        route.check_lacks(call.given)
        return await route.handler(call), call.extra

    def _authenticate(self, request: web.BaseRequest, route: Route | None) -> Identity:
        """Cookie before header, as Proxmox VE has it."""
        access = self._dc.access
        header = request.headers.get("Authorization", "")
        cookie = _COOKIE.search(request.headers.get("Cookie", ""))
        if route is not None and not route.login:
            return Identity("")
        if cookie or header.startswith("PVEAuthCookie="):
            identity = access.of_ticket(
                cookie[1] if cookie else header.removeprefix("PVEAuthCookie=")
            )
            if request.method != "GET":
                access.check_csrf(identity, request.headers.get("CSRFPreventionToken", ""))
            return identity
        if header.startswith("PVEAPIToken"):
            return access.of_token(header.removeprefix("PVEAPIToken")[1:])
        raise unauthorized("No ticket")

    def _proxy(self, node: str | None) -> None:
        """The hop to the host that the call is about."""
        if node is None:
            return
        self._dc.host(node)
        if node in self._dc.down:
            raise Refusal("No route to host", status=595)


def _check_format(form: str, path: str) -> None:
    """Raises: Refusal 501."""
    if form in _LACKING:
        raise Refusal(f"the lab does not answer in {form}", status=501, plain=True)
    if form not in _FORMATS:
        raise Refusal(f"no formatter for uri {path}, {form}", status=501, plain=True)


def _extjs(data: Any, refusal: Refusal | None) -> web.Response:
    """The format of the web interface: always 200, the outcome inside."""
    if refusal is None:
        return answer(data, {"success": 1})
    body: dict[str, Any] = {"success": 0, "message": refusal.text, "status": refusal.status}
    return answer(data, body | ({"errors": refusal.errors} if refusal.errors else {}))
