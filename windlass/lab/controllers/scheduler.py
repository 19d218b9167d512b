"""The scheduler: binds pending pods to nodes that fit, and says why none does."""

from collections import Counter
from collections.abc import Callable, Iterable

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import ApiError, Client
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.events import warning
from windlass.lab.controllers.objects import (
    Key,
    Object,
    annotations_of,
    dig,
    is_going,
    items,
    key_of,
    labels_of,
    pod_is_over,
    requests_of,
    selects_node,
    tolerates,
    with_condition,
)
from windlass.lab.controllers.placement import (
    Candidate,
    Surroundings,
    is_about_others,
    matches_affinity,
    not_evaluated,
    others_refuse,
    ports_refuse,
)
from windlass.lab.controllers.resources import (
    CLAIMS,
    CSI_NODES,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    STORAGE_CLASSES,
    VOLUMES,
)

SELECTED_NODE = "volume.kubernetes.io/selected-node"
# Lab seconds after which a pod that fits nowhere is tried again without a cause.
_LOOK_AGAIN = 30.0


def untolerated(
    pod: Object, node: Object, effects: Iterable[str] = ("NoSchedule", "NoExecute")
) -> str:
    """The first taint of the node that keeps the pod away, in the scheduler's words; "" for none."""
    for taint in items(node, "spec", "taints"):
        if taint["effect"] in effects and not tolerates(pod, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    return ""


def _unschedulable(pod: Object, candidate: Candidate) -> str:
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    if dig(candidate.node, "spec", "unschedulable") and not tolerates(pod, taint):
        return "node(s) were unschedulable"
    return ""


def _tainted(pod: Object, candidate: Candidate) -> str:
    return untolerated(pod, candidate.node)


def _unselected(pod: Object, candidate: Candidate) -> str:
    if matches_affinity(pod, candidate.node):
        return ""
    return "node(s) didn't match Pod's node affinity/selector"


def _too_full(pod: Object, candidate: Candidate) -> str:
    for resource, wanted in requests_of(pod).items():
        if wanted > candidate.free(resource):
            return f"Insufficient {resource}"
    if len(candidate.pods) >= candidate.free("pods"):
        return "Too many pods"
    return ""


_FILTERS: tuple[Callable[[Object, Candidate], str], ...] = (
    _unschedulable,
    _tainted,
    _unselected,
    ports_refuse,
    _too_full,
)


def refusal(pod: Object, candidate: Candidate) -> str:
    """Why the pod cannot go to this node by itself, in the scheduler's words; "" if it can."""
    return next((why for one in _FILTERS if (why := one(pod, candidate))), "")


def explain(refusals: list[str]) -> str:
    """The message of a FailedScheduling event."""
    counted = Counter(refusals).items()
    reasons = ", ".join(sorted(f"{count} {why}" for why, count in counted))
    return f"0/{len(refusals)} nodes are available: {reasons}."


class Scheduler:
    """Waits for the volumes' first consumer too: a claim of such a class is told its node."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._pods = informers[PODS]
        self._nodes = informers[NODES]
        self._claims = informers[CLAIMS]
        self._volumes = informers[VOLUMES]
        self._classes = informers[STORAGE_CLASSES]
        self._csi = informers[CSI_NODES]
        self._namespaces = informers[NAMESPACES]
        self._assumed: dict[str, str] = {}
        self.controller = Controller("scheduler", clock, self._schedule)
        self.controller.follow(self._pods, self._touched)
        for informer in (self._nodes, self._claims, self._classes):
            self.controller.follow(informer, lambda _: self._pending())

    def _pending(self) -> list[Key]:
        return [key for key, pod in self._pods.items.items() if _is_pending(pod)]

    def _touched(self, pod: Object) -> list[Key]:
        if _is_pending(pod):
            return [key_of(pod)]
        if is_going(pod) or pod_is_over(pod):
            return self._pending()
        if dig(pod, "spec", "nodeName"):
            return [key for key in self._pending() if is_about_others(self._pods.items[key])]
        return []

    async def _schedule(self, key: Key) -> float | None:
        pod = self._pods.items.get(key)
        if pod is None or not _is_pending(pod) or pod["metadata"]["uid"] in self._assumed:
            return None
        beyond = not_evaluated(pod)
        waiting = f"the lab does not evaluate {beyond}" if beyond else self._unbound_claims(pod)
        if isinstance(waiting, str):
            await self._say(pod, waiting)
            return _LOOK_AGAIN
        candidates = self._candidates()
        spaces = {name: labels_of(one) for (_, name), one in self._namespaces.items.items()}
        around = Surroundings(candidates, spaces)
        verdicts = {
            one.name: refusal(pod, one)
            or self._volumes_refuse(pod, one)
            or others_refuse(pod, one, around)
            for one in candidates
        }
        fitting = [one for one in candidates if not verdicts[one.name]]
        if not fitting:
            said = (
                explain(list(verdicts.values()))
                if verdicts
                else "no nodes available to schedule pods"
            )
            await self._say(pod, said)
            return _LOOK_AGAIN
        best = min(fitting, key=lambda one: (self._siblings(pod, one), -one.free("cpu"), one.name))
        if waiting:
            return await self._choose(waiting, best)
        return await self._bind(pod, best)

    async def _choose(self, claims: list[Object], best: Candidate) -> float:
        for claim in claims:
            if SELECTED_NODE not in annotations_of(claim):
                mark = {"metadata": {"annotations": {SELECTED_NODE: best.name}}}
                await self._client.merge(CLAIMS.of(claim), mark)
        return _LOOK_AGAIN

    async def _bind(self, pod: Object, best: Candidate) -> None:
        namespace, name = key_of(pod)
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": best.name},
        }
        uid = pod["metadata"]["uid"]
        self._assumed[uid] = best.name
        try:
            await self._client.call("POST", PODS.of(pod).sub("binding").path, body=body)
        except ApiError as error:
            del self._assumed[uid]
            if error.code not in (404, 409):
                raise

    def _siblings(self, pod: Object, candidate: Candidate) -> int:
        """Pods of the same controller on that node: replicas are spread."""
        owner = dig(pod, "metadata", "ownerReferences", default=[{}])[0].get("uid")
        return sum(
            any(one["uid"] == owner for one in items(other, "metadata", "ownerReferences"))
            for other in candidate.pods
        )

    def _candidates(self) -> list[Candidate]:
        found = {name: Candidate(node) for (_, name), node in self._nodes.items.items()}
        for pod in self._pods.items.values():
            where = self._place_of(pod)
            if where in found and not pod_is_over(pod):
                found[where].pods.append(pod)
                for driver, volume in self._csi_volumes(pod):
                    found[where].volumes.setdefault(driver, set()).add(volume)
        for candidate in found.values():
            candidate.volume_limits = self._limits(candidate.name)
        return list(found.values())

    def _place_of(self, pod: Object) -> str:
        """The pod's node: as the API has it, or as it was bound a moment ago."""
        uid = pod["metadata"]["uid"]
        where = dig(pod, "spec", "nodeName")
        if where is not None:
            self._assumed.pop(uid, None)
            return where
        return self._assumed.get(uid, "")

    def _limits(self, node: str) -> dict[str, int]:
        """How many volumes each CSI driver can attach there, for those that say so."""
        drivers = items(self._csi.get(node) or {}, "spec", "drivers")
        return {
            driver["name"]: driver["allocatable"]["count"]
            for driver in drivers
            if dig(driver, "allocatable", "count") is not None
        }

    def _claims_of(self, pod: Object) -> Iterable[tuple[str, Object | None]]:
        namespace = pod["metadata"]["namespace"]
        for volume in items(pod, "spec", "volumes"):
            name = dig(volume, "persistentVolumeClaim", "claimName")
            if name is not None:
                yield name, self._claims.get(name, namespace)

    def _unbound_claims(self, pod: Object) -> list[Object] | str:
        """Claims that wait for their first consumer; or why the pod must wait."""
        waiting: list[Object] = []
        for name, claim in self._claims_of(pod):
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if dig(claim, "status", "phase") == "Bound":
                continue
            found = self._classes.get(dig(claim, "spec", "storageClassName", default=""))
            if found is None or found.get("volumeBindingMode") != "WaitForFirstConsumer":
                return "pod has unbound immediate PersistentVolumeClaims"
            waiting.append(claim)
        return waiting

    def _csi_volumes(self, pod: Object) -> Iterable[tuple[str, str]]:
        for _, claim in self._claims_of(pod):
            volume = self._volumes.get(dig(claim, "spec", "volumeName", default=""))
            driver = dig(volume, "spec", "csi", "driver")
            if volume is not None and driver is not None:
                yield driver, volume["metadata"]["name"]

    def _volumes_refuse(self, pod: Object, candidate: Candidate) -> str:
        for _, claim in self._claims_of(pod):
            volume = self._volumes.get(dig(claim, "spec", "volumeName", default=""))
            terms = dig(volume, "spec", "nodeAffinity", "required", "nodeSelectorTerms", default=[])
            if terms and not any(selects_node(term, candidate.node) for term in terms):
                return "node(s) had volume node affinity conflict"
        new: dict[str, set[str]] = {}
        for driver, volume in self._csi_volumes(pod):
            new.setdefault(driver, set()).add(volume)
        for driver, volumes in new.items():
            there = candidate.volumes.get(driver, set()) | volumes
            if len(there) > candidate.volume_limits.get(driver, len(there)):
                return "node(s) exceed max volume count"
        return ""

    async def _say(self, pod: Object, message: str) -> None:
        entry = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
        }
        before = items(pod, "status", "conditions")
        if any({**one, **entry} == one for one in before):
            return
        conditions = with_condition(before, entry, self._clock.now())
        await self._client.merge_status(PODS.of(pod), {"conditions": conditions})
        event = warning(PODS, pod, "FailedScheduling", message, self._clock.now())
        await self._client.create(EVENTS, event)


def _is_pending(pod: Object) -> bool:
    named = dig(pod, "spec", "schedulerName", default="default-scheduler")
    return (
        not dig(pod, "spec", "nodeName")
        and not is_going(pod)
        and not pod_is_over(pod)
        and named == "default-scheduler"
    )
