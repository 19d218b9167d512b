"""How long pods have been ready: a pod is available when it has been for `minReadySeconds`."""

from collections.abc import Iterable

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Informer
from windlass.lab.controllers.objects import Object, condition, dig, parse_time, pod_is_ready


class Availability:
    """Follows all pods of an informer."""

    def __init__(self, pods: Informer, clock: Clock) -> None:
        self._clock = clock
        self._ready_since: dict[str, float] = {}
        pods.subscribe(self._changed)

    def _changed(self, before: Object | None, after: Object | None) -> None:
        if after is None or not pod_is_ready(after):
            for pod in (before, after):
                if pod is not None:
                    self._ready_since.pop(pod["metadata"]["uid"], None)
            return
        now = self._clock.time()
        if before is None:
            # It was ready before anybody looked.
            now = min(
                now, parse_time((condition(after, "Ready") or {})["lastTransitionTime"]).timestamp()
            )
        self._ready_since.setdefault(after["metadata"]["uid"], now)

    def count(self, pods: Iterable[Object], owner: Object) -> int:
        """How many of the pods are available, as their owner's `minReadySeconds` has it."""
        return sum(pod_is_ready(pod) and self._missing(pod, owner) <= 0 for pod in pods)

    def next_change(self, pods: Iterable[Object], owner: Object) -> float | None:
        """Lab seconds until another of the pods is available; None when none waits for that."""
        missing = [self._missing(pod, owner) for pod in pods if pod_is_ready(pod)]
        return min((one for one in missing if one > 0), default=None)

    def _missing(self, pod: Object, owner: Object) -> float:
        wanted = dig(owner, "spec", "minReadySeconds", default=0)
        since = self._ready_since.get(pod["metadata"]["uid"], self._clock.time())
        return wanted - self._clock.since(since)
