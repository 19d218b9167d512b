"""A CSI driver as its pods: the controller makes and removes volumes, the node part registers."""

import asyncio

from windlass.lab.controllers.access import Client
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.objects import (
    Key,
    Object,
    annotations_of,
    dig,
    is_going,
    items,
)
from windlass.lab.controllers.program import Program, Running
from windlass.lab.controllers.resources import CLAIMS, CSI_NODES, STORAGE_CLASSES, VOLUMES
from windlass.lab.controllers.volumes import PROVISIONER, claim_reference

PROXMOX = "csi.proxmox.sinextra.dev"
# The Proxmox plugin's default; SCSI leaves no room for more.
VOLUMES_PER_NODE = 24
# Lab seconds that making a disk takes.
_MAKING = 2.0
_PROVISIONED = "pv.kubernetes.io/provisioned-by"


class Provisioner:
    """Makes a volume for every claim that asks for this driver; deletes what is released."""

    def __init__(self, client: Client, informers: Informers, place: Running, driver: str) -> None:
        self._client = client
        self._place = place
        self._driver = driver
        self._claims = informers[CLAIMS]
        self._volumes = informers[VOLUMES]
        self._classes = informers[STORAGE_CLASSES]
        self.controller = Controller("provisioner", place.clock, self._reconcile)
        self.controller.follow(self._claims)
        self.controller.follow(self._volumes, lambda one: [("", one["metadata"]["name"])])

    async def _reconcile(self, key: Key) -> float | None:
        claim = self._claims.items.get(key)
        volume = None if key[0] else self._volumes.items.get(key)
        if claim is not None and self._is_asked(claim):
            await self._make(claim)
        if volume is not None and self._is_spent(volume):
            await self._client.delete(VOLUMES.of(volume))
        return None

    def _is_asked(self, claim: Object) -> bool:
        asked = annotations_of(claim).get(PROVISIONER) == self._driver
        return asked and not is_going(claim) and not dig(claim, "spec", "volumeName")

    def _is_spent(self, volume: Object) -> bool:
        return (
            annotations_of(volume).get(_PROVISIONED) == self._driver
            and dig(volume, "status", "phase") == "Released"
            and dig(volume, "spec", "persistentVolumeReclaimPolicy") == "Delete"
            and not is_going(volume)
        )

    async def _make(self, claim: Object) -> None:
        name = f"pvc-{claim['metadata']['uid']}"
        if self._volumes.get(name) is not None:
            return
        await self._place.clock.sleep(_MAKING)
        of_class = self._classes.get(claim["spec"]["storageClassName"]) or {}
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "annotations": {_PROVISIONED: self._driver}},
            "spec": {
                "accessModes": claim["spec"]["accessModes"],
                "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
                "claimRef": claim_reference(claim),
                "csi": {"driver": self._driver, "volumeHandle": name, "fsType": "ext4"},
                "persistentVolumeReclaimPolicy": of_class.get("reclaimPolicy", "Delete"),
                "storageClassName": claim["spec"]["storageClassName"],
                "volumeMode": claim["spec"].get("volumeMode", "Filesystem"),
            },
        }
        await self._client.create_if_absent(VOLUMES, body)
        self._place.say(f"made volume {name}")


def csi_programs(driver: str = PROXMOX) -> dict[str, Program]:
    """The driver's two images, by a part of their names."""

    async def controller(place: Running) -> int:
        async with Client(place.access) as client, asyncio.TaskGroup() as tasks:
            informers = Informers(client)
            loop = Provisioner(client, informers, place, driver)
            tasks.create_task(informers.run())
            await informers.synced()
            tasks.create_task(loop.controller.run())
        return 0

    async def node(place: Running) -> int:
        entry = {
            "name": driver,
            "nodeID": place.node,
            "topologyKeys": ["topology.kubernetes.io/zone"],
            "allocatable": {"count": VOLUMES_PER_NODE},
        }
        async with Client(place.access) as client:
            ref = CSI_NODES.ref(place.node)
            known = await client.get(ref) or {}
            others = [one for one in items(known, "spec", "drivers") if one["name"] != driver]
            await client.merge(ref, {"spec": {"drivers": [*others, entry]}})
            await asyncio.Event().wait()
        return 0

    return {"proxmox-csi-controller": controller, "proxmox-csi-node": node}
