"""StatefulSets: pods with names and claims of their own, one after the other."""

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Client
from windlass.lab.controllers.availability import Availability
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.objects import (
    Key,
    Object,
    dig,
    is_going,
    items,
    labels_of,
    pod_is_over,
)
from windlass.lab.controllers.replicas import (
    make_pod,
    owned,
    owner_keys,
    pod_from,
    publish,
    ready,
    remove,
    template_hash,
)
from windlass.lab.controllers.resources import CLAIMS, PODS, STATEFUL_SETS

_REVISION = "controller-revision-hash"


class StatefulSets:
    """Ordinals grow when the one before is ready, shrink from the top, update from the top."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._sets = informers[STATEFUL_SETS]
        self._pods = informers[PODS]
        self._availability = Availability(self._pods, clock)
        self.controller = Controller("statefulset", clock, self._reconcile)
        self.controller.follow(self._sets)
        self.controller.follow(self._pods, owner_keys("StatefulSet"))

    async def _reconcile(self, key: Key) -> float | None:
        found = self._sets.items.get(key)
        if found is None or is_going(found):
            return None
        pods = {pod["metadata"]["name"]: pod for pod in owned(self._pods, found)}
        await self._step(found, pods)
        await self._say(found, list(pods.values()))
        return self._availability.next_change(pods.values(), found)

    async def _step(self, found: Object, pods: dict[str, Object]) -> None:
        wanted = dig(found, "spec", "replicas", default=1)
        together = dig(found, "spec", "podManagementPolicy") == "Parallel"
        names = [f"{found['metadata']['name']}-{ordinal}" for ordinal in range(wanted)]
        for name in names:
            pod = pods.get(name)
            if pod is None:
                await self._make(found, name)
            elif pod_is_over(pod) and not is_going(pod):
                await remove(self._client, [pod])
            if not together and (pod is None or not self._available(found, [pod])):
                return
        spare = sorted(set(pods) - set(names), key=_ordinal)
        if spare:
            await remove(self._client, [pods[spare[-1]]])
            return
        await self._update(found, [pods[name] for name in names if name in pods])

    async def _update(self, found: Object, pods: list[Object]) -> None:
        """The highest ordinal with an old template goes, once all others are ready."""
        if dig(found, "spec", "updateStrategy", "type") == "OnDelete":
            return
        floor = dig(found, "spec", "updateStrategy", "rollingUpdate", "partition", default=0)
        revision = _revision(found)
        for pod in reversed(pods):
            if labels_of(pod).get(_REVISION) != revision:
                if _ordinal(pod["metadata"]["name"]) >= floor and not is_going(pod):
                    await remove(self._client, [pod])
                return
            if not self._available(found, [pod]):
                return

    async def _make(self, found: Object, name: str) -> None:
        templates = items(found, "spec", "volumeClaimTemplates")
        claims = [await self._claim(found, one, name) for one in templates]
        pod = pod_from(found["spec"]["template"], found, STATEFUL_SETS)
        ordinal = {
            _REVISION: _revision(found),
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": str(_ordinal(name)),
        }
        pod["metadata"]["labels"] = {**pod["metadata"]["labels"], **ordinal}
        pod["metadata"]["name"] = name
        pod["spec"]["hostname"] = name
        pod["spec"]["subdomain"] = found["spec"].get("serviceName", "")
        mine = {volume["name"] for volume in claims}
        others = [one for one in items(pod, "spec", "volumes") if one["name"] not in mine]
        pod["spec"]["volumes"] = [*others, *claims]
        await make_pod(self._client, self._pods, pod)

    async def _claim(self, found: Object, claim: Object, pod: str) -> Object:
        """The claim of that pod exists; it outlives the pod and the set. The volume that names it."""
        volume = claim["metadata"]["name"]
        name = f"{volume}-{pod}"
        labels = {**labels_of(claim), **dig(found, "spec", "selector", "matchLabels", default={})}
        meta = {"name": name, "namespace": found["metadata"]["namespace"], "labels": labels}
        body = {"apiVersion": "v1", "kind": CLAIMS.kind, "metadata": meta, "spec": claim["spec"]}
        await self._client.create_if_absent(CLAIMS, body)
        return {"name": volume, "persistentVolumeClaim": {"claimName": name}}

    def _available(self, found: Object, pods: list[Object]) -> int:
        return self._availability.count(pods, found)

    async def _say(self, found: Object, pods: list[Object]) -> None:
        revision = _revision(found)
        updated = [pod for pod in pods if labels_of(pod).get(_REVISION) == revision]
        before = found.get("status", {})
        wanted = dig(found, "spec", "replicas", default=1)
        done = len(updated) == len(pods) == wanted == self._available(found, pods)
        status = {
            "observedGeneration": found["metadata"].get("generation", 1),
            "replicas": len(pods),
            "readyReplicas": ready(pods),
            "availableReplicas": self._available(found, pods),
            "updatedReplicas": len(updated),
            "currentReplicas": len(updated if done else pods) - (0 if done else len(updated)),
            "updateRevision": revision,
            "currentRevision": revision if done else before.get("currentRevision", revision),
        }
        await publish(self._client, STATEFUL_SETS.of(found), before, status)


def _revision(found: Object) -> str:
    return f"{found['metadata']['name']}-{template_hash(found['spec']['template'])}"


def _ordinal(name: str) -> int:
    return int(name.rpartition("-")[2])
