"""etcd as the machines of a lab form it: clusters, members, voters, quorum. No keys: those are Kubernetes' own.

Membership is durable and belongs to the cluster; which members run is not, and belongs to the machines.
"""

import secrets
from dataclasses import dataclass
from typing import Any

from windlass.lab.store import Section
from windlass.lab.talos.disks import EtcdData


@dataclass(frozen=True)
class Member:
    """`name` is the machine's hostname, `address` where its peers reach it: in a lab that is its loopback address."""

    id: int
    name: str
    address: str
    learner: bool

    @property
    def peer_url(self) -> str:
        return f"https://{self.address}:2380"

    @property
    def client_url(self) -> str:
        return f"https://{self.address}:2379"


class EtcdError(Exception):
    """etcd refuses; the message is its own."""


class Etcd:
    """Every etcd cluster that was ever bootstrapped here. More than one for one `group` is a split brain.

    `group` tells which machines belong together: the digest of their etcd authority.
    """

    def __init__(self, section: Section) -> None:
        self._section = section
        self._running: set[int] = set()

    def clusters(self, group: str | None = None) -> list[str]:
        """Oldest first."""
        found = [
            (doc["born"], key)
            for key, doc in self._section.items()
            if group in {None, doc["group"]}
        ]
        return [key for _, key in sorted(found)]

    def members(self, cluster: str) -> list[Member]:
        """By id, as etcd lists them."""
        members = self._section.get(cluster, {"members": {}})["members"].items()
        listed = [Member(int(key), m["name"], m["address"], m["learner"]) for key, m in members]
        return sorted(listed, key=lambda member: member.id)

    def bootstrap(self, group: str, name: str, address: str) -> EtcdData:
        """A new cluster of one voter."""
        member, cluster = _member_id(), secrets.token_hex(8)
        self._section[cluster] = {
            "group": group,
            "born": len(self._section),
            "term": 1,
            "leader": None,
            "members": {str(member): {"name": name, "address": address, "learner": False}},
        }
        return EtcdData(cluster, member)

    def join(self, group: str, name: str, address: str) -> EtcdData | None:
        """A learner in a cluster that can decide, in place of what was left of the same name; None if there is none."""
        for cluster in self.clusters(group):
            if not self.has_quorum(cluster):
                continue
            member = _member_id()
            document = self._section[cluster]
            kept = {key: m for key, m in document["members"].items() if m["name"] != name}
            kept[str(member)] = {"name": name, "address": address, "learner": True}
            self._put(cluster, document | {"members": kept})
            return EtcdData(cluster, member)
        return None

    def promote(self, data: EtcdData) -> bool:
        """The learner votes from now on; False while the cluster cannot decide."""
        document = self._section[data.cluster]
        if str(data.member) not in document["members"] or not self.has_quorum(data.cluster):
            return False
        members = document["members"]
        members[str(data.member)] = members[str(data.member)] | {"learner": False}
        self._put(data.cluster, document | {"members": members})
        return True

    def remove(self, cluster: str, member: int) -> None:
        """Raises EtcdError in etcd's own words."""
        if not self.has_quorum(cluster):
            raise EtcdError("etcdserver: request timed out")
        document = self._section[cluster]
        members = document["members"]
        if str(member) not in members:
            raise EtcdError("etcdserver: member not found")
        rest = [int(key) for key, m in members.items() if int(key) != member and not m["learner"]]
        if len([m for m in rest if m in self._running]) < len(rest) // 2 + 1:
            raise EtcdError("etcdserver: re-configuration failed due to not enough started members")
        del members[str(member)]
        self._running.discard(member)
        self._put(cluster, document | {"members": members})

    def is_member(self, data: EtcdData) -> bool:
        return any(member.id == data.member for member in self.members(data.cluster))

    def is_learner(self, data: EtcdData) -> bool:
        return any(
            member.id == data.member and member.learner for member in self.members(data.cluster)
        )

    def up(self, data: EtcdData) -> None:
        self._running.add(data.member)
        self._elect(data.cluster)

    def down(self, data: EtcdData) -> None:
        self._running.discard(data.member)
        self._elect(data.cluster)

    def is_running(self, member: int) -> bool:
        return member in self._running

    def has_quorum(self, cluster: str) -> bool:
        voters = [member.id for member in self.members(cluster) if not member.learner]
        return (
            bool(voters) and len([v for v in voters if v in self._running]) >= len(voters) // 2 + 1
        )

    def leader(self, cluster: str) -> int | None:
        leader = self._section[cluster]["leader"]
        return int(leader) if leader else None

    def term(self, cluster: str) -> int:
        return self._section[cluster]["term"]

    def move_leader(self, cluster: str, member: int) -> int | None:
        """`member` gives leadership to another running voter; its id, or None when `member` does not lead.

        Raises EtcdError when nobody else can lead.
        """
        voters = [m.id for m in self.members(cluster) if not m.learner]
        if len(voters) == 1:
            raise EtcdError("cannot forfeit leadership, only one member")
        if self.leader(cluster) != member:
            return None
        others = [v for v in voters if v != member and v in self._running]
        if not others:
            raise EtcdError("etcdserver: unhealthy cluster")
        self._lead(cluster, others[0])
        return others[0]

    def state(self) -> list[dict[str, Any]]:
        """Ground truth for the observer."""
        return [
            {
                "cluster": cluster,
                "group": self._section[cluster]["group"],
                "quorum": self.has_quorum(cluster),
                "leader": f"{self.leader(cluster) or 0:016x}",
                "members": [
                    {
                        "id": f"{m.id:016x}", "name": m.name, "address": m.address, "voter": not m.learner,
                        "healthy": m.id in self._running,
                    }
                    for m in self.members(cluster)
                ],
            }
            for cluster in self.clusters()
        ]  # fmt: skip

    def _put(self, cluster: str, document: dict[str, Any]) -> None:
        self._section[cluster] = document
        self._elect(cluster)

    def _elect(self, cluster: str) -> None:
        voters = [m.id for m in self.members(cluster) if not m.learner and m.id in self._running]
        leader = self.leader(cluster)
        if not self.has_quorum(cluster):
            if leader is not None:
                self._section[cluster] = self._section[cluster] | {"leader": None}
        elif leader not in voters:
            self._lead(cluster, min(voters))

    def _lead(self, cluster: str, member: int) -> None:
        document = self._section[cluster]
        self._section[cluster] = document | {"leader": str(member), "term": document["term"] + 1}


def _member_id() -> int:
    return secrets.randbits(63) | 1 << 63
