"""What the Talos API is given and answers, without its wire format."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

ApplyMode = Literal["auto", "no-reboot", "staged", "try"]
RebootMode = Literal["default", "powercycle", "force"]


@dataclass(frozen=True, repr=False)
class TalosCredentials:
    """The OS CA and a client certificate, PEM; `key` with Talos' label or OpenSSL's."""

    ca: str
    crt: str
    key: str


@dataclass(frozen=True)
class TalosVersionInfo:
    """What a machine runs. `mode` is Talos' platform mode: metal, cloud or container."""

    tag: str
    arch: str
    platform: str
    mode: str


@dataclass(frozen=True)
class MachineStatus:
    """How far a machine is. `unmet` are the conditions it still waits for, each with its reason.

    `ready` says nothing about membership: a machine in maintenance is ready too.
    """

    stage: str
    ready: bool
    unmet: tuple[str, ...] = ()


@dataclass(frozen=True)
class MachineIdentity:
    """What tells one machine from another before it has a config. `uuid` and `macs` in lower case."""

    uuid: str
    macs: frozenset[str]


@dataclass(frozen=True)
class TalosDisk:
    """One disk as Talos sees it. `size` in bytes."""

    device: str
    size: int
    model: str = ""
    serial: str = ""
    system: bool = False
    readonly: bool = False


@dataclass(frozen=True)
class ApplyResult:
    """What Talos did with a config: the mode it really used, its own words and what it warned of."""

    mode: str
    details: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service:
    """A service of a machine. One without a health check, or before its first, counts as healthy: Talos does so too.

    `events` are what it last said of itself since the machine booted, the newest last.
    """

    id: str
    state: str
    healthy: bool
    message: str = ""
    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class EtcdMember:
    """A member of etcd's cluster. Ids are unsigned 64-bit numbers."""

    id: int
    hostname: str
    peer_urls: tuple[str, ...]
    is_learner: bool


@dataclass(frozen=True)
class EtcdStatus:
    """One member as it sees itself. Sizes in bytes; `leader` is 0 while there is none."""

    member_id: int
    leader: int
    is_learner: bool
    db_size: int
    db_size_in_use: int
    raft_term: int
    raft_index: int
    raft_applied_index: int
    version: str
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerTime:
    """A machine's clock beside the time server it compared itself with."""

    server: str
    local: datetime
    remote: datetime
