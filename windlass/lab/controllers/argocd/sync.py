"""One sync: hooks, waves, pruning, applying, and waiting between them."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import ApiError, Client, Ref
from windlass.lab.controllers.argocd import projects
from windlass.lab.controllers.argocd.apply import Applier
from windlass.lab.controllers.argocd.compare import Comparer, Item
from windlass.lab.controllers.argocd.differences import pointers_for, respecting
from windlass.lab.controllers.argocd.health import (
    DEGRADED,
    HEALTHY,
    PROGRESSING,
    SUSPENDED,
    UNKNOWN,
    health_of,
)
from windlass.lab.controllers.argocd.tasks import Task, steps_of, tasks_of
from windlass.lab.controllers.objects import Object, dig, is_going, items
from windlass.lab.controllers.resources import NAMESPACES

# Lab seconds between looks at what is waited for, and between two waves (Argo CD's own).
_LOOK_AGAIN = 1.0
_WAVE_DELAY = 2.0
# It keeps a hook until its end was seen, even if something else deletes it.
_HOOK_FINALIZER = "argocd.argoproj.io/hook-finalizer"
_STATES = {
    HEALTHY: "Succeeded",
    PROGRESSING: "Running",
    SUSPENDED: "Running",
    DEGRADED: "Failed",
    UNKNOWN: "Failed",
}


class SyncFailedError(Exception):
    """The operation cannot go on; the message is the operation's."""


class TerminatedError(SyncFailedError):
    """Somebody asked for the operation's end."""


@dataclass(frozen=True)
class Request:
    """What is to be synced, and how."""

    app: Object
    project: Object
    items: list[Item]
    options: frozenset[str]
    revision: str
    prune: bool
    hooks: bool


