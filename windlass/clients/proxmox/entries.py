"""Entries of Proxmox's lists as they come, before they are answers: only the keys that are read."""

from datetime import datetime

from windlass.models.proxmox import Answer


class Version(Answer):
    version: str


class ClusterEntry(Answer):
    """One line of cluster/status: the cluster itself, or one of its hosts."""

    type: str
    name: str
    online: bool = False
    quorate: bool = False


class HostTime(Answer):
    time: datetime


class Bridge(Answer):
    iface: str


class Mapped(Answer):
    """`map` holds one property string for each host that has the device."""

    id: str
    map: tuple[str, ...]


class Member(Answer):
    """A pool's member; a storage has no vmid."""

    vmid: int | None = None


class PoolEntry(Answer):
    poolid: str
    members: tuple[Member, ...] = ()


class TaskState(Answer):
    """`exitstatus` comes when the task is over."""

    status: str
    exitstatus: str = ""


class LogLine(Answer):
    t: str


class TaskEntry(Answer):
    """`tokenid` is split out of `user`; only a task that is over has `endtime`."""

    upid: str
    type: str
    id: str = ""
    user: str
    tokenid: str | None = None
    starttime: datetime
    endtime: datetime | None = None
