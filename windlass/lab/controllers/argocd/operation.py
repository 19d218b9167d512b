"""An Application's `operation` field, from Running to Succeeded, Failed or Error."""

from datetime import timedelta
from typing import NamedTuple, Protocol

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import ApiError, Client
from windlass.lab.controllers.argocd.compare import Comparer, Comparison, Item
from windlass.lab.controllers.argocd.fields import OPERATION, lacking, not_evaluated
from windlass.lab.controllers.argocd.options import lacking_options
from windlass.lab.controllers.argocd.retries import may_retry, pause_before
from windlass.lab.controllers.argocd.sync import Request, Sync, SyncFailedError, TerminatedError
from windlass.lab.controllers.objects import Object, dig, items, table, timestamp
from windlass.lab.controllers.resources import APPLICATIONS

# Lab seconds between looks at a closed sync window, and at whether somebody asks for the end.
_WINDOW_PAUSE = 30.0
_LOOK_AGAIN = 1.0
_KEPT_HISTORY = 10
_TERMINATED = "Operation terminated"


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


class _Outcome(NamedTuple):
    phase: str
    message: str


class _EndedError(Exception):
    """The attempt is over before anything was synced."""

    def __init__(self, phase: str, message: str) -> None:
        super().__init__(message)
        self.phase = phase


def is_over(state: Object) -> bool:
    return state.get("phase") in ("Succeeded", "Failed", "Error")


