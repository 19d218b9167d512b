"""What an Application wants beside what is there, object by object."""

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from windlass.lab.controllers.access import ApiError, Client, Ref, Resource
from windlass.lab.controllers.argocd.apply import MANAGER
from windlass.lab.controllers.argocd.differences import bare, pointers_for
from windlass.lab.controllers.argocd.health import Health, health_of
from windlass.lab.controllers.argocd.options import (
    COMPARE_OPTIONS,
    HOOK,
    IGNORE_HEALTH,
    TRACKING,
    asks_for,
    values_of,
    wave_of,
)
from windlass.lab.controllers.controller import Informers
from windlass.lab.controllers.objects import Object, annotations_of, dig, items, key_of

# Real seconds for a first list of a kind that was not watched before.
_FIRST_LIST = 15


@dataclass
class Item:
    """One object of an Application: what Git says, what the API says; at least one of them."""

    group: str
    version: str
    kind: str
    namespace: str
    name: str
    resource: Resource | None
    target: Object | None = None
    live: Object | None = None
    synced: bool = False
    health: Health | None = None
    # False where its project does not let the Application touch it: it is left alone, unlooked at.
    permitted: bool = True
    # For what the sync itself adds.
    phase: str = "Sync"

    @property
    def ref(self) -> Ref | None:
        return None if self.resource is None else self.resource.ref(self.name, self.namespace)

    @property
    def place(self) -> tuple[str, str, str, str]:
        return self.group, self.kind, self.namespace, self.name

    @property
    def is_hook(self) -> bool:
        return self.target is not None and HOOK in annotations_of(self.target)

    @property
    def said(self) -> Object:
        """The side whose annotations count."""
        return self.target or self.live or {"metadata": {}}

    @property
    def wave(self) -> int:
        return wave_of(self.said)

    @property
    def counts(self) -> bool:
        """Whether the Application is out of sync when this object is."""
        return self.target is not None or "IgnoreExtraneous" not in values_of(
            self.said, COMPARE_OPTIONS
        )

    def option(self, wanted: str) -> bool:
        return asks_for(self.said, wanted)

    def summary(self) -> Object:
        """The entry of `status.resources`."""
        status = "Synced" if self.synced else "OutOfSync"
        entry: Object = {
            "group": self.group,
            "version": self.version,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "status": status if self.permitted else "Unknown",
        }
        entry = {key: value for key, value in entry.items() if value}
        if self.health is not None:
            status, message = self.health
            entry["health"] = {"status": status} | ({"message": message} if message else {})
        if self.target is None:
            entry["requiresPruning"] = True
        if self.wave:
            entry["syncWave"] = self.wave
        return entry


@dataclass
class Comparison:
    """An Application at one commit. `trouble` says why it could not be compared."""

    revision: str = ""
    items: list[Item] = field(default_factory=list[Item])
    trouble: str = ""

    def shared_with_others(self, app: Object) -> list[str]:
        """What another Application tracks that this one wants too."""
        said: list[str] = []
        for item in self.items:
            tracked = annotations_of(item.live or {"metadata": {}}).get(TRACKING, "")
            other, name = tracked.partition(":")[0], app["metadata"]["name"]
            if item.target is not None and other not in ("", name):
                ours = f"{app['metadata']['namespace']}/{name}"
                said.append(f"{item.kind}/{item.name} is part of applications {ours} and {other}")
        return said

    @property
    def is_synced(self) -> bool:
        return all(item.synced or not item.counts for item in self.items)