@dataclass
class Sync:
    """One attempt. `say` publishes what is waited for, and raises TerminatedError if that is asked for."""

    client: Client
    comparer: Comparer
    clock: Clock
    request: Request
    say: Callable[[str], Awaitable[None]]
    done: list[Task] = field(default_factory=list[Task])

    @property
    def results(self) -> list[Object]:
        return [task.result() for task in self.done]

    async def run(self) -> str:
        """Everything is applied and, where there are several steps, each was healthy in turn; the message.

        Raises:
            SyncFailedError: an object was refused, a hook failed, or something degraded.
        """
        request = self.request
        tasks = tasks_of(
            [*await self._new_namespace(), *request.items],
            hooks=request.hooks,
            prune_last="PruneLast=true" in request.options,
            naming=f"{request.revision[:7]}-{{phase}}-{self.clock.time():.0f}",
        )
        if not self._are_valid(tasks):
            raise SyncFailedError("one or more synchronization tasks are not valid")
        hooks = [task for task in tasks if task.is_hook]
        todo = [task for task in tasks if task.phase != "SyncFail" and self._is_due(task)]
        try:
            await self._run_steps(todo, several=len(steps_of(tasks)) > 1)
        except TerminatedError:
            await self._break_off(hooks)
            raise
        except SyncFailedError as error:
            said = await self._after_failure(str(error), tasks)
            raise SyncFailedError(said) from error
        await self._delete(task for task in hooks if task.state and task.deletes("HookSucceeded"))
        over = not todo or any(task.is_hook for task in steps_of(todo)[-1])
        return f"successfully synced ({'no more tasks' if over else 'all tasks run'})"

    async def _new_namespace(self) -> list[Item]:
        """The destination's namespace, if it is to be made and is not there."""
        name = dig(self.request.app, "spec", "destination", "namespace", default="")
        given = (item for item in self.request.items if item.target and item.kind == "Namespace")
        if "CreateNamespace=true" not in self.request.options or not name:
            return []
        if any(item.name == name for item in given) or await self.client.get(NAMESPACES.ref(name)):
            return []
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        return [Item("", "v1", "Namespace", "", name, NAMESPACES, target=body, phase="PreSync")]

    def _is_due(self, task: Task) -> bool:
        only = "ApplyOutOfSyncOnly=true" in self.request.options
        return task.is_hook or task.is_prune or not (only and task.item.synced)

    def _are_valid(self, tasks: Iterable[Task]) -> bool:
        """Each object's kind is there or is made by this sync, and the project permits it in its place."""
        for task in tasks:
            if said := self._invalid(task.item):
                self._note(task, "SyncFailed", "", said)
        return not self.done

    def _invalid(self, item: Item) -> str:
        if item.resource is None:
            return "" if self._may_be_missing(item) else _unknown_kind(item)
        return projects.forbids(
            self.request.project,
            item.group,
            item.kind,
            item.namespace if item.resource.namespaced else None,
        )

    def _may_be_missing(self, item: Item) -> bool:
        option = "SkipDryRunOnMissingResource=true"
        return (
            option in self.request.options
            or item.option(option)
            or any(
                one.kind == "CustomResourceDefinition"
                and dig(one.target or {}, "spec", "group") == item.group
                and dig(one.target or {}, "spec", "names", "kind") == item.kind
                for one in self.request.items
            )
        )

    async def _run_steps(self, todo: list[Task], *, several: bool) -> None:
        steps = steps_of(todo)
        for step in steps:
            is_last = step is steps[-1]
            await self._run_step(step)
            if not is_last:
                await self.clock.sleep(_WAVE_DELAY)
            # The last resources are not waited for, unless there are hooks beside them.
            if not is_last or any(task.is_hook for task in step):
                await self._until_done([one for one in step if several or one.is_hook])
                await self._until_pruned(step)
            if any(task.is_lost for task in step):
                raise SyncFailedError("one or more synchronization tasks completed unsuccessfully")

    async def _run_step(self, step: list[Task]) -> None:
        for task in step:
            if task.is_prune:
                await self._prune(task)
        for task in step:
            if not task.is_prune:
                await self._apply(task)
        refused = [task.message for task in step if task.status == "SyncFailed"]
        if refused:
            raise SyncFailedError(
                f"one or more objects failed to apply, reason: {','.join(refused)}"
            )

    async def _apply(self, task: Task) -> None:
        item = task.item
        if item.resource is None:
            # Its kind may have come with an earlier object.
            await self.comparer.live(item)
        ref = item.ref
        if ref is None:
            self._note(task, "SyncFailed", "Failed", _unknown_kind(item))
            return
        try:
            if task.is_hook:
                await self._clear_the_way(task, ref)
            applier = Applier(self.client, self.clock, self.request.options)
            said, found = await applier.apply(ref, self._target(task))
        except ApiError as error:
            self._note(task, "SyncFailed", "Failed", str(error))
        else:
            self.comparer.learn(item, found)
            self._note(task, "Synced", "Running", said)

    def _target(self, task: Task) -> Object:
        item, target = task.item, task.item.target or {}
        if task.is_hook:
            meta = target["metadata"]
            return {
                **target,
                "metadata": {
                    **meta,
                    "finalizers": [*meta.get("finalizers", []), _HOOK_FINALIZER],
                },
            }
        if item.live is None or "RespectIgnoreDifferences=true" not in self.request.options:
            return target
        rules = items(self.request.app, "spec", "ignoreDifferences")
        return respecting(target, item.live, pointers_for(rules, item.place))

    async def _clear_the_way(self, task: Task, ref: Ref) -> None:
        """What an earlier sync left of a hook holds nothing up, and goes if its policy says so."""
        await self._release(ref)
        if task.deletes("BeforeHookCreation"):
            await self.client.delete(ref, propagationPolicy=self._propagation())
            while await self.client.get(ref) is not None:
                await self._wait("deletion of", [task])

    async def _prune(self, task: Task) -> None:
        ref = task.item.ref
        if not self.request.prune:
            self._note(task, "PruneSkipped", "Succeeded", "ignored (requires pruning)")
        elif task.item.option("Prune=false"):
            self._note(task, "PruneSkipped", "Succeeded", "ignored (no prune)")
        elif ref is not None:
            await self.client.delete(ref, propagationPolicy=self._propagation())
            self._note(task, "Pruned", "Succeeded", "pruned")
            # Else the next comparison would find what has just been deleted.
            while (live := await self.comparer.live(task.item)) and not is_going(live):
                await self._wait("deletion of", [task])

    async def _until_pruned(self, step: list[Task]) -> None:
        gone = [task for task in step if task.status == "Pruned"]
        while left := [task for task in gone if await self.comparer.live(task.item) is not None]:
            await self._wait("deletion of", left)

    async def _until_done(self, tasks: list[Task]) -> None:
        while True:
            for task in tasks:
                if task.is_running:
                    await self._look_at(task)
            running = [task for task in tasks if task.is_running]
            if not running:
                return
            what = "completion of hook" if running[0].is_hook else "healthy state of"
            await self._wait(what, running)

    async def _look_at(self, task: Task) -> None:
        ref = task.item.ref
        found = None if ref is None else await self.client.get(ref)
        if ref is None or found is None:
            return
        health = health_of(task.item.group, found)
        if health is None:
            said = f"{task.item.name} created" if task.is_hook else ""
            self._note(task, task.status, "Succeeded", said)
        elif task.is_hook or health[0] in (HEALTHY, DEGRADED):
            self._note(task, task.status, _STATES[health[0]], health[1])
        if task.is_hook and not task.is_running:
            await self._release(ref)

    async def _wait(self, what: str, tasks: list[Task]) -> None:
        first = tasks[0]
        kind = "hooks" if first.is_hook else "resources"
        more = f" and {len(tasks) - 1} more {kind}" if len(tasks) > 1 else ""
        where = f"{first.item.group}/{first.item.kind}/{first.item.name}"
        await self.say(f"waiting for {what} {where}{more}")
        await self.clock.sleep(_LOOK_AGAIN)

    async def _after_failure(self, said: str, tasks: list[Task]) -> str:
        """SyncFail hooks have run, and hooks that are to go after a failure are gone."""
        ended = [task for task in tasks if task.state and not task.is_running]
        await self._delete(task for task in ended if task.deletes("HookFailed"))
        hooks = [task for task in tasks if task.phase == "SyncFail"]
        for task in hooks:
            await self._apply(task)
        await self._until_done(hooks)
        refused = [task.message for task in hooks if task.status == "SyncFailed"]
        if refused:
            said += f"\none or more SyncFail hooks failed, reason: {','.join(refused)}"
        return said

    async def _break_off(self, hooks: list[Task]) -> None:
        running = [task for task in hooks if task.is_running]
        await self._delete(running)
        for task in running:
            self._note(task, task.status, "Succeeded", "Deleted")

    async def _delete(self, hooks: Iterable[Task]) -> None:
        for task in hooks:
            if task.item.ref is not None:
                await self._release(task.item.ref)
                await self.client.delete(task.item.ref, propagationPolicy=self._propagation())

    async def _release(self, ref: Ref) -> None:
        """The hook's finalizer is off."""
        while True:
            live = await self.client.get(ref)
            if live is None or _HOOK_FINALIZER not in items(live, "metadata", "finalizers"):
                return
            try:
                await self.client.take_off_finalizer(ref, live, _HOOK_FINALIZER)
            except ApiError as error:
                # Its controller wrote in between.
                if error.reason != "Conflict":
                    raise

    def _propagation(self) -> str:
        options = self.request.options
        named = (one for one in options if one.startswith("PrunePropagationPolicy="))
        return next(named, "=foreground").partition("=")[2].capitalize()

    def _note(self, task: Task, status: str, state: str, message: str) -> None:
        task.status, task.state = status, state
        task.message = message or task.message
        if task not in self.done:
            self.done.append(task)


def _unknown_kind(item: Item) -> str:
    return (
        f"The Kubernetes API could not find {item.group}/{item.kind} for requested resource "
        f'{item.namespace}/{item.name}. Make sure the "{item.kind}" CRD is installed on the '
        "destination cluster."
    )
