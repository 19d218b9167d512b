"""The calls themselves, one file a subject. Importing this package fills the route table."""

from windlass.lab.proxmox.api import (
    access,
    clones,
    cluster,
    mapping,
    nodes,
    power,
    qemu,
    snapshots,
    storage,
    tasks,
)

__all__ = [
    "access",
    "clones",
    "cluster",
    "mapping",
    "nodes",
    "power",
    "qemu",
    "snapshots",
    "storage",
    "tasks",
]
