"""One object from Git into the cluster: applied, created, replaced, or made anew, as its options say."""

from dataclasses import dataclass
from typing import NamedTuple

import orjson

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import ApiError, Client, Ref
from windlass.lab.controllers.argocd.differences import LAST_APPLIED
from windlass.lab.controllers.argocd.options import asks_for
from windlass.lab.controllers.objects import Object, annotations_of

MANAGER = "argocd-controller"
# Bytes of all annotations of an object, names and values; the API server's limit.
_ANNOTATIONS_LIMIT = 262144
# Lab seconds between looks at an object that goes.
_LOOK_AGAIN = 1.0
# Deleting one of these takes with it what lives in it: they are updated, never made anew.
_KEPT_KINDS = ("CustomResourceDefinition", "Namespace")


class Applied(NamedTuple):
    """What kubectl would print, and the object as it is now."""

    said: str
    found: Object


@dataclass(frozen=True)
class Applier:
    """Brings objects into the cluster with the options of one sync."""

    client: Client
    clock: Clock
    options: frozenset[str]

    async def apply(self, ref: Ref, target: Object) -> Applied:
        """The object is as its options want it.

        Raises:
            ApiError: the server, or kubectl before it, said no.
        """
        if "name" not in target["metadata"]:
            beginning = target["metadata"].get("generateName", "")
            said = f"from {beginning}: cannot use generate name with apply"
            raise ApiError(400, "BadRequest", said)
        live = await self.client.get(ref)
        if self._wants("Replace=true", target):
            return await self._replace(ref, target, live)
        force = asks_for(target, "Force=true")
        if self._is_server_side(target):
            if force:
                said = "error validating options: --force cannot be used with --server-side"
                raise ApiError(400, "BadRequest", said)
            found = await self.client.apply(ref, target, manager=MANAGER)
            return _applied(found, target, "serverside-applied")
        return await self._apply_as_a_client(ref, target, live, force=force)

    def _wants(self, option: str, target: Object) -> bool:
        return option in self.options or asks_for(target, option)

    def _is_server_side(self, target: Object) -> bool:
        return self._wants("ServerSideApply=true", target) and not asks_for(
            target, "ServerSideApply=false"
        )

    async def _apply_as_a_client(
        self, ref: Ref, target: Object, live: Object | None, *, force: bool
    ) -> Applied:
        body = _remembering(target)
        _check_size(ref, body)
        try:
            found = await self.client.apply(ref, body, manager=MANAGER)
        except ApiError as error:
            if live is None or not force or error.reason not in ("Conflict", "Invalid"):
                raise
            return _applied(await self._make_anew(ref, body), target, "configured")
        if live is None:
            return _applied(found, target, "created")
        before, after = (one["metadata"]["resourceVersion"] for one in (live, found))
        return _applied(found, target, "unchanged" if before == after else "configured")

    async def _replace(self, ref: Ref, target: Object, live: Object | None) -> Applied:
        if live is None:
            return _applied(await self.client.create(ref.resource, target), target, "created")
        if target["kind"] in _KEPT_KINDS:
            found = await self._update(ref, target, live)
            return Applied(f"{target['kind']}/{ref.name} updated", found)
        if asks_for(target, "Force=true"):
            return _applied(await self._make_anew(ref, target), target, "replaced")
        return _applied(await self._update(ref, target, live), target, "replaced")

    async def _update(self, ref: Ref, target: Object, live: Object) -> Object:
        version = live["metadata"]["resourceVersion"]
        meta = {**target["metadata"], "resourceVersion": version}
        return await self.client.replace(ref, {**target, "metadata": meta})

    async def _make_anew(self, ref: Ref, target: Object) -> Object:
        await self.client.delete(ref, propagationPolicy="Background")
        await self.until_gone(ref)
        return await self.client.create(ref.resource, target)

    async def until_gone(self, ref: Ref) -> None:
        while await self.client.get(ref) is not None:
            await self.clock.sleep(_LOOK_AGAIN)


def _remembering(target: Object) -> Object:
    """With the annotation in which client-side apply keeps what it applied."""
    configuration = orjson.dumps(target, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    marks = {**annotations_of(target), LAST_APPLIED: configuration}
    return {**target, "metadata": {**target["metadata"], "annotations": marks}}


def _check_size(ref: Ref, body: Object) -> None:
    """What a server says to a patch or a create with more annotations than it stores."""
    marks = annotations_of(body)
    if sum(len(text.encode()) for pair in marks.items() for text in pair) <= _ANNOTATIONS_LIMIT:
        return
    group = body["apiVersion"].rpartition("/")[0]
    kind = f"{body['kind']}.{group}".rstrip(".")
    said = f"metadata.annotations: Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes"
    raise ApiError(422, "Invalid", f'{kind} "{ref.name}" is invalid: {said}')


def _applied(found: Object, target: Object, what: str) -> Applied:
    group = target["apiVersion"].rpartition("/")[0]
    kind = f"{target['kind'].lower()}.{group}".rstrip(".")
    return Applied(f"{kind}/{target['metadata']['name']} {what}", found)
