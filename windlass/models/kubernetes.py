"""What the Kubernetes API answers, reduced to what is read. Names and texts in it are data."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Taint:
    """`value` is empty where the taint has none."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True)
class NodeState:
    """One node. `reason` says why it is not ready; `addresses` are its internal ones."""

    name: str
    uid: str
    ready: bool
    ready_since: str
    """When `ready` last changed, as the API says it."""
    reason: str
    addresses: tuple[str, ...]
    unschedulable: bool
    kubelet_version: str
    boot_id: str
    labels: dict[str, str]
    taints: tuple[Taint, ...]


@dataclass(frozen=True)
class PodState:
    """One pod. `reason` is why it is not ready: waiting, terminated or its conditions' words."""

    namespace: str
    name: str
    node: str
    phase: str
    ready: bool
    reason: str
    restarts: int
    owner: str
    """`Kind/name` of its controller; empty for a pod of its own."""
    mirror: bool
    """A static pod's image in the API: nobody can delete it there."""
    labels: dict[str, str] = field(default_factory=dict[str, str])
    deleted: bool = False
    """It has been asked to end."""


@dataclass(frozen=True)
class WorkloadState:
    """How far a Deployment, StatefulSet or DaemonSet is. `current`: the status is of this spec."""

    kind: str
    namespace: str
    name: str
    desired: int
    ready: int
    updated: int
    current: bool

    @property
    def is_ready(self) -> bool:
        return self.current and self.ready >= self.desired and self.updated >= self.desired


@dataclass(frozen=True)
class Condition:
    """One condition of an Application: `type` such as ComparisonError, and what it says."""

    type: str
    message: str


@dataclass(frozen=True)
class ApplicationState:
    """One Argo CD Application. Fields are empty until its controller has written them.

    `revision` is what it was compared with; `operation_phase` is the last sync's.
    """

    name: str
    namespace: str
    sync: str
    health: str
    health_message: str
    revision: str
    operation_phase: str
    operation_revision: str
    message: str
    conditions: tuple[Condition, ...]
    automated: bool
    reconciled: datetime | None
