"""One sync operation: hooks, waves, applying, pruning, and waiting between them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import ApiError, Client
from windlass.lab.controllers.argocd.apply import Applier
from windlass.lab.controllers.argocd.compare import Comparer, Item
from windlass.lab.controllers.argocd.differences import pointers_for, respecting
from windlass.lab.controllers.argocd.health import DEGRADED, HEALTHY, health_of
from windlass.lab.controllers.argocd.options import DELETE_POLICY, HOOK
from windlass.lab.controllers.objects import Object, annotations_of, items
from windlass.lab.controllers.resources import NAMESPACES

_PHASES = ("PreSync", "Sync", "PostSync")
# Lab seconds between looks at what an operation waits for.
_LOOK_AGAIN = 1.0
_ORDER = (
    "Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "PodDisruptionBudget",
    "ServiceAccount", "Secret", "ConfigMap", "StorageClass", "PersistentVolume",
    "PersistentVolumeClaim", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding",
    "Role", "RoleBinding", "Service", "DaemonSet", "Pod", "ReplicaSet", "Deployment",
    "StatefulSet", "Job", "CronJob", "Ingress",
)  # fmt: skip


class SyncFailedError(Exception):
    """The operation cannot go on; the message is the operation's."""


@dataclass
class Sync:
    """One attempt. `results` grows as objects are done; `say` publishes what is waited for."""

    client: Client
    comparer: Comparer
    clock: Clock
    app: Object
    items: list[Item]
    prune: bool
    options: frozenset[str]
    say: Callable[[str], Awaitable[None]]
    results: list[Object] = field(default_factory=list[Object])

    async def run(self) -> None:
        """Everything is applied and, where there are several steps, each was healthy in turn.

        Raises:
            SyncFailedError: an object was refused, a hook failed, or something degraded.
        """
        if "CreateNamespace=true" in self.options:
            await self._ensure_namespace()
        steps = self._steps()
        for index, step in enumerate(steps):
            for item in step:
                await self._apply(item, "Sync")
            self._raise_refusals()
            waiting = [item for item in step if len(steps) > 1 or item.is_hook]
            await self._until_done(waiting, last=index == len(steps) - 1)
            await self._clean_hooks(step)
        await self._prune()

    def _steps(self) -> list[list[Item]]:
        """Phases, in them waves, in them the order of kinds."""
        todo = [item for item in self.items if item.target is not None]
        only = "ApplyOutOfSyncOnly=true" in self.options
        todo = [item for item in todo if item.is_hook or not (only and item.synced)]
        steps: dict[tuple[int, int], list[Item]] = {}
        for item in todo:
            for phase in _phases_of(item):
                steps.setdefault((phase, item.wave), []).append(item)
        return [sorted(steps[at], key=_kind_order) for at in sorted(steps)]

    async def _ensure_namespace(self) -> None:
        name = self.app["spec"]["destination"].get("namespace")
        if name:
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await self.client.create_if_absent(NAMESPACES, body)

    async def _apply(self, item: Item, phase: str) -> None:
        if item.resource is None:
            await self.comparer.live(item)
        ref, target = item.ref, item.target
        if ref is None or target is None:
            wanted = f"{item.group}/{item.kind}".strip("/")
            said = (
                f"The Kubernetes API could not find {wanted} for requested resource "
                f'{item.namespace}/{item.name}. Make sure the "{item.kind}" CRD is installed on '
                "the destination cluster."
            )
            self._note(item, "SyncFailed", said, phase)
            return
        try:
            if item.is_hook:
                await self.client.delete(ref, propagationPolicy="Background")
                await self._until_gone(item)
            said, found = await self._applier.apply(ref, self._respecting(item, target))
        except ApiError as error:
            self._note(item, "SyncFailed", str(error), phase)
        else:
            self.comparer.learn(item, found)
            self._note(item, "Synced", said, phase)

    @property
    def _applier(self) -> Applier:
        return Applier(self.client, self.clock, self.options)

    def _respecting(self, item: Item, target: Object) -> Object:
        if item.live is None or "RespectIgnoreDifferences=true" not in self.options:
            return target
        rules = items(self.app, "spec", "ignoreDifferences")
        return respecting(target, item.live, pointers_for(rules, item.place))

    def _note(self, item: Item, status: str, message: str, phase: str) -> None:
        self.results.append(
            {
                "group": item.group,
                "version": item.version,
                "kind": item.kind,
                "namespace": item.namespace,
                "name": item.name,
                "status": status,
                "message": message,
                "syncPhase": phase,
            }
        )

    def _raise_refusals(self) -> None:
        refused = [one["message"] for one in self.results if one["status"] == "SyncFailed"]
        if refused:
            said = ", ".join(refused[:3])
            raise SyncFailedError(f"one or more objects failed to apply, reason: {said}")

    async def _until_gone(self, item: Item) -> None:
        while item.ref is not None and await self.client.get(item.ref) is not None:
            await self.clock.sleep(_LOOK_AGAIN)

    async def _until_done(self, waiting: list[Item], *, last: bool) -> None:
        del last
        while waiting:
            left: list[Item] = []
            for item in waiting:
                found = None if item.ref is None else await self.client.get(item.ref)
                health = None if found is None else health_of(item.group, found)
                if found is not None and (health is None or health[0] == HEALTHY):
                    continue
                if health is not None and health[0] == DEGRADED:
                    what = "hook" if item.is_hook else "resource"
                    raise SyncFailedError(f"{what} {item.kind}/{item.name} failed: {health[1]}")
                left.append(item)
            waiting = left
            if waiting:
                first = waiting[0]
                what = "completion of hook" if first.is_hook else "healthy state of"
                more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
                where = f"{first.group}/{first.kind}/{first.name}".strip("/")
                await self.say(f"waiting for {what} {where}{more}")
                await self.clock.sleep(_LOOK_AGAIN)

    async def _clean_hooks(self, step: list[Item]) -> None:
        for item in step:
            if item.is_hook and item.target is not None and item.ref is not None:
                policy = annotations_of(item.target).get(DELETE_POLICY, "BeforeHookCreation")
                if "HookSucceeded" in policy:
                    await self.client.delete(item.ref, propagationPolicy="Background")

    async def _prune(self) -> None:
        """What Git no longer has goes last, highest wave first."""
        extra = [item for item in self.items if item.target is None and item.ref is not None]
        for item in sorted(extra, key=lambda one: (-one.wave, -_kind_order(one))):
            if not self.prune:
                self._note(item, "PruneSkipped", "ignored (requires pruning)", "Sync")
            elif item.option("Prune=false"):
                self._note(item, "PruneSkipped", "ignored (no prune)", "Sync")
            elif item.ref is not None:
                await self.client.delete(item.ref, propagationPolicy=self._propagation())
                self._note(item, "Pruned", "pruned", "Sync")
        for item in extra:
            # What orphans or deletes in the background is not waited for.
            if (
                self.prune
                and not item.option("Prune=false")
                and self._propagation() == "Foreground"
            ):
                await self._until_gone(item)

    def _propagation(self) -> str:
        named = (one for one in self.options if one.startswith("PrunePropagationPolicy="))
        return next(named, "=foreground").partition("=")[2].capitalize()


def _phases_of(item: Item) -> list[int]:
    if not item.is_hook:
        return [_PHASES.index("Sync")]
    said = annotations_of(item.target or {"metadata": {}})[HOOK]
    return [_PHASES.index(one.strip()) for one in said.split(",") if one.strip() in _PHASES]


def _kind_order(item: Item) -> int:
    return _ORDER.index(item.kind) if item.kind in _ORDER else len(_ORDER)
