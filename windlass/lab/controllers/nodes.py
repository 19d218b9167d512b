"""Node lifecycle: pod networks, silence noticed, taints that follow conditions, pods driven away."""

from collections.abc import Iterable
from ipaddress import IPv4Network

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Client
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.node import heartbeat_seconds
from windlass.lab.controllers.objects import (
    Key,
    Object,
    condition,
    dig,
    is_going,
    items,
    parse_time,
    pod_is_over,
    tolerates,
    with_condition,
)
from windlass.lab.controllers.resources import LEASES, NODES, PODS

_NOT_READY, _UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OURS = (_NOT_READY, _UNREACHABLE, _UNSCHEDULABLE)
# Seconds a pod stays on a node in trouble unless it says otherwise, as admission would write it.
_STAYS = 300.0


class Nodes:
    """A node whose lease is not renewed for four beats turns Unknown, as upstream does in 40 s."""

    def __init__(
        self, client: Client, informers: Informers, clock: Clock, network: IPv4Network
    ) -> None:
        self._client = client
        self._clock = clock
        self._network = network
        self._nodes = informers[NODES]
        self._pods = informers[PODS]
        self._leases = informers[LEASES]
        # Renewals are timed by when they were seen: clocks of nodes are not trusted.
        self._beats: dict[str, tuple[str, float]] = {}
        self._given: dict[str, str] = {}
        self.controller = Controller("node", clock, self._reconcile)
        self.controller.follow(self._nodes)

    async def _reconcile(self, key: Key) -> float | None:
        node = self._nodes.items.get(key)
        if node is None:
            self._beats.pop(key[1], None)
            return None
        if not dig(node, "spec", "podCIDR"):
            await self._give_network(node)
        elif self._is_silent(node):
            await self._declare_unknown(node)
        else:
            await self._taint(node)
        await self._drive_away(node)
        return heartbeat_seconds(self._clock)

    async def _give_network(self, node: Object) -> None:
        names = {name for _, name in self._nodes.items}
        self._given = {name: net for name, net in self._given.items() if name in names}
        taken = {dig(one, "spec", "podCIDR") for one in self._nodes.items.values()}
        taken |= set(self._given.values())
        free = next(
            str(one) for one in self._network.subnets(new_prefix=24) if str(one) not in taken
        )
        # Two nodes in one beat must not get one network: what was given is known at once.
        self._given[node["metadata"]["name"]] = free
        await self._client.merge(NODES.of(node), {"spec": {"podCIDR": free, "podCIDRs": [free]}})

    def _is_silent(self, node: Object) -> bool:
        name = node["metadata"]["name"]
        lease = self._leases.get(name, "kube-node-lease")
        renewed = dig(lease, "spec", "renewTime", default="")
        seen, when = self._beats.get(name, ("?", 0.0))
        now = self._clock.time()
        if seen != renewed:
            self._beats[name] = (renewed, now)
            return False
        return self._clock.since(when) > 4 * heartbeat_seconds(self._clock)

    async def _declare_unknown(self, node: Object) -> None:
        ready = condition(node, "Ready")
        if ready is not None and ready["status"] == "Unknown":
            await self._taint(node)
            return
        now = self._clock.now()
        conditions = items(node, "status", "conditions")
        for entry in list(conditions):
            said = "Kubelet stopped posting node status."
            unknown = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": said}
            conditions = with_condition(conditions, {**entry, **unknown}, now)
        await self._client.merge_status(NODES.of(node), {"conditions": conditions})
        for pod in self._pods_on(node):
            entry = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
            conditions = with_condition(items(pod, "status", "conditions"), entry, now)
            await self._client.merge_status(PODS.of(pod), {"conditions": conditions})

    async def _taint(self, node: Object) -> None:
        before = items(node, "spec", "taints")
        wanted = _wanted_taints(node)
        had = [(one["key"], one["effect"]) for one in before if one["key"] in _OURS]
        if sorted(had) == sorted(wanted):
            return
        others = [one for one in before if one["key"] not in _OURS]
        kept = {(one["key"], one["effect"]): one for one in before}
        added = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        taints = [
            kept.get((key, effect), {"key": key, "effect": effect, "timeAdded": added})
            for key, effect in wanted
        ]
        guard = {"resourceVersion": node["metadata"]["resourceVersion"]}
        body = {"metadata": guard, "spec": {"taints": [*others, *taints]}}
        await self._client.merge(NODES.of(node), body)

    async def _drive_away(self, node: Object) -> None:
        """Pods that do not tolerate a NoExecute taint leave when their time is up."""
        for taint in items(node, "spec", "taints"):
            if taint["effect"] != "NoExecute":
                continue
            added = taint.get("timeAdded")
            since = self._clock.since(parse_time(added).timestamp()) if added else 0.0
            for pod in self._pods_on(node):
                if since >= _patience(pod, taint) and not is_going(pod):
                    await self._client.delete(PODS.of(pod))

    def _pods_on(self, node: Object) -> Iterable[Object]:
        name = node["metadata"]["name"]
        return [
            pod
            for pod in self._pods.items.values()
            if dig(pod, "spec", "nodeName") == name and not pod_is_over(pod)
        ]


def _wanted_taints(node: Object) -> list[tuple[str, str]]:
    ready = condition(node, "Ready")
    status = "False" if ready is None else ready["status"]
    wanted: list[tuple[str, str]] = []
    if status != "True":
        key = _UNREACHABLE if status == "Unknown" else _NOT_READY
        wanted = [(key, "NoSchedule"), (key, "NoExecute")]
    if dig(node, "spec", "unschedulable"):
        wanted.append((_UNSCHEDULABLE, "NoSchedule"))
    return wanted


def _patience(pod: Object, taint: Object) -> float:
    """Seconds the pod stays with this taint; infinite if it tolerates it for ever."""
    matching = [
        one
        for one in items(pod, "spec", "tolerations")
        if tolerates({"spec": {"tolerations": [one]}}, taint)
    ]
    if not matching:
        return _STAYS if taint["key"] in _OURS else 0.0
    limits = [
        one["tolerationSeconds"] for one in matching if one.get("tolerationSeconds") is not None
    ]
    return float(min(limits)) if limits else float("inf")
