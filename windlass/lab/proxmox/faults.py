"""What the simulated Proxmox VE can get wrong, by name, and the faults of the wire."""

import asyncio
from dataclasses import dataclass

from aiohttp import web

from windlass.lab.faults import Fault, Faults
from windlass.lab.proxmox.refusals import Refusal
from windlass.lab.proxmox.wire import NO_ANSWER, answer, refuse
from windlass.lab.world import World

DECLARED = {
    "pve-lock": "a VM is locked: vmid=, lock= (backup, clone, snapshot, migrate, create)",
    "pve-flock": "a VM's lock file is held by somebody else: vmid=",
    "pve-task-fail": "a task ends with text=: type=, vmid=, node=, executed=1 after its effect",
    "pve-task-warnings": "a task ends well with WARNINGS: count=; type=, vmid=",
    "pve-no-worker": "no worker starts: type=, node=",
    "pve-lost-answer": "the call is executed, no answer comes; with status= 596 after 30 s: method=, path=, route=",
    "pve-proxy-error": "status=595..599 from the proxy hop; 596 and up execute the call unless executed=0: method=, path=, route=",
    "pve-empty-200": "the call is executed, the answer is 200 with data null: method=, path=, route=",
    "pve-html": "a web page with status 200 instead of the API: method=, path=, route=",
    "pve-slow": "the answer comes one byte a second: method=, path=, route=",
    "pve-reset": "the connection is cut before the call is executed, or after it with executed=1: method=, path=, route=",
    "pve-no-quorum": "the cluster has no quorum",
    "pve-storage-full": "a storage has no room: storage=, node=",
    "pve-storage-offline": "a storage cannot be reached: storage=, node=",
    "pve-token-revoked": "a token is not valid any more: token=",
    "pve-host-offline": "a host has lost its power: node=",
    "pve-foreign-vm": "a stranger takes the id right before a create: vmid=, node=",
    "pve-lost-upid": "a task runs and nobody finds it: type=, vmid=, node=",
    "pve-io-error": "a running VM shows io-error: vmid=",
    "download-truncated": "half of a download arrives: node=",
    "tls-wrong-certificate": "a host shows a wrong certificate: kind= (expired, not-yet-valid, wrong-name, wrong-ca, self-signed), node=",
}  # fmt: skip

# The proxy's own patience with a silent host, in seconds.
PROXY_S = 30
_HOLD_S = 3600


def declare(faults: Faults) -> None:
    for name, does in DECLARED.items():
        faults.declare(name, does)


@dataclass(frozen=True)
class WireFault:
    """A fault that is on for this request, decided before it is executed."""

    fault: Fault
    world: World

    @classmethod
    def of(cls, world: World, method: str, path: str, route: str) -> "WireFault | None":
        names = (
            "pve-lost-answer",
            "pve-proxy-error",
            "pve-empty-200",
            "pve-html",
            "pve-slow",
            "pve-reset",
        )
        for name in names:
            fault = world.faults.fires(name, method=method, path=path, route=route)
            if fault is not None:
                return cls(fault, world)
        return None

    @property
    def executes(self) -> bool:
        """Whether the call takes effect although its answer is spoiled."""
        if self.fault.name == "pve-html":
            return False
        default = {"pve-proxy-error": self._status != 595, "pve-reset": False}.get(
            self.fault.name, True
        )
        return bool(int(self.fault.args.get("executed", default)))

    @property
    def _status(self) -> int:
        return int(self.fault.args.get("status", 596))

    async def spoil(self, request: web.BaseRequest, response: web.Response) -> web.StreamResponse:
        """What the client gets instead of `response`."""
        name = self.fault.name
        if name == "pve-empty-200":
            return answer(None, {})
        if name == "pve-html":
            return web.Response(
                text="<html><body>Bad Gateway</body></html>", content_type="text/html"
            )
        if name == "pve-proxy-error":
            return refuse(Refusal(NO_ANSWER[self._status], status=self._status))
        if name == "pve-slow":
            return await self._drip(request, response)
        if name == "pve-lost-answer" and "status" in self.fault.args:
            await self.world.clock.sleep(PROXY_S)
            return refuse(Refusal(NO_ANSWER[self._status], status=self._status))
        if name == "pve-lost-answer":
            await asyncio.sleep(_HOLD_S)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError

    @staticmethod
    async def _drip(request: web.BaseRequest, response: web.Response) -> web.StreamResponse:
        slow = web.StreamResponse(
            status=response.status, headers={"Content-Type": "application/json"}
        )
        await slow.prepare(request)
        body = response.body if isinstance(response.body, bytes) else b""
        for byte in body:
            await slow.write(bytes([byte]))
            await asyncio.sleep(1)
        return slow
