"""The application controller: compares every Application with Git, judges its health, syncs it."""

import asyncio
import logging
from collections.abc import Iterable

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import ApiAwayError, ApiError, Client
from windlass.lab.controllers.argocd import projects
from windlass.lab.controllers.argocd.applicationsets import FINALIZER, REQUEUE
from windlass.lab.controllers.argocd.autosync import NOTHING, Decision, decide
from windlass.lab.controllers.argocd.compare import Comparer, Comparison
from windlass.lab.controllers.argocd.git import Repositories
from windlass.lab.controllers.argocd.health import DEGRADED, PROGRESSING, UNKNOWN, worst
from windlass.lab.controllers.argocd.operation import Operation
from windlass.lab.controllers.argocd.options import (
    REFRESH,
    SKIP_RECONCILE,
    TRACKING,
)
from windlass.lab.controllers.argocd.states import States
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.objects import (
    Key,
    Object,
    annotations_of,
    dig,
    is_going,
    items,
    key_of,
    parse_time,
    table,
    timestamp,
)
from windlass.lab.controllers.resources import APPLICATIONS, CONFIG_MAPS, PROJECTS
from windlass.lab.faults import Faults

logger = logging.getLogger(__name__)

# Lab seconds between looks at an Application that is held up.
_LOOK_AGAIN = 10.0
_APPLICATION_HEALTH = "resource.customizations.health.argoproj.io_Application"
FAULTS = {
    "argocd-sync-failed": "sync operations fail: app=, message=",
    "argocd-degraded": "the Application is reported Degraded: app=",
    "argocd-progressing-forever": "the Application is reported Progressing: app=",
    "argocd-drift-loop": "something changes the Application's objects after every sync: app=",
    "git-unreachable": "the repository cannot be read: url=",
}


