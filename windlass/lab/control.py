"""How to talk to a running lab from outside: a unix socket in its folder, for faults, ground truth and the end."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from windlass.lab.faults import UnknownFaultError
from windlass.lab.world import World

SOCKET = "control.sock"


class Control:
    """HTTP on `control.sock`: GET /state, GET|POST|DELETE /faults, POST /stop."""

    def __init__(
        self, world: World, state: Callable[[], dict[str, Any]], stop: asyncio.Event
    ) -> None:
        self._world = world
        self._state = state
        self._stop = stop
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/state", self._get_state)
        app.router.add_get("/faults", self._get_faults)
        app.router.add_post("/faults", self._set_fault)
        app.router.add_delete("/faults", self._clear_faults)
        app.router.add_post("/stop", self._end)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        path = self._world.folder / SOCKET
        path.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(path)).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        (self._world.folder / SOCKET).unlink(missing_ok=True)

    async def _get_state(self, _request: web.Request) -> web.Response:
        return _json({"time": self._world.clock.time(), **self._state()})

    async def _get_faults(self, _request: web.Request) -> web.Response:
        faults = self._world.faults
        return _json(
            {
                "known": faults.known(),
                "active": [
                    {"name": f.name, "args": f.args, "left": f.left, "fired": f.fired}
                    for f in faults.active()
                ],
            }
        )

    async def _set_fault(self, request: web.Request) -> web.Response:
        body = await request.json()
        try:
            self._world.faults.set(body["name"], times=body.get("times"), **body.get("args", {}))
        except UnknownFaultError as unknown:
            return _json({"error": str(unknown)}, status=404)
        return _json({})

    async def _clear_faults(self, request: web.Request) -> web.Response:
        try:
            self._world.faults.clear(request.query.getall("name", []))
        except UnknownFaultError as unknown:
            return _json({"error": str(unknown)}, status=404)
        return _json({})

    async def _end(self, _request: web.Request) -> web.Response:
        self._stop.set()
        return _json({})


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
