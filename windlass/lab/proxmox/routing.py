"""The route table: every call that the simulated Proxmox VE serves, with its parameters and its permission."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windlass.lab.oplog import Actor
from windlass.lab.proxmox.access import Identity
from windlass.lab.proxmox.checks import Check
from windlass.lab.proxmox.parameters import Parameter, table
from windlass.lab.proxmox.refusals import Refusal

if TYPE_CHECKING:
    from windlass.lab.proxmox.datacenter import Datacenter


@dataclass
class Call:
    """One call as a handler gets it: parameters verified and typed, path parameters among them.

    `host` is the one that was asked. `extra` becomes top-level keys of the answer beside `data`.
    """

    dc: "Datacenter"
    identity: Identity
    actor: Actor
    host: str
    given: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def node(self) -> str:
        return str(self.given["node"])

    @property
    def vmid(self) -> int:
        return int(self.given["vmid"])

    def text(self, name: str, default: str = "") -> str:
        return str(self.given.get(name, default))

    def number(self, name: str, default: int = 0) -> int:
        return int(self.given.get(name, default))

    def flag(self, name: str, *, default: bool = False) -> bool:
        return bool(self.given.get(name, default))


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """One method on one path. `token` says whether API tokens may use it, `login` whether a login is needed.

    `lacks` are parameters that mean something in Proxmox VE and nothing here.
    """

    method: str
    path: str
    pattern: re.Pattern[str]
    parameters: dict[str, Parameter]
    check: Check
    handler: Handler
    token: bool = True
    login: bool = True
    lacks: tuple[str, ...] = ()

    def check_lacks(self, given: Mapping[str, Any]) -> None:
        """Raises: Refusal 501, by name, for what is asked of the lab and not done by it."""
        asked = [name for name in self.lacks if given.get(name)]
        if asked:
            raise Refusal(f"the lab does not obey {', '.join(asked)}", status=501)


ROUTES: list[Route] = []
_PATH_TYPES = {
    "node": "node", "vmid": "vmid", "storage": "storage", "upid": "upid", "volume": "s", "snapname": "snapname",
    "userid": "userid", "tokenid": "tokenid", "roleid": "roleid", "id": "config-id",
}  # fmt: skip


def serves(
    method: str,
    path: str,
    check: Check,
    parameters: str | dict[str, Parameter] = "",
    *,
    token: bool = True,
    login: bool = True,
    lacks: tuple[str, ...] = (),
) -> Callable[[Handler], Handler]:
    """Register a handler. Path parameters get their types from their names; `{volume}` takes the rest of the path."""

    def register(handler: Handler) -> Handler:
        names = re.findall(r"\{(\w+)\}", path)
        shape = re.sub(
            r"\{(\w+)\}", lambda m: f"(?P<{m[1]}>{'.+' if m[1] == 'volume' else '[^/]+'})", path
        )
        own = table(parameters) if isinstance(parameters, str) else parameters
        wanted = table(" ".join(f"{name}:{_PATH_TYPES[name]}" for name in names)) | own
        ROUTES.append(
            Route(method, path, re.compile(shape), wanted, check, handler, token, login, lacks)
        )
        return handler

    return register


def find(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a decoded path below `/api2/json`, and its path parameters."""
    for route in ROUTES:
        if route.method == method and (found := route.pattern.fullmatch(path)):
            return route, found.groupdict()
    return None