class Operation:
    """Runs once; safe to run again from the start after a restart, with the retries it had left."""

    def __init__(self, owner: Owner, client: Client, clock: Clock, app: Object) -> None:
        self._owner = owner
        self._client = client
        self._clock = clock
        self._app = app
        self._ref = APPLICATIONS.of(app)
        self._operation: Object = app["operation"]
        state = table(app, "status", "operationState")
        resumed = bool(state) and not is_over(state)
        self._started = state["startedAt"] if resumed else timestamp(clock.now())
        self._retried: int = state.get("retryCount", 0) if resumed else 0
        self._result: Object | None = None

    async def run(self) -> None:
        try:
            await self._say("", finishedAt=None, syncResult=None)
            await self._until_the_window_opens()
            outcome = await self._attempts()
        except TerminatedError as error:
            outcome = _Outcome("Failed", str(error))
        await self._finish(outcome)

    async def _attempts(self) -> _Outcome:
        retry = table(self._operation, "retry")
        while True:
            outcome = await self._attempt()
            if outcome.phase == "Succeeded":
                return outcome
            if not may_retry(retry, self._retried):
                times = f" (retried {self._retried} times)." if self._retried else ""
                return _Outcome(outcome.phase, outcome.message + times)
            try:
                pause = pause_before(retry, self._retried)
            except ValueError as error:
                return _Outcome("Error", f"{outcome.message} (failed to retry: {error})")
            await self._wait_for_retry(outcome, pause)

    async def _wait_for_retry(self, outcome: _Outcome, pause: float) -> None:
        now = self._clock.now()
        self._retried += 1
        at = now + timedelta(seconds=self._clock.real(pause))
        await self._say(
            f"{outcome.message}. Retrying attempt #{self._retried} at {at:%-I:%M%p}.",
            finishedAt=timestamp(now),
        )
        await self._sleep(pause)
        self._result = None
        latest = bool(dig(self._operation, "retry", "refresh"))
        if latest:
            sync = {**table(self._operation, "sync")}
            sync.pop("revision", None)
            self._operation = {**self._operation, "sync": sync}
        how = " with latest revisions" if latest else ""
        await self._say(
            f"Retrying operation{how}. Attempt #{self._retried}", finishedAt=None, syncResult=None
        )

    async def _until_the_window_opens(self) -> None:
        manual = not dig(self._operation, "initiatedBy", "automated", default=False)
        while not self._owner.may_sync(self._owner.current(self._app), manual=manual):
            await self._say("Sync operation blocked by sync window")
            await self._sleep(_WINDOW_PAUSE)

    async def _sleep(self, seconds: float) -> None:
        """Raises TerminatedError as soon as somebody asks for the operation's end."""
        until = self._clock.time() + self._clock.real(seconds)
        while (left := until - self._clock.time()) > 0:
            state = table(self._owner.current(self._app), "status", "operationState")
            if state.get("phase") == "Terminating":
                raise TerminatedError(_TERMINATED)
            await self._clock.sleep(min(_LOOK_AGAIN, left * self._clock.speed))

    async def _attempt(self) -> _Outcome:
        """One try: Succeeded, Failed or Error; the results of a sync are kept as they come."""
        app = self._with_source(self._owner.current(self._app))
        self._result = {"revision": "", "source": dig(app, "spec", "source"), "resources": []}
        try:
            comparison = await self._compared(app)
        except _EndedError as error:
            return _Outcome(error.phase, str(error))

        async def say(message: str) -> None:
            self._note(attempt)
            await self._say(message)

        attempt = Sync(
            client=self._client,
            comparer=self._owner.comparer,
            clock=self._clock,
            request=self._request(app, comparison),
            say=say,
        )
        try:
            return _Outcome("Succeeded", await attempt.run())
        except TerminatedError:
            raise
        except SyncFailedError as error:
            return _Outcome("Failed", str(error))
        finally:
            self._note(attempt)

    def _note(self, attempt: Sync) -> None:
        self._result = {**(self._result or {}), "resources": attempt.results}

    def _with_source(self, app: Object) -> Object:
        """An operation may bring its own source."""
        own = dig(self._operation, "sync", "source")
        return {**app, "spec": {**app["spec"], "source": own}} if own else app

    @property
    def _options(self) -> frozenset[str]:
        return frozenset(items(self._operation, "sync", "syncOptions"))

    async def _compared(self, app: Object) -> Comparison:
        """What is to be synced.

        Raises:
            _EndedError: it cannot be.
        """
        self._check_operation()
        revision = dig(self._operation, "sync", "revision", default="")
        comparison = await self._owner.compare(app, hard=not revision, revision=revision)
        self._result = {**(self._result or {}), "revision": comparison.revision}
        if comparison.trouble:
            raise _EndedError("Error", comparison.trouble)
        if refused := self._owner.refused(app):
            raise _EndedError("Failed", refused)
        shared = comparison.shared_with_others(app)
        if shared and "FailOnSharedResource=true" in self._options:
            raise _EndedError("Failed", f"Shared resource found: {shared[0]}")
        return comparison

    def _check_operation(self) -> None:
        if "sync" not in self._operation:
            raise _EndedError("Error", "Invalid operation request: no operation specified")
        unknown = lacking(self._operation, OPERATION, "operation")
        if said := not_evaluated([*unknown, *lacking_options(self._options)]):
            raise _EndedError("Error", said)

    def _request(self, app: Object, comparison: Comparison) -> Request:
        sync = table(self._operation, "sync")
        chosen = items(sync, "resources")
        return Request(
            app=app,
            project=self._owner.project_of(app) or {},
            items=[item for item in comparison.items if _is_chosen(item, chosen)],
            options=self._options,
            revision=comparison.revision,
            prune=bool(sync.get("prune")),
            hooks=not chosen and "apply" not in table(sync, "syncStrategy"),
        )

    async def _say(self, message: str, **more: str | None) -> None:
        """The operation runs, and this is what it does.

        Raises:
            TerminatedError: somebody asked for its end; the state says that it is terminating.
        """
        state = self._state("Running", message)
        if self._result is not None:
            state["syncResult"] = self._result
        if await self._write(state | more):
            raise TerminatedError(_TERMINATED)

    def _state(self, phase: str, message: str) -> Object:
        return {
            "phase": phase,
            "message": message,
            "operation": self._operation,
            "startedAt": self._started,
            "retryCount": self._retried,
        }

    async def _write(self, state: Object) -> bool:
        """Whether the operation is to end: what somebody else wrote meanwhile is never written over."""
        while True:
            app = await self._client.get(self._ref) or self._owner.current(self._app)
            ending = dig(app, "status", "operationState", "phase") == "Terminating"
            if ending:
                state |= {"phase": "Terminating", "message": "operation is terminating"}
            known = table(app, "status", "operationState")
            if all(known.get(name) == value for name, value in state.items()):
                return ending
            guard = {"resourceVersion": app["metadata"]["resourceVersion"]}
            body = {"metadata": guard, "status": {"operationState": state}}
            try:
                self._owner.learn(await self._client.merge(self._ref, body))
            except ApiError as error:
                if error.reason != "Conflict":
                    raise
            else:
                return ending

    async def _finish(self, outcome: _Outcome) -> None:
        now = timestamp(self._clock.now())
        state = self._state(outcome.phase, outcome.message)
        state |= {"finishedAt": now, "syncResult": self._result}
        status: Object = {"operationState": state}
        if outcome.phase == "Succeeded" and self._result is not None:
            status["history"] = self._history(self._result, now)
        body = {"operation": None, "status": status}
        self._owner.learn(await self._client.merge(self._ref, body))

    def _history(self, result: Object, now: str) -> list[Object]:
        app = self._owner.current(self._app)
        before = items(app, "status", "history")
        entry = {
            "id": 1 + max((one["id"] for one in before), default=-1),
            "revision": result["revision"],
            "source": result["source"],
            "deployStartedAt": self._started,
            "deployedAt": now,
            "initiatedBy": table(self._operation, "initiatedBy"),
        }
        kept = dig(app, "spec", "revisionHistoryLimit", default=_KEPT_HISTORY)
        return [*before, entry][-kept:] if kept > 0 else []


def _is_chosen(item: Item, chosen: list[Object]) -> bool:
    """A selective sync names objects, with or without their namespace."""
    return not chosen or any(
        (one.get("group", ""), one["kind"], one["name"]) == (item.group, item.kind, item.name)
        and one.get("namespace", item.namespace) == item.namespace
        for one in chosen
    )
