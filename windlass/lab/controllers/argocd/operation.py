"""An Application's `operation` field, from Running to Succeeded, Failed or Error."""

import re
from typing import Protocol

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Client
from windlass.lab.controllers.argocd.compare import Comparer, Comparison, Item
from windlass.lab.controllers.argocd.fields import OPERATION, lacking, not_evaluated
from windlass.lab.controllers.argocd.options import lacking_options
from windlass.lab.controllers.argocd.sync import Request, Sync, SyncFailedError, TerminatedError
from windlass.lab.controllers.objects import Object, dig, items, table, timestamp
from windlass.lab.controllers.resources import APPLICATIONS

# Lab seconds between looks at a closed sync window.
_WINDOW_PAUSE = 30.0
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_KEPT_HISTORY = 10


class Owner(Protocol):
    """What an operation needs of the application controller."""

    @property
    def comparer(self) -> Comparer: ...

    def current(self, app: Object) -> Object: ...

    def learn(self, app: Object) -> None: ...

    def may_sync(self, app: Object, *, manual: bool) -> bool: ...

    def project_of(self, app: Object) -> Object | None: ...

    def refused(self, app: Object) -> str: ...

    async def compare(
        self, app: Object, *, hard: bool = False, revision: str = ""
    ) -> Comparison: ...


def is_over(state: Object) -> bool:
    return state.get("phase") in ("Succeeded", "Failed", "Error")


class _EndedError(Exception):
    """The operation is over before anything was synced."""

    def __init__(self, phase: str, message: str) -> None:
        super().__init__(message)
        self.phase = phase


