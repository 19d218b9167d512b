"""What is on the disks: durable, and bound to the Proxmox volume rather than to the VM.

A volume that Proxmox deletes takes its content with it; a VM that is created again around a kept volume finds it.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

from windlass.lab.machine import Medium
from windlass.lab.store import Section


@dataclass(frozen=True)
class EtcdData:
    """The etcd data directory on EPHEMERAL: which member of which cluster this is."""

    cluster: str
    member: int


@dataclass(frozen=True)
class Content:
    """One disk. `boots` is the Talos in the active boot slot; `config` is what STATE holds."""

    boots: Medium | None = None
    fallback: Medium | None = None
    config: str | None = None
    etcd: EtcdData | None = None
    node_id: str | None = None

    def to_document(self) -> dict[str, Any]:
        return {
            "boots": _medium_document(self.boots),
            "fallback": _medium_document(self.fallback),
            "config": self.config,
            "etcd": {"cluster": self.etcd.cluster, "member": str(self.etcd.member)}
            if self.etcd
            else None,
            "node_id": self.node_id,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        etcd = document["etcd"]
        return cls(
            boots=_medium(document["boots"]),
            fallback=_medium(document["fallback"]),
            config=document["config"],
            # Member ids use all 64 bits, which JSON numbers cannot be trusted with.
            etcd=EtcdData(etcd["cluster"], int(etcd["member"])) if etcd else None,
            node_id=document["node_id"],
        )


def _medium_document(medium: Medium | None) -> dict[str, str] | None:
    if medium is None:
        return None
    return {"version": medium.version, "schematic": medium.schematic, "platform": medium.platform}


def _medium(document: dict[str, str] | None) -> Medium | None:
    return Medium(**document) if document else None


class Disks:
    """All disks that a Talos ever wrote to, by volume."""

    def __init__(self, section: Section) -> None:
        self._section = section

    def read(self, volume: str) -> Content:
        document = self._section.get(volume)
        return Content.from_document(document) if document else Content()

    def write(self, volume: str, content: Content) -> None:
        self._section[volume] = content.to_document()

    def change(self, volume: str, **fields: Any) -> Content:
        content = replace(self.read(volume), **fields)
        self.write(volume, content)
        return content

    def remove(self, volume: str) -> None:
        self._section.pop(volume, None)
