"""The garbage collector: what has lost its last owner goes, as its owner's deletion asked.

Owners and dependents may be of any kind that the API serves.
"""

from contextlib import suppress

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Client, Informer, Resource
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.kinds import ServedKinds
from windlass.lab.controllers.objects import Key, Object, dig, is_going, items, key_of

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
# Lab seconds between looks at which kinds there are, for those that come without a definition.
_LOOK_AGAIN = 600.0
# Lab seconds until a deletion that waits for dependents is looked at again while not all are known.
_SYNC = 0.5
_KINDS = ("kinds", "")


class UnknownKindError(Exception):
    """Whether an owner is there cannot be told: nothing serves its kind where it would be."""


class GarbageCollector:
    """One reconciliation is about one object, by its uid: its end, or whether its owners still are."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._alive: dict[str, tuple[Resource, Key]] = {}
        self._dependents: dict[str, set[str]] = {}
        self.controller = Controller("garbage", clock, self._reconcile)
        self._kinds = ServedKinds(
            client, informers, self._follow, lambda: self.controller.enqueue(_KINDS)
        )
        self.controller.enqueue(_KINDS)

    # The graph

    def _follow(self, resource: Resource, informer: Informer) -> None:
        def changed(before: Object | None, after: Object | None) -> None:
            if before is not None and (after is None or _uid(after) != _uid(before)):
                self._lost(before)
                before = None
            if after is not None:
                self._seen(resource, before, after)

        informer.subscribe(changed)

    def _lost(self, document: Object) -> None:
        uid = _uid(document)
        self._alive.pop(uid, None)
        for owner in _owner_uids(document):
            self._forget(owner, uid)
        for dependent in self._dependents.get(uid, ()):
            self._enqueue(dependent)

    def _seen(self, resource: Resource, before: Object | None, after: Object) -> None:
        uid, owners = _uid(after), _owner_uids(after)
        self._alive[uid] = (resource, key_of(after))
        for owner in (_owner_uids(before) if before else set[str]()) - owners:
            self._forget(owner, uid)
        for owner in owners:
            self._dependents.setdefault(owner, set()).add(uid)
        if _matters(before) != _matters(after):
            for one in (uid, *owners):
                self._enqueue(one)

    def _forget(self, owner: str, dependent: str) -> None:
        left = self._dependents.get(owner, set())
        left.discard(dependent)
        if not left:
            self._dependents.pop(owner, None)
        self._enqueue(owner)

    def _enqueue(self, uid: str) -> None:
        self.controller.enqueue(("", uid))

    def _find(self, uid: str) -> tuple[Resource, Object] | None:
        resource, key = self._alive.get(uid, (None, ("", "")))
        informer = self._kinds.informer(resource) if resource else None
        document = informer.items.get(key) if informer else None
        return (resource, document) if resource and document else None

    # The work

    async def _reconcile(self, key: Key) -> float | None:
        if key == _KINDS:
            return await self._look_at_kinds()
        found = self._find(key[1])
        if found is None:
            return None
        resource, document = found
        if is_going(document):
            return await self._finish(resource, document)
        with suppress(UnknownKindError):
            await self._judge(resource, document)
        return None

    async def _look_at_kinds(self) -> float:
        await self._kinds.refresh()
        # An owner's kind may be known only now.
        for uids in self._dependents.values():
            for uid in uids:
                self._enqueue(uid)
        return _LOOK_AGAIN

    async def _finish(self, resource: Resource, owner: Object) -> float | None:
        """Where deletion began with a finalizer of ours, do what it asks for, then take it off."""
        finalizers = items(owner, "metadata", "finalizers")
        finalizer = next((one for one in (ORPHAN, FOREGROUND) if one in finalizers), None)
        if finalizer is None:
            return None
        if not self._kinds.are_synced:
            return _SYNC
        uid = _uid(owner)
        dependents = [
            found for one in self._dependents.get(uid, set()) if (found := self._find(one))
        ]
        if finalizer == ORPHAN:
            for one, dependent in dependents:
                await self._disown(one, dependent, {uid})
        else:
            for _, dependent in dependents:
                self._enqueue(_uid(dependent))
            if any(_blocks(dependent, uid) for _, dependent in dependents):
                return None
        await self._client.take_off_finalizer(resource.of(owner), owner, finalizer)
        return None

    async def _judge(self, resource: Resource, document: Object) -> None:
        """An object that is not going itself stays for an owner that is and stays."""
        solid, _, _ = await self._sorted_owners(resource, document)
        if len(solid) == len(_owner_uids(document)):
            return
        uid = _uid(document)
        latest = await self._client.get(resource.of(document))
        if latest is None or _uid(latest) != uid or is_going(latest):
            return
        solid, waiting, gone = await self._sorted_owners(resource, latest)
        if solid:
            await self._disown(resource, latest, waiting | gone)
        elif waiting and self._dependents.get(uid):
            await self._unblock(resource, latest)
            await self._delete(resource, latest, "Foreground")
        elif waiting or gone:
            finalizers = items(latest, "metadata", "finalizers")
            known = {ORPHAN: "Orphan", FOREGROUND: "Foreground"}
            policy = next((known[one] for one in known if one in finalizers), "Background")
            await self._delete(resource, latest, policy)

    async def _sorted_owners(
        self, resource: Resource, document: Object
    ) -> tuple[set[str], set[str], set[str]]:
        """The uids of owners that stay, that wait for their dependents to go, and that are gone."""
        solid, waiting, gone = set[str](), set[str](), set[str]()
        for reference in items(document, "metadata", "ownerReferences"):
            owner = await self._owner(resource, document, reference)
            if owner is None:
                gone.add(reference["uid"])
            else:
                (waiting if _waits(owner) else solid).add(reference["uid"])
        return solid, waiting, gone

    async def _owner(
        self, resource: Resource, dependent: Object, reference: Object
    ) -> Object | None:
        """What an owner reference points to. One that the informers have not is asked of the API."""
        namespace, name = key_of(dependent)[0], reference["name"]
        known = self._find(reference["uid"])
        if known is not None:
            kind, document = known
            same = (_group(kind.group_version), kind.kind, *key_of(document))
            if same == (
                _group(reference["apiVersion"]),
                reference["kind"],
                namespace if kind.namespaced else "",
                name,
            ):
                return document
        kind = await self._client.kind(reference["apiVersion"], reference["kind"])
        if kind is None or (kind.namespaced and not resource.namespaced):
            raise UnknownKindError(f"{reference['apiVersion']} {reference['kind']}")
        found = await self._client.get(kind.ref(name, namespace if kind.namespaced else ""))
        return found if found is not None and _uid(found) == reference["uid"] else None

    async def _unblock(self, resource: Resource, document: Object) -> None:
        """In a circle of owners that all wait for their dependents somebody has to go first."""
        dependents = [self._find(one) for one in self._dependents.get(_uid(document), ())]
        if not any(found is not None and _waits(found[1]) for found in dependents):
            return
        owners = items(document, "metadata", "ownerReferences")
        if any(one.get("blockOwnerDeletion") for one in owners):
            body = {"ownerReferences": [{**one, "blockOwnerDeletion": False} for one in owners]}
            latest = await self._client.merge(resource.of(document), {"metadata": body})
            document["metadata"]["resourceVersion"] = latest["metadata"]["resourceVersion"]

    async def _disown(self, resource: Resource, dependent: Object, uids: set[str]) -> None:
        owners = items(dependent, "metadata", "ownerReferences")
        kept = [one for one in owners if one["uid"] not in uids]
        if len(kept) < len(owners):
            version = dependent["metadata"]["resourceVersion"]
            body = {"resourceVersion": version, "ownerReferences": kept or None}
            await self._client.merge(resource.of(dependent), {"metadata": body})

    async def _delete(self, resource: Resource, document: Object, policy: str) -> None:
        meta = document["metadata"]
        same = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        await self._client.delete(
            resource.of(document), propagationPolicy=policy, preconditions=same
        )


def _uid(document: Object) -> str:
    return document["metadata"]["uid"]


def _owner_uids(document: Object) -> set[str]:
    return {one["uid"] for one in items(document, "metadata", "ownerReferences")}


def _matters(document: Object | None) -> tuple[object, ...]:
    """What of an object can change what the collector does; nothing of one without owners that stays."""
    if document is None:
        return ([], False, [])
    owners = items(document, "metadata", "ownerReferences")
    going = is_going(document)
    return (owners, going, items(document, "metadata", "finalizers") if going else [])


def _waits(document: Object) -> bool:
    """Its deletion waits for its dependents' deletion."""
    return is_going(document) and FOREGROUND in items(document, "metadata", "finalizers")


def _blocks(dependent: Object, owner: str) -> bool:
    return any(
        one["uid"] == owner and dig(one, "blockOwnerDeletion", default=False)
        for one in items(dependent, "metadata", "ownerReferences")
    )


def _group(api_version: str) -> str:
    return api_version.partition("/")[0] if "/" in api_version else ""
