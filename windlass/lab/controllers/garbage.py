"""The garbage collector: what has lost its last owner goes, as its owner's deletion asked."""

from collections.abc import Iterable

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Client, Informer, Resource
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.objects import Key, Object, is_going, items, key_of

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


class GarbageCollector:
    """Knows the dependents among the resources it is given; owners may be of any kind."""

    def __init__(
        self, client: Client, informers: Informers, clock: Clock, resources: Iterable[Resource]
    ) -> None:
        self._client = client
        self._alive: dict[str, tuple[Resource, Key]] = {}
        self._dependents: dict[str, set[tuple[Resource, Key]]] = {}
        self._informers = {one: informers[one] for one in resources}
        self.controller = Controller("garbage", clock, self._reconcile)
        for resource, informer in self._informers.items():
            self._follow(resource, informer)

    def _follow(self, resource: Resource, informer: Informer) -> None:
        def changed(before: Object | None, after: Object | None) -> None:
            for document in (before, after):
                if document is not None:
                    self._note(resource, document, here=document is after)

        informer.subscribe(changed)

    def _note(self, resource: Resource, document: Object, *, here: bool) -> None:
        uid, entry = document["metadata"]["uid"], (resource, key_of(document))
        if here:
            self._alive[uid] = entry
        else:
            self._alive.pop(uid, None)
        for owner in items(document, "metadata", "ownerReferences"):
            of_owner = self._dependents.setdefault(owner["uid"], set())
            if here:
                of_owner.add(entry)
            else:
                of_owner.discard(entry)
            self.controller.enqueue(("", owner["uid"]))
        if not here or is_going(document):
            self.controller.enqueue(("", uid))

    async def _reconcile(self, key: Key) -> float | None:
        uid = key[1]
        entries = list(self._dependents.get(uid, ()))
        dependents = [(one, found) for one, where in entries if (found := self._at(one, where))]
        if uid not in self._alive:
            for resource, dependent in dependents:
                await self._collect(resource, dependent, uid)
            return None
        resource, where = self._alive[uid]
        owner = self._at(resource, where)
        if owner is not None and is_going(owner):
            await self._finish(resource, owner, dependents)
        return None

    def _at(self, resource: Resource, where: Key) -> Object | None:
        return self._informers[resource].items.get(where)

    async def _finish(
        self, resource: Resource, owner: Object, dependents: list[tuple[Resource, Object]]
    ) -> None:
        """Deletion began with a finalizer of ours: do what it asks for, then take it off."""
        finalizers = items(owner, "metadata", "finalizers")
        uid = owner["metadata"]["uid"]
        if ORPHAN in finalizers:
            for one, dependent in dependents:
                await self._disown(one, dependent, uid)
            await self._take_off(resource, owner, ORPHAN)
        elif FOREGROUND in finalizers:
            blocking = [
                (one, dependent)
                for one, dependent in dependents
                if any(
                    ref["uid"] == uid and ref.get("blockOwnerDeletion")
                    for ref in items(dependent, "metadata", "ownerReferences")
                )
            ]
            for one, dependent in dependents:
                if not is_going(dependent):
                    ref = one.of(dependent)
                    await self._client.delete(ref, propagationPolicy="Foreground")
            if not blocking:
                await self._take_off(resource, owner, FOREGROUND)

    async def _collect(self, resource: Resource, dependent: Object, uid: str) -> None:
        owners = items(dependent, "metadata", "ownerReferences")
        gone = next((one for one in owners if one["uid"] == uid), None)
        if gone is None or is_going(dependent) or await self._exists(dependent, gone):
            return
        if any(one["uid"] in self._alive for one in owners):
            await self._disown(resource, dependent, uid)
            return
        preconditions = {"uid": dependent["metadata"]["uid"]}
        ref = resource.of(dependent)
        await self._client.delete(ref, propagationPolicy="Background", preconditions=preconditions)

    async def _exists(self, dependent: Object, owner: Object) -> bool:
        """Asked of the API, not of the informers: they may lag, and owners may be of any kind."""
        resource = await self._client.kind(owner["apiVersion"], owner["kind"])
        if resource is None:
            return True
        namespace = dependent["metadata"].get("namespace", "") if resource.namespaced else ""
        found = await self._client.get(resource.ref(owner["name"], namespace))
        return found is not None and found["metadata"]["uid"] == owner["uid"]

    async def _disown(self, resource: Resource, dependent: Object, uid: str) -> None:
        owners = items(dependent, "metadata", "ownerReferences")
        kept = [one for one in owners if one["uid"] != uid]
        await self._client.merge(
            resource.of(dependent), {"metadata": {"ownerReferences": kept or None}}
        )

    async def _take_off(self, resource: Resource, owner: Object, finalizer: str) -> None:
        await self._client.take_off_finalizer(resource.of(owner), owner, finalizer)