class Applications:
    """Reconciles on change, on refresh, and every three minutes of lab time."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        clock: Clock,
        repositories: Repositories,
        faults: Faults | None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._faults = faults
        self._informers = informers
        self._apps = informers[APPLICATIONS]
        self._projects = informers[PROJECTS]
        self._maps = informers[CONFIG_MAPS]
        self._comparer = Comparer(client, informers)
        self._states = States(informers, clock, repositories, self._comparer)
        self._operations: dict[Key, asyncio.Task[None]] = {}
        self._ended: dict[Key, float] = {}
        self._followed: set[str] = set()
        self.controller = Controller("application", clock, self._reconcile)
        self.controller.follow(self._apps)
        self.controller.follow(self._projects, lambda _: list(self._apps.items))

    async def run(self) -> None:
        """Until cancelled; operations that run are then broken off where they are."""
        try:
            await self.controller.run()
        finally:
            running = [task for task in self._operations.values() if not task.done()]
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    async def _reconcile(self, key: Key) -> float | None:
        app = self._apps.items.get(key)
        if app is None:
            return None
        if annotations_of(app).get(SKIP_RECONCILE) == "true":
            return None
        if is_going(app):
            return await self._remove(app)
        kind = annotations_of(app).get(REFRESH)
        ended = self._ended.get(key)
        comparison = await self.compare(app, hard=kind is not None or "status" not in app)
        self._follow_kinds(comparison)
        if self._ended.get(key) != ended:
            # An operation ended while this was compared: it is yesterday's.
            return 0.0
        status = self._status(app, comparison)
        decision = self._decide(app, comparison, status)
        if decision.error:
            status["conditions"] += self._dated(app, [("SyncError", decision.error)])
        await self._publish(app, status, refreshed=kind is not None)
        await self._act(self.current(app), decision)
        return REQUEUE if not comparison.trouble else _LOOK_AGAIN * 3

    async def compare(self, app: Object, *, hard: bool = False, revision: str = "") -> Comparison:
        """The Application against `revision`, or the one its spec names."""
        return await self._states.compare(app, hard=hard, revision=revision)

    def _follow_kinds(self, comparison: Comparison) -> None:
        """A change of any tracked object makes its Application due."""
        for item in comparison.items:
            if item.resource is not None and item.resource.path() not in self._followed:
                self._followed.add(item.resource.path())
                self.controller.follow(self._informers[item.resource], self._tracked_by)

    def _tracked_by(self, document: Object) -> list[Key]:
        name = annotations_of(document).get(TRACKING, "").partition(":")[0]
        return [key for key in self._apps.items if key[1] == name] if name else []

    def _status(self, app: Object, comparison: Comparison) -> Object:
        name, now = app["metadata"]["name"], timestamp(self._clock.now())
        if comparison.trouble:
            kind, _, said = comparison.trouble.partition(": ")
            sync = {"status": "Unknown", "revision": comparison.revision}
            said_now = [(kind, said)]
            health = UNKNOWN if kind == "InvalidSpecError" else self._health_before(app)
        else:
            looping = self._fault("argocd-drift-loop", name) and self._has_synced(app)
            synced = comparison.is_synced and not looping
            sync = {"status": "Synced" if synced else "OutOfSync", "revision": comparison.revision}
            shared = comparison.shared_with_others(app)
            said_now = [("SharedResourceWarning", one) for one in shared]
            health = self._health(app, comparison)
        spec = app["spec"]
        compared = {"source": spec.get("source"), "destination": spec.get("destination")}
        status: Object = {
            "sync": {**sync, "comparedTo": compared},
            "health": {"status": health, "lastTransitionTime": now},
            "conditions": self._dated(app, said_now),
        }
        if health == dig(app, "status", "health", "status"):
            status["health"] = app["status"]["health"]
        if not comparison.trouble:
            status["resources"] = [one.summary() for one in comparison.items if not one.is_hook]
            status["sourceType"] = "Kustomize" if "kustomize" in spec["source"] else "Directory"
        return status

    def _dated(self, app: Object, conditions: Iterable[tuple[str, str]]) -> list[Object]:
        """Conditions by type and message, each with the time since when it is so."""
        now = timestamp(self._clock.now())
        known = {(one["type"], one["message"]): one for one in items(app, "status", "conditions")}
        return [
            known.get(one, {"type": one[0], "message": one[1], "lastTransitionTime": now})
            for one in conditions
        ]

    def _health(self, app: Object, comparison: Comparison) -> str:
        name = app["metadata"]["name"]
        if self._fault("argocd-degraded", name):
            return DEGRADED
        if self._fault("argocd-progressing-forever", name):
            return PROGRESSING
        states = [one.health[0] for one in comparison.items if one.health and one.target]
        settings = self._maps.get("argocd-cm", app["metadata"]["namespace"])
        if settings is not None and _APPLICATION_HEALTH in table(settings, "data"):
            children = (one.live for one in comparison.items if one.kind == "Application")
            states += [
                dig(one, "status", "health", "status", default=PROGRESSING) for one in children
            ]
        return worst(states)

    @staticmethod
    def _health_before(app: Object) -> str:
        return dig(app, "status", "health", "status", default=UNKNOWN)

    @staticmethod
    def _has_synced(app: Object) -> bool:
        return dig(app, "status", "operationState", "phase") == "Succeeded"

    def _fault(self, name: str, app: str) -> bool:
        return self._faults is not None and self._faults.fires(name, app=app) is not None

    async def _publish(self, app: Object, status: Object, *, refreshed: bool) -> None:
        before = app.get("status", {})
        same = all(before.get(name) == value for name, value in status.items())
        if same and not refreshed:
            return
        status["reconciledAt"] = timestamp(self._clock.now())
        body: Object = {"status": status}
        if refreshed:
            body["metadata"] = {"annotations": {REFRESH: None}}
        self.learn(await self._client.merge(APPLICATIONS.of(app), body))

    def _decide(self, app: Object, comparison: Comparison, status: Object) -> Decision:
        """What automated sync makes of it."""
        key = key_of(app)
        if key in self._operations and not self._operations[key].done():
            return NOTHING
        if comparison.trouble or status["sync"]["status"] != "OutOfSync":
            return NOTHING
        finished = dig(app, "status", "operationState", "finishedAt")
        # The time on the wire has whole seconds only, which are many in a lab that hurries.
        ended = self._ended.get(key) or (parse_time(finished).timestamp() if finished else 0.0)
        return decide(app, comparison, self._clock.since(ended))

    async def _act(self, app: Object, decision: Decision) -> None:
        key = key_of(app)
        running = self._operations.get(key)
        if running is not None and not running.done():
            return
        if "operation" in app:
            operation = Operation(self, self._client, self._clock, app)
            self._operations[key] = asyncio.create_task(self._operate(operation, key))
        elif decision.operation is not None:
            wait = decision.wait if self.may_sync(app, manual=False) else _LOOK_AGAIN * 3
            if wait > 0:
                self.controller.enqueue_after(key, wait)
            else:
                body = {"operation": decision.operation}
                self.learn(await self._client.merge(APPLICATIONS.of(app), body))

    async def _operate(self, operation: Operation, key: Key) -> None:
        try:
            await operation.run()
        except (ApiError, ApiAwayError) as error:
            # The operation stands in the API still: it is taken up again from its start.
            logger.warning("operation of %s: %s", key[1], error)
            self.controller.enqueue_after(key, _LOOK_AGAIN)
        except Exception:
            logger.exception("operation of %s", key[1])
            self.controller.enqueue_after(key, _LOOK_AGAIN)
        else:
            self._ended[key] = self._clock.time()
            self.controller.enqueue(key)

    def may_sync(self, app: Object, *, manual: bool) -> bool:
        """Whether the project's sync windows are open for this Application now."""
        project = self._states.project_of(app)
        return project is not None and projects.may_sync(
            app, project, self._clock.now(), manual=manual
        )

    def project_of(self, app: Object) -> Object | None:
        """The AppProject of this Application."""
        return self._states.project_of(app)

    def learn(self, app: Object) -> None:
        """What was just written is known before the watch tells of it."""
        self._apps.learn(app)

    def current(self, app: Object) -> Object:
        """The Application as the API has it now."""
        return self._apps.items.get(key_of(app), app)

    @property
    def comparer(self) -> Comparer:
        return self._comparer

    def refused(self, app: Object) -> str:
        """A fault's reason why a sync must fail; "" for none."""
        name = app["metadata"]["name"]
        fault = None if self._faults is None else self._faults.fires("argocd-sync-failed", app=name)
        said = "one or more objects failed to apply, reason: admission webhook denied the request"
        return "" if fault is None else str(fault.args.get("message", said))

    async def _remove(self, app: Object) -> float | None:
        """With the resources finalizer, what the Application made goes before it does."""
        ours = [one for one in items(app, "metadata", "finalizers") if one.startswith(FINALIZER)]
        if not ours:
            return None
        left = [
            item
            for item in await self._comparer.compare(app, [])
            if item.live is not None and not item.option("Delete=false")
        ]
        how = "Background" if ours[0].endswith("/background") else "Foreground"
        for item in left:
            if item.ref is not None and item.live is not None and not is_going(item.live):
                await self._client.delete(item.ref, propagationPolicy=how)
        if left:
            return 1.0
        await self._client.take_off_finalizer(APPLICATIONS.of(app), app, ours[0])
        return None
