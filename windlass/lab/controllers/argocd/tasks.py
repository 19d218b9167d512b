"""What one sync has to do, in the order of phases, waves and kinds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from windlass.lab.controllers.argocd.compare import Item
from windlass.lab.controllers.argocd.options import DELETE_POLICY, HOOK, values_of
from windlass.lab.controllers.objects import Object, dig

PHASES = ("PreSync", "Sync", "PostSync", "SyncFail")
_ORDER = (
    "Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "PodDisruptionBudget",
    "ServiceAccount", "Secret", "ConfigMap", "StorageClass", "PersistentVolume",
    "PersistentVolumeClaim", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding",
    "Role", "RoleBinding", "Service", "DaemonSet", "Pod", "ReplicationController", "ReplicaSet",
    "Deployment", "HorizontalPodAutoscaler", "StatefulSet", "Job", "CronJob", "IngressClass",
    "Ingress", "APIService",
)  # fmt: skip


@dataclass(eq=False)
class Task:
    """One object in one phase, and how far it is: `status` is its result, `state` its hookPhase."""

    item: Item
    phase: str
    wave: int
    status: str = ""
    state: str = ""
    message: str = ""

    @property
    def is_hook(self) -> bool:
        return self.item.is_hook

    @property
    def is_prune(self) -> bool:
        return self.item.target is None

    @property
    def is_running(self) -> bool:
        return self.state == "Running"

    @property
    def is_lost(self) -> bool:
        return self.state in ("Failed", "Error")

    def deletes(self, policy: str) -> bool:
        """Whether a hook's deletion policies have this one; without any they have BeforeHookCreation."""
        policies = values_of(self.item.said, DELETE_POLICY) or ["BeforeHookCreation"]
        return self.is_hook and policy in policies

    def result(self) -> Object:
        """The entry of the operation's syncResult."""
        entry: Object = {
            "group": self.item.group,
            "version": self.item.version,
            "kind": self.item.kind,
            "namespace": self.item.namespace,
            "name": self.item.name,
            "status": self.status,
            "message": self.message,
            "hookPhase": self.state,
            "syncPhase": self.phase,
        }
        if self.is_hook:
            entry["hookType"] = self.phase
        return {key: value for key, value in entry.items() if value or key == "group"}


def tasks_of(items: Iterable[Item], *, hooks: bool, prune_last: bool, naming: str) -> list[Task]:
    """Everything to do, in order. Without `hooks`, which a selective sync leaves out, only resources.

    `naming` makes a name for a hook that has only the beginning of one; {phase} in it is the task's.
    """
    tasks = [
        Task(_named(item, naming.format(phase=phase.lower())), phase, item.wave)
        for item in items
        if hooks or not item.is_hook
        for phase in _phases_of(item)
    ]
    _turn_prune_waves(tasks, prune_last=prune_last)
    return sorted(tasks, key=_place)


def steps_of(tasks: Sequence[Task]) -> list[list[Task]]:
    """The tasks by phase and wave."""
    steps: dict[tuple[str, int], list[Task]] = {}
    for task in tasks:
        steps.setdefault((task.phase, task.wave), []).append(task)
    return list(steps.values())


def _phases_of(item: Item) -> list[str]:
    if not item.is_hook:
        return [item.phase]
    named = values_of(item.said, HOOK)
    return [phase for phase in PHASES if phase in named]


def _named(item: Item, end: str) -> Item:
    beginning = dig(item.target or {}, "metadata", "generateName", default="")
    if not item.is_hook or not beginning or dig(item.target or {}, "metadata", "name"):
        return item
    target = item.target or {}
    name = f"{beginning}{end}"
    return replace(
        item, name=name, target={**target, "metadata": {**target["metadata"], "name": name}}
    )


def _turn_prune_waves(tasks: list[Task], *, prune_last: bool) -> None:
    """What was made last goes first; what is to be pruned last goes after the last wave."""
    pruned = [task for task in tasks if task.is_prune]
    waves = sorted({task.wave for task in pruned})
    turned = dict(zip(waves, reversed(waves), strict=True))
    last = max((task.wave for task in tasks if task.phase == "Sync"), default=0)
    for task in pruned:
        late = prune_last or task.item.option("PruneLast=true")
        task.wave = max(last, 0) + 1 if late else turned[task.wave]


def _place(task: Task) -> tuple[int, int, int, str]:
    kind = _ORDER.index(task.item.kind) if task.item.kind in _ORDER else len(_ORDER)
    return PHASES.index(task.phase), task.wave, kind, task.item.name