class Operation:
    """Runs once; safe to run again from the start after a restart."""

    def __init__(self, owner: Owner, client: Client, clock: Clock, app: Object) -> None:
        self._owner = owner
        self._client = client
        self._clock = clock
        self._app = app
        self._ref = APPLICATIONS.of(app)
        self._operation: Object = app["operation"]
        self._started = timestamp(clock.now())
        self._retries = 0
        self._revision = ""

    async def run(self) -> None:
        await self._say("Running", "", first=True)
        manual = not dig(self._operation, "initiatedBy", "automated", default=False)
        while not self._owner.may_sync(self._owner.current(self._app), manual=manual):
            await self._say("Running", "Sync operation blocked by sync window")
            if self._is_terminated():
                await self._finish("Failed", "Operation terminated", [])
                return
            await self._clock.sleep(_WINDOW_PAUSE)
        limit = dig(self._operation, "retry", "limit", default=0)
        while True:
            phase, message, results = await self._attempt()
            if phase == "Succeeded" or self._retries >= limit or self._is_terminated():
                await self._finish(phase, message, results)
                return
            self._retries += 1
            pause = self._pause()
            said = f"{message}. Retrying attempt #{self._retries} in {pause:.0f} seconds."
            await self._say("Running", said)
            await self._clock.sleep(pause)

    def _check_operation(self) -> None:
        sync = table(self._operation, "sync")
        if said := not_evaluated(
            [
                *lacking(self._operation, OPERATION, "operation"),
                *lacking_options(items(sync, "syncOptions")),
            ]
        ):
            raise _EndedError("Error", said)

    async def _compared(self, app: Object, options: frozenset[str]) -> Comparison:
        """What is to be synced.

        Raises:
            _EndedError: it cannot be.
        """
        self._check_operation()
        revision = dig(self._operation, "sync", "revision", default="")
        comparison = await self._owner.compare(app, revision=revision)
        self._revision = comparison.revision
        if comparison.trouble:
            raise _EndedError("Error", comparison.trouble)
        if refused := self._owner.refused(app):
            raise _EndedError("Failed", refused)
        shared = comparison.shared_with_others(app)
        if shared and "FailOnSharedResource=true" in options:
            raise _EndedError("Failed", f"Shared resource found: {shared[0]}")
        return comparison

    async def _attempt(self) -> tuple[str, str, list[Object]]:
        app = self._owner.current(self._app)
        sync = table(self._operation, "sync")
        default = items(app, "spec", "syncPolicy", "syncOptions")
        options = frozenset(sync.get("syncOptions") or default)
        try:
            comparison = await self._compared(app, options)
        except _EndedError as error:
            return error.phase, str(error), []
        attempt = Sync(
            client=self._client,
            comparer=self._owner.comparer,
            clock=self._clock,
            request=self._request(app, comparison, options),
            say=self._progress,
        )
        try:
            message = await attempt.run()
        except SyncFailedError as error:
            return "Failed", str(error), attempt.results
        return "Succeeded", message, attempt.results

    def _request(self, app: Object, comparison: Comparison, options: frozenset[str]) -> Request:
        sync = table(self._operation, "sync")
        chosen = items(sync, "resources")
        return Request(
            app=app,
            project=self._owner.project_of(app) or {},
            items=[item for item in comparison.items if _is_chosen(item, chosen)],
            options=options,
            revision=comparison.revision,
            prune=bool(sync.get("prune")),
            hooks=not chosen and "apply" not in table(sync, "syncStrategy"),
        )

    def _pause(self) -> float:
        backoff = table(self._operation, "retry", "backoff")
        first, longest = _seconds(backoff, "duration", "5s"), _seconds(backoff, "maxDuration", "3m")
        return min(first * backoff.get("factor", 2) ** (self._retries - 1), longest)

    def _is_terminated(self) -> bool:
        state = table(self._owner.current(self._app), "status", "operationState")
        return state.get("phase") == "Terminating"

    async def _progress(self, message: str) -> None:
        if self._is_terminated():
            raise TerminatedError("Operation terminated")
        known = dig(self._owner.current(self._app), "status", "operationState", "message")
        if known != message:
            await self._say("Running", message)

    async def _say(self, phase: str, message: str, *, first: bool = False) -> None:
        state: Object = {
            "phase": phase,
            "message": message,
            "operation": self._operation,
            "startedAt": self._started,
            "retryCount": self._retries,
        }
        if first:
            state |= {"finishedAt": None, "syncResult": None}
        body = {"status": {"operationState": state}}
        self._owner.learn(await self._client.merge(self._ref, body))

    async def _finish(self, phase: str, message: str, results: list[Object]) -> None:
        now = timestamp(self._clock.now())
        app = self._owner.current(self._app)
        source = dig(app, "spec", "source")
        state: Object = {
            "phase": phase,
            "message": message,
            "operation": self._operation,
            "startedAt": self._started,
            "finishedAt": now,
            "retryCount": self._retries,
            "syncResult": {"revision": self._revision, "source": source, "resources": results},
        }
        status: Object = {"operationState": state}
        if phase == "Succeeded":
            history = items(app, "status", "history")
            entry = {
                "id": 1 + max((one["id"] for one in history), default=-1),
                "revision": self._revision,
                "source": source,
                "deployStartedAt": self._started,
                "deployedAt": now,
            }
            kept = dig(app, "spec", "revisionHistoryLimit", default=_KEPT_HISTORY)
            status["history"] = [*history, entry][-kept:] if kept > 0 else []
        body = {"operation": None, "status": status}
        self._owner.learn(await self._client.merge(self._ref, body))


def _is_chosen(item: Item, chosen: list[Object]) -> bool:
    """A selective sync names objects, with or without their namespace."""
    return not chosen or any(
        (one.get("group", ""), one["kind"], one["name"]) == (item.group, item.kind, item.name)
        and one.get("namespace", item.namespace) == item.namespace
        for one in chosen
    )


def _seconds(backoff: Object, key: str, default: str) -> float:
    said = re.fullmatch(r"(\d+)([smh]?)", str(backoff.get(key, default)))
    number, unit = said.groups() if said is not None else (default[:-1], default[-1])
    return float(number) * _UNITS[unit]
