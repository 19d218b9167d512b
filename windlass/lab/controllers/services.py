"""What depends on which pods are ready: endpoints of Services, status of disruption budgets."""

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Client
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.objects import (
    Key,
    Object,
    controller_reference,
    dig,
    is_going,
    items,
    labels_of,
    pod_is_over,
    pod_is_ready,
    selects,
    with_condition,
)
from windlass.lab.controllers.replicas import percent, publish
from windlass.lab.controllers.resources import BUDGETS, PODS, SERVICES, SLICES

_MANAGER = "windlass-lab-endpoints"


class Endpoints:
    """One EndpointSlice a Service with a selector. Endpoints, deprecated, are not written."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._services = informers[SERVICES]
        self._pods = informers[PODS]
        self._slices = informers[SLICES]
        self.controller = Controller("endpoints", clock, self._reconcile)
        self.controller.follow(self._services)
        self.controller.follow(self._pods, self._services_of)

    def _services_of(self, pod: Object) -> list[Key]:
        namespace = pod["metadata"]["namespace"]
        return [
            (namespace, service["metadata"]["name"])
            for service in self._services.in_namespace(namespace)
            if _selected(service, pod)
        ]

    async def _reconcile(self, key: Key) -> float | None:
        service = self._services.items.get(key)
        if service is None or not dig(service, "spec", "selector"):
            return None
        pods = [pod for pod in self._pods.in_namespace(key[0]) if _selected(service, pod)]
        pods.sort(key=lambda pod: pod["metadata"]["name"])
        placed = [pod for pod in pods if dig(pod, "status", "podIP") and not pod_is_over(pod)]
        body: Object = {
            "apiVersion": SLICES.group_version,
            "kind": SLICES.kind,
            "metadata": {
                "name": f"{key[1]}-lab",
                "namespace": key[0],
                "labels": {
                    "kubernetes.io/service-name": key[1],
                    "endpointslice.kubernetes.io/managed-by": _MANAGER,
                },
                "ownerReferences": [controller_reference(service, "v1", "Service")],
            },
            "addressType": "IPv4",
            "endpoints": [_endpoint(pod) for pod in placed],
            "ports": [_port(port, placed) for port in items(service, "spec", "ports")],
        }
        known = self._slices.get(f"{key[1]}-lab", key[0])
        said = ("endpoints", "ports")
        if known is None or any((known.get(name) or []) != body[name] for name in said):
            await self._client.apply(SLICES.of(body), body, manager=_MANAGER)
        return None


def _selected(service: Object, pod: Object) -> bool:
    selector = dig(service, "spec", "selector")
    return bool(selector) and selects({"matchLabels": selector}, labels_of(pod))


def _endpoint(pod: Object) -> Object:
    ready, going = pod_is_ready(pod), is_going(pod)
    meta = pod["metadata"]
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": ready, "terminating": going},
        "nodeName": pod["spec"]["nodeName"],
        "targetRef": {
            "kind": "Pod",
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
        },
    }


def _port(port: Object, pods: list[Object]) -> Object:
    target = port.get("targetPort", port["port"])
    if isinstance(target, str):
        named = (
            one["containerPort"]
            for pod in pods
            for container in items(pod, "spec", "containers")
            for one in items(container, "ports")
            if one.get("name") == target
        )
        target = next(named, port["port"])
    return {"name": port.get("name", ""), "port": target, "protocol": port.get("protocol", "TCP")}


class Budgets:
    """How many pods each PodDisruptionBudget lets go right now."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._budgets = informers[BUDGETS]
        self._pods = informers[PODS]
        self.controller = Controller("disruption", clock, self._reconcile)
        self.controller.follow(self._budgets)
        self.controller.follow(self._pods, self._budgets_of)

    def _budgets_of(self, pod: Object) -> list[Key]:
        namespace = pod["metadata"]["namespace"]
        return [
            (namespace, budget["metadata"]["name"])
            for budget in self._budgets.in_namespace(namespace)
            if selects(dig(budget, "spec", "selector"), labels_of(pod))
        ]

    async def _reconcile(self, key: Key) -> float | None:
        budget = self._budgets.items.get(key)
        if budget is None:
            return None
        pods = [
            pod
            for pod in self._pods.in_namespace(key[0])
            if selects(budget["spec"].get("selector"), labels_of(pod)) and not pod_is_over(pod)
        ]
        healthy, expected = sum(pod_is_ready(pod) for pod in pods), len(pods)
        desired = _desired(budget, expected)
        allowed = max(healthy - desired, 0) if expected else 0
        entry = {
            "type": "DisruptionAllowed",
            "status": "True" if allowed else "False",
            "reason": "SufficientPods" if allowed else "InsufficientPods",
            "observedGeneration": budget["metadata"].get("generation", 1),
        }
        before = budget.get("status", {})
        conditions = items(before, "conditions")
        status = {
            "expectedPods": expected,
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "disruptionsAllowed": allowed,
            "observedGeneration": budget["metadata"].get("generation", 1),
            "conditions": with_condition(conditions, entry, self._clock.now()),
        }
        known = {"disruptionsAllowed": -1} | before
        await publish(self._client, BUDGETS.of(budget), known, status)
        return None


def _desired(budget: Object, expected: int) -> int:
    """Pods that must stay healthy: minAvailable, or all but maxUnavailable."""
    spec = budget["spec"]
    if spec.get("maxUnavailable") is not None:
        return max(expected - percent(spec["maxUnavailable"], expected, up=True), 0)
    return percent(spec.get("minAvailable", 1), expected, up=True)
