"""DaemonSets: one pod on every node that fits."""

from collections.abc import Iterable

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
from windlass.lab.controllers.placement import matches_affinity
from windlass.lab.controllers.replicas import (
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
from windlass.lab.controllers.resources import DAEMON_SETS, NODES, PODS
from windlass.lab.controllers.scheduler import untolerated

_GENERATION = "controller-revision-hash"
_AUTOMATIC = tuple(
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect}
    for key, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
)


class DaemonSets:
    """The pods are bound by the scheduler, through a node affinity that names their node."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._sets = informers[DAEMON_SETS]
        self._pods = informers[PODS]
        self._availability = Availability(self._pods, clock)
        self._nodes = informers[NODES]
        self.controller = Controller("daemonset", clock, self._reconcile)
        self.controller.follow(self._sets)
        self.controller.follow(self._pods, owner_keys("DaemonSet"))
        self.controller.follow(self._nodes, lambda _: list(self._sets.items))

    async def _reconcile(self, key: Key) -> float | None:
        found = self._sets.items.get(key)
        if found is None or is_going(found):
            return None
        template = pod_from(found["spec"]["template"], found, DAEMON_SETS)
        network = [{**_AUTOMATIC[0], "key": "node.kubernetes.io/network-unavailable"}]
        extra = [*_AUTOMATIC, *(network if template["spec"].get("hostNetwork") else [])]
        template["spec"]["tolerations"] = [*items(template, "spec", "tolerations"), *extra]
        wanted = {
            node["metadata"]["name"]
            for node in self._nodes.items.values()
            if matches_affinity(template, node) and not untolerated(template, node)
        }
        by_node: dict[str, list[Object]] = {}
        for pod in owned(self._pods, found):
            by_node.setdefault(_node_of(pod), []).append(pod)
        await self._place(found, template, wanted, by_node)
        pods = [pods[0] for name, pods in by_node.items() if name in wanted]
        await self._update(found, pods, len(wanted))
        await self._say(found, pods, len(wanted))
        return self._availability.next_change(pods, found)

    async def _place(
        self, found: Object, template: Object, wanted: set[str], by_node: dict[str, list[Object]]
    ) -> None:
        for name in sorted(wanted - set(by_node)):
            await make_pod(self._client, self._pods, _pinned(found, template, name))
        for name, pods in by_node.items():
            over = [pod for pod in pods if pod_is_over(pod)]
            # A pod whose node now has a NoSchedule taint stays: only NoExecute drives it away.
            stays = name in self._known() and self._may_stay(template, name)
            gone = pods[1:] if stays else pods
            await remove(self._client, [pod for pod in (*over, *gone) if not is_going(pod)])

    def _known(self) -> Iterable[str]:
        return [name for _, name in self._nodes.items]

    def _may_stay(self, template: Object, name: str) -> bool:
        node = self._nodes.get(name)
        return (
            node is not None
            and matches_affinity(template, node)
            and not untolerated(template, node, ("NoExecute",))
        )

    async def _update(self, found: Object, pods: list[Object], wanted: int) -> None:
        if dig(found, "spec", "updateStrategy", "type") == "OnDelete":
            return
        said = dig(found, "spec", "updateStrategy", "rollingUpdate", "maxUnavailable", default=1)
        away = len(pods) - self._availability.count(pods, found)
        room = max(percent(said, wanted, up=True), 1) - away
        digest = template_hash(found["spec"]["template"])
        old = [pod for pod in pods if labels_of(pod).get(_GENERATION) != digest]
        unready = [pod for pod in old if not ready([pod])]
        going = [*unready, *[pod for pod in old if ready([pod])][: max(room, 0)]]
        await remove(self._client, [pod for pod in going if not is_going(pod)])

    async def _say(self, found: Object, pods: list[Object], wanted: int) -> None:
        digest = template_hash(found["spec"]["template"])
        updated = [pod for pod in pods if labels_of(pod).get(_GENERATION) == digest]
        available = self._availability.count(pods, found)
        status = {
            "observedGeneration": found["metadata"].get("generation", 1),
            "desiredNumberScheduled": wanted,
            "currentNumberScheduled": len(pods),
            "numberReady": ready(pods),
            "numberAvailable": available,
            "numberUnavailable": wanted - available,
            "updatedNumberScheduled": len(updated),
            "numberMisscheduled": 0,
        }
        before = {"numberMisscheduled": -1} | found.get("status", {})
        await publish(self._client, DAEMON_SETS.of(found), before, status)


def _pinned(found: Object, template: Object, node: str) -> Object:
    meta = template["metadata"]
    digest = template_hash(found["spec"]["template"])
    here = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    required = {"nodeSelectorTerms": [here]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    spec = template["spec"]
    return {
        **template,
        "metadata": {
            **meta,
            "generateName": f"{found['metadata']['name']}-",
            "labels": {**meta["labels"], _GENERATION: digest},
        },
        "spec": {**spec, "affinity": {**(spec.get("affinity") or {}), **affinity}},
    }


def _node_of(pod: Object) -> str:
    bound = dig(pod, "spec", "nodeName")
    if bound is not None:
        return bound
    required = dig(
        pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"
    )
    return required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]
