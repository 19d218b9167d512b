"""Deployments and ReplicaSets: rolling updates with status and progress."""

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Client
from windlass.lab.controllers.availability import Availability
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.objects import (
    Key,
    Object,
    annotations_of,
    condition,
    controller_reference,
    dig,
    is_going,
    labels_of,
    parse_time,
    timestamp,
    with_condition,
)
from windlass.lab.controllers.replicas import (
    living,
    make_pod,
    owned,
    owner_keys,
    percent,
    pod_from,
    publish,
    ready,
    remove,
    template_hash,
)
from windlass.lab.controllers.resources import DEPLOYMENTS, PODS, REPLICA_SETS

REVISION = "deployment.kubernetes.io/revision"
_HASH = "pod-template-hash"


class ReplicaSets:
    """As many pods as wanted; those that are not ready go first."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._sets = informers[REPLICA_SETS]
        self._pods = informers[PODS]
        self._availability = Availability(self._pods, clock)
        self.controller = Controller("replicaset", clock, self._reconcile)
        self.controller.follow(self._sets)
        self.controller.follow(self._pods, owner_keys("ReplicaSet"))

    async def _reconcile(self, key: Key) -> float | None:
        found = self._sets.items.get(key)
        if found is None or is_going(found):
            return None
        pods = living(owned(self._pods, found))
        wanted = dig(found, "spec", "replicas", default=1)
        for _ in range(wanted - len(pods)):
            pod = pod_from(found["spec"]["template"], found, REPLICA_SETS)
            pod["metadata"]["generateName"] = f"{found['metadata']['name']}-"
            await make_pod(self._client, self._pods, pod)
        spare = sorted(pods, key=lambda pod: (ready([pod]), _newest_first(pod)))
        await remove(self._client, spare[: max(len(pods) - wanted, 0)])
        status = {
            "replicas": len(pods),
            "fullyLabeledReplicas": len(pods),
            "readyReplicas": ready(pods),
            "availableReplicas": self._availability.count(pods, found),
            "observedGeneration": found["metadata"].get("generation", 1),
        }
        await publish(self._client, REPLICA_SETS.of(found), found.get("status", {}), status)
        return self._availability.next_change(pods, found)


def _newest_first(pod: Object) -> float:
    return -parse_time(pod["metadata"]["creationTimestamp"]).timestamp()


class Deployments:
    """The ReplicaSet of the current template replaces those of earlier ones, within the limits."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._deployments = informers[DEPLOYMENTS]
        self._sets = informers[REPLICA_SETS]
        self.controller = Controller("deployment", clock, self._reconcile)
        self.controller.follow(self._deployments)
        self.controller.follow(self._sets, owner_keys("Deployment"))

    async def _reconcile(self, key: Key) -> float | None:
        found = self._deployments.items.get(key)
        if found is None or is_going(found):
            return None
        sets = owned(self._sets, found)
        digest = template_hash(found["spec"]["template"])
        current = next((one for one in sets if labels_of(one).get(_HASH) == digest), None)
        if current is None:
            current = await self._make(found, digest, sets)
            self._sets.learn(current)
            return 0.0
        await self._keep_pace(found, current)
        older = [one for one in sets if one is not current]
        if not dig(found, "spec", "paused", default=False):
            await self._roll(found, current, older)
        await self._forget(found, older)
        return await self._say(found, current, older)

    async def _make(self, found: Object, digest: str, sets: list[Object]) -> Object:
        revision = 1 + max((int(annotations_of(one).get(REVISION, 0)) for one in sets), default=0)
        meta = found["metadata"]
        template = found["spec"]["template"]
        labels = {**labels_of(template), _HASH: digest}
        selector = found["spec"]["selector"]
        matching = {**selector.get("matchLabels", {}), _HASH: digest}
        reference = controller_reference(found, DEPLOYMENTS.group_version, DEPLOYMENTS.kind)
        await self._client.merge(
            DEPLOYMENTS.of(found), {"metadata": {"annotations": {REVISION: str(revision)}}}
        )
        return await self._client.create(
            REPLICA_SETS,
            {
                "apiVersion": REPLICA_SETS.group_version,
                "kind": REPLICA_SETS.kind,
                "metadata": {
                    "name": f"{meta['name']}-{digest}",
                    "namespace": meta["namespace"],
                    "labels": labels,
                    "annotations": {REVISION: str(revision)},
                    "ownerReferences": [reference],
                },
                "spec": {
                    "replicas": 0,
                    "minReadySeconds": dig(found, "spec", "minReadySeconds", default=0),
                    "selector": {**selector, "matchLabels": matching},
                    "template": {
                        **template,
                        "metadata": {**template.get("metadata", {}), "labels": labels},
                    },
                },
            },
        )

    async def _roll(self, found: Object, current: Object, older: list[Object]) -> None:
        wanted = dig(found, "spec", "replicas", default=1)
        old = sum(_size(one) for one in older)
        if dig(found, "spec", "strategy", "type") == "Recreate":
            for one in older:
                await self._scale(one, 0)
            left = sum(dig(one, "status", "replicas", default=0) for one in older)
            await self._scale(current, 0 if left else wanted)
            return
        rolling = dig(found, "spec", "strategy", "rollingUpdate", default={})
        surge = percent(rolling.get("maxSurge"), wanted, up=True)
        missing = percent(rolling.get("maxUnavailable"), wanted, up=False)
        if surge == missing == 0:
            missing = 1
        room = max(wanted + surge - old, 0)
        size = min(wanted, max(room, min(_size(current), wanted)))
        await self._scale(current, size)
        available = sum(_available(one) for one in (current, *older))
        may_go = max(available - (wanted - missing), 0)
        for one in sorted(older, key=_available):
            broken = max(_size(one) - _available(one), 0)
            going = min(_size(one), broken + may_go)
            may_go -= max(going - broken, 0)
            await self._scale(one, _size(one) - going)

    async def _keep_pace(self, found: Object, current: Object) -> None:
        wanted = dig(found, "spec", "minReadySeconds", default=0)
        if dig(current, "spec", "minReadySeconds", default=0) != wanted:
            await self._client.merge(
                REPLICA_SETS.of(current), {"spec": {"minReadySeconds": wanted}}
            )

    async def _scale(self, one: Object, replicas: int) -> None:
        if _size(one) != replicas:
            await self._client.merge(REPLICA_SETS.of(one), {"spec": {"replicas": replicas}})

    async def _forget(self, found: Object, older: list[Object]) -> None:
        keep = dig(found, "spec", "revisionHistoryLimit", default=10)
        empty = [one for one in older if not _size(one) and not dig(one, "status", "replicas")]
        empty.sort(key=lambda one: int(annotations_of(one).get(REVISION, 0)))
        for one in empty[: max(len(empty) - keep, 0)]:
            await self._client.delete(REPLICA_SETS.of(one))

    async def _say(self, found: Object, current: Object, older: list[Object]) -> float | None:
        wanted = dig(found, "spec", "replicas", default=1)
        everything = (current, *older)
        available = sum(_available(one) for one in everything)
        status: Object = {
            "observedGeneration": found["metadata"].get("generation", 1),
            "replicas": sum(dig(one, "status", "replicas", default=0) for one in everything),
            "updatedReplicas": dig(current, "status", "replicas", default=0),
            "readyReplicas": sum(
                dig(one, "status", "readyReplicas", default=0) for one in everything
            ),
            "availableReplicas": available,
            "unavailableReplicas": max(wanted - available, 0),
        }
        before = found.get("status", {})
        moved = any(before.get(name, 0) != value for name, value in status.items())
        rolling = dig(found, "spec", "strategy", "rollingUpdate", default={})
        floor = wanted - percent(rolling.get("maxUnavailable"), wanted, up=False)
        done = status["updatedReplicas"] == available == status["replicas"] == wanted
        availability = _availability(fine=available >= floor)
        left = self._time_left(found)
        late = left is not None and left <= 0 and not moved and not done
        progress = _progress(current["metadata"]["name"], done=done, late=late)
        now = self._clock.now()
        known = dig(condition(found, "Progressing"), "lastUpdateTime", default=timestamp(now))
        progress["lastUpdateTime"] = timestamp(now) if moved else known
        for entry in (availability, progress):
            status["conditions"] = with_condition(
                status.get("conditions", before.get("conditions") or []), entry, now
            )
        await publish(self._client, DEPLOYMENTS.of(found), before, status)
        return None if done or late else max(min(60.0, left or 60.0), 1.0)

    def _time_left(self, found: Object) -> float | None:
        """Lab seconds until the rollout should have moved; None when it does not have to."""
        progress = condition(found, "Progressing")
        if progress is None or progress["reason"] == "NewReplicaSetAvailable":
            return None
        if progress["reason"] == "ProgressDeadlineExceeded":
            return 0.0
        deadline = dig(found, "spec", "progressDeadlineSeconds", default=600)
        said = progress.get("lastUpdateTime") or progress["lastTransitionTime"]
        return deadline - self._clock.since(parse_time(said).timestamp())


def _size(one: Object) -> int:
    return dig(one, "spec", "replicas", default=1)


def _available(one: Object) -> int:
    """What is told to go counts as gone already: the set's status lags behind its spec."""
    return min(dig(one, "status", "availableReplicas", default=0), _size(one))


def _availability(*, fine: bool) -> Object:
    return {
        "type": "Available",
        "status": "True" if fine else "False",
        "reason": "MinimumReplicasAvailable" if fine else "MinimumReplicasUnavailable",
        "message": f"Deployment {'has' if fine else 'does not have'} minimum availability.",
    }


def _progress(name: str, *, done: bool, late: bool) -> Object:
    if late:
        reason, said = "ProgressDeadlineExceeded", "has timed out progressing."
    elif done:
        reason, said = "NewReplicaSetAvailable", "has successfully progressed."
    else:
        reason, said = "ReplicaSetUpdated", "is progressing."
    return {
        "type": "Progressing",
        "status": "False" if late else "True",
        "reason": reason,
        "message": f'ReplicaSet "{name}" {said}',
    }