class Comparer:
    """Compares by a server-side dry run, and remembers the answer while neither side changes."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._informers = informers
        self._same: dict[tuple[str, str, str], bool] = {}

    async def compare(self, app: Object, manifests: Iterable[Object]) -> list[Item]:
        """Objects of the manifests, and tracked ones that the manifests no longer have."""
        found = [await self._wanted(app, manifest) for manifest in manifests]
        places = {item.place for item in found}
        for entry in items(app, "status", "resources"):
            item = await self._known(app, entry)
            if item is not None and item.place not in places:
                found.append(item)
        ignored = items(app, "spec", "ignoreDifferences")
        for item in found:
            if item.target is not None and item.live is not None and not item.is_hook:
                item.synced = await self._is_same(item, ignored)
            item.synced = item.synced or item.is_hook
        return found

    async def live(self, item: Item) -> Object | None:
        """What the API has now, through an informer that starts when it is first asked."""
        if item.resource is None:
            _, _, kind, _ = item.place[0], item.version, item.kind, item.name
            version = f"{item.group}/{item.version}" if item.group else item.version
            item.resource = await self._client.kind(version, kind)
            if item.resource is None:
                return None
        informer = self._informers[item.resource]
        async with asyncio.timeout(_FIRST_LIST):
            await informer.synced.wait()
        found = informer.get(item.name, item.namespace)
        if found is None:
            return None
        # Items of a list carry neither.
        version = item.resource.group_version
        return {"apiVersion": version, "kind": item.resource.kind, **found}

    def learn(self, item: Item, found: Object) -> None:
        """What was just written is compared with at once, before the watch tells of it."""
        if item.resource is not None:
            self._informers[item.resource].learn(found)

    async def _wanted(self, app: Object, manifest: Object) -> Item:
        group, _, version = manifest["apiVersion"].rpartition("/")
        resource = await self._client.kind(manifest["apiVersion"], manifest["kind"])
        namespace, name = _place_of(manifest)
        if resource is None or resource.namespaced:
            namespace = namespace or dig(app, "spec", "destination", "namespace", default="")
        else:
            namespace = ""
        item = Item(group, version, manifest["kind"], namespace, name, resource)
        item.target = _tracked(app, manifest, item)
        item.live = await self.live(item)
        if not item.is_hook:
            item.health = ("Missing", "") if item.live is None else _health(item)
        return item

    async def _known(self, app: Object, entry: Object) -> Item | None:
        group, version, kind = entry.get("group", ""), entry["version"], entry["kind"]
        item = Item(group, version, kind, entry.get("namespace", ""), entry["name"], None)
        item.live = await self.live(item)
        if item.live is None or annotations_of(item.live).get(TRACKING) != tracking_id(app, item):
            return None
        item.health = _health(item)
        return item

    async def _is_same(self, item: Item, ignored: list[Object]) -> bool:
        live, target, ref = item.live, item.target, item.ref
        if live is None or target is None or ref is None:
            return False
        digest = hashlib.sha256(orjson.dumps([target, ignored])).hexdigest()
        seen = (digest, live["metadata"]["uid"], live["metadata"]["resourceVersion"])
        if seen not in self._same:
            try:
                would_be = await self._client.apply(ref, target, manager=MANAGER, dry_run=True)
            except ApiError as error:
                if error.code not in (400, 403, 409, 422, 501):
                    raise
                return False
            pointers = pointers_for(ignored, item.place)
            self._same[seen] = bare(would_be, pointers) == bare(live, pointers)
        return self._same[seen]


def tracking_id(app: Object, item: Item) -> str:
    return f"{app['metadata']['name']}:{item.group}/{item.kind}:{item.namespace}/{item.name}"


def _place_of(manifest: Object) -> tuple[str, str]:
    meta = manifest["metadata"]
    return key_of({"metadata": {"name": meta.get("generateName", ""), **meta}})


def _tracked(app: Object, manifest: Object, item: Item) -> Object:
    marks = {**annotations_of(manifest), TRACKING: tracking_id(app, item)}
    meta = {**manifest["metadata"], "annotations": marks}
    if item.namespace:
        meta["namespace"] = item.namespace
    return {**manifest, "metadata": meta}


def _health(item: Item) -> Health | None:
    if item.live is None or annotations_of(item.said).get(IGNORE_HEALTH) == "true":
        return None
    return health_of(item.group, item.live)
