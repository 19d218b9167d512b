"""Claims and volumes: binding, asking a provisioner, protection while in use, release."""

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Client
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.objects import (
    Key,
    Object,
    annotations_of,
    dig,
    is_going,
    items,
    key_of,
    pod_is_over,
    quantity,
)
from windlass.lab.controllers.resources import CLAIMS, PODS, STORAGE_CLASSES, VOLUMES
from windlass.lab.controllers.scheduler import SELECTED_NODE

PROVISIONER = "volume.kubernetes.io/storage-provisioner"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_BOUND = {"pv.kubernetes.io/bind-completed": "yes"}
_CLAIM_IN_USE, _VOLUME_IN_USE = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"


class Claims:
    """A claim is bound to a volume that fits, or its class's provisioner is asked to make one."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._claims = informers[CLAIMS]
        self._volumes = informers[VOLUMES]
        self._classes = informers[STORAGE_CLASSES]
        self._pods = informers[PODS]
        self.controller = Controller("claim", clock, self._reconcile)
        self.controller.follow(self._claims)
        self.controller.follow(self._volumes, lambda _: list(self._claims.items))
        self.controller.follow(self._classes, lambda _: list(self._claims.items))
        self.controller.follow(self._pods, _claims_of_ended)

    async def _reconcile(self, key: Key) -> float | None:
        claim = self._claims.items.get(key)
        if claim is None:
            return None
        if is_going(claim):
            if _CLAIM_IN_USE in items(claim, "metadata", "finalizers") and not self._in_use(key):
                await self._client.take_off_finalizer(CLAIMS.of(claim), claim, _CLAIM_IN_USE)
        elif dig(claim, "status", "phase") == "Bound":
            if self._volumes.get(claim["spec"]["volumeName"]) is None:
                await self._client.merge_status(CLAIMS.of(claim), {"phase": "Lost"})
        else:
            await self._satisfy(claim)
        return None

    async def _satisfy(self, claim: Object) -> None:
        if dig(claim, "spec", "storageClassName") is None:
            default = self._default_class()
            if default is not None:
                body = {"spec": {"storageClassName": default}}
                claim = await self._client.merge(CLAIMS.of(claim), body)
        volume = self._fitting(claim)
        if volume is not None:
            await self._bind(claim, volume)
            return
        found = self._classes.get(dig(claim, "spec", "storageClassName", default=""))
        if found is None or found["provisioner"] == "kubernetes.io/no-provisioner":
            return
        waits = found.get("volumeBindingMode") == "WaitForFirstConsumer"
        marks = annotations_of(claim)
        if PROVISIONER not in marks and (not waits or SELECTED_NODE in marks):
            mark = {"metadata": {"annotations": {PROVISIONER: found["provisioner"]}}}
            await self._client.merge(CLAIMS.of(claim), mark)

    def _default_class(self) -> str | None:
        marked = (
            name
            for (_, name), one in self._classes.items.items()
            if annotations_of(one).get(_DEFAULT_CLASS) == "true"
        )
        return next(marked, None)

    def _fitting(self, claim: Object) -> Object | None:
        fitting = [one for one in self._volumes.items.values() if _fits(claim, one)]
        return min(fitting, key=_capacity, default=None)

    async def _bind(self, claim: Object, volume: Object) -> None:
        name = volume["metadata"]["name"]
        if dig(volume, "spec", "claimRef", "uid") != claim["metadata"]["uid"]:
            body = {"spec": {"claimRef": claim_reference(claim)}}
            await self._client.merge(VOLUMES.of(volume), body)
        await self._client.merge(
            CLAIMS.of(claim),
            {"metadata": {"annotations": _BOUND}, "spec": {"volumeName": name}},
        )
        status = {
            "phase": "Bound",
            "accessModes": volume["spec"]["accessModes"],
            "capacity": volume["spec"]["capacity"],
        }
        await self._client.merge_status(CLAIMS.of(claim), status)

    def _in_use(self, key: Key) -> bool:
        namespace, name = key
        return any(
            dig(volume, "persistentVolumeClaim", "claimName") == name
            for pod in self._pods.in_namespace(namespace)
            if not pod_is_over(pod)
            for volume in items(pod, "spec", "volumes")
        )


class Volumes:
    """A volume's phase follows its claim. Deleting a released one is its provisioner's work."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._claims = informers[CLAIMS]
        self._volumes = informers[VOLUMES]
        self.controller = Controller("volume", clock, self._reconcile)
        self.controller.follow(self._volumes)
        self.controller.follow(self._claims, _volume_of)

    async def _reconcile(self, key: Key) -> float | None:
        volume = self._volumes.items.get(key)
        if volume is None:
            return None
        phase = self._phase(volume)
        if is_going(volume):
            if _VOLUME_IN_USE in items(volume, "metadata", "finalizers") and phase != "Bound":
                await self._client.take_off_finalizer(VOLUMES.of(volume), volume, _VOLUME_IN_USE)
        elif dig(volume, "status", "phase") != phase:
            await self._client.merge_status(VOLUMES.of(volume), {"phase": phase})
        return None

    def _phase(self, volume: Object) -> str:
        reference = dig(volume, "spec", "claimRef")
        if reference is None:
            return "Available"
        claim = self._claims.get(reference["name"], reference["namespace"])
        if claim is not None and claim["metadata"]["uid"] == reference.get("uid"):
            bound = dig(claim, "spec", "volumeName") == volume["metadata"]["name"]
            return "Bound" if bound else "Available"
        return "Released" if reference.get("uid") else "Available"


def claim_reference(claim: Object) -> Object:
    namespace, name = key_of(claim)
    meta = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": namespace,
        "name": name,
        "uid": meta["uid"],
        "resourceVersion": meta["resourceVersion"],
    }


def _fits(claim: Object, volume: Object) -> bool:
    reference = dig(volume, "spec", "claimRef")
    namespace, name = key_of(claim)
    if reference is not None and (
        (reference["namespace"], reference["name"]) != (namespace, name)
        or reference.get("uid") not in (None, claim["metadata"]["uid"])
    ):
        return False
    asked = dig(claim, "spec", "volumeName")
    if asked:
        return asked == volume["metadata"]["name"]
    wanted = quantity(claim["spec"]["resources"]["requests"]["storage"])
    return (
        dig(volume, "spec", "storageClassName", default="")
        == dig(claim, "spec", "storageClassName", default="")
        and _capacity(volume) >= wanted
        and set(claim["spec"]["accessModes"]) <= set(volume["spec"]["accessModes"])
        and not is_going(volume)
    )


def _capacity(volume: Object) -> float:
    return quantity(volume["spec"]["capacity"]["storage"])


def _volume_of(claim: Object) -> list[Key]:
    name = dig(claim, "spec", "volumeName")
    return [("", name)] if name else []


def _claims_of_ended(pod: Object) -> list[Key]:
    namespace, _ = key_of(pod)
    names = (
        dig(volume, "persistentVolumeClaim", "claimName")
        for volume in items(pod, "spec", "volumes")
    )
    return [(namespace, name) for name in names if name]
