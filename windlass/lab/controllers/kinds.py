"""Informers of every kind that the API serves; those of custom kinds come and go with their definitions."""

from collections.abc import Callable

from windlass.lab.controllers.access import Client, Informer, Resource
from windlass.lab.controllers.controller import Informers
from windlass.lab.controllers.objects import Object
from windlass.lab.controllers.resources import DEFINITIONS

_VERBS = {"list", "watch", "patch", "delete"}
# Nobody owns events, and there are many.
_LEFT_ALONE = ("events",)


class ServedKinds:
    """Call `refresh` after `changed` was called: a definition came, went or is another now."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        follow: Callable[[Resource, Informer], None],
        changed: Callable[[], None],
    ) -> None:
        self._client = client
        self._informers = informers
        self._follow = follow
        self._followed: dict[Resource, Informer] = {}

        def definition_changed(_before: Object | None, _after: Object | None) -> None:
            changed()

        self._definitions = informers[DEFINITIONS]
        self._definitions.subscribe(definition_changed)

    @property
    def are_synced(self) -> bool:
        return bool(self._followed) and all(one.synced.is_set() for one in self._followed.values())

    def informer(self, resource: Resource) -> Informer | None:
        return self._followed.get(resource)

    async def refresh(self) -> None:
        served = {one for one in await self._client.served(_VERBS) if one.plural not in _LEFT_ALONE}
        for resource in self._followed.keys() - served:
            del self._followed[resource]
            self._informers.drop(resource)
        for resource in served - self._followed.keys():
            informer = self._followed[resource] = self._informers[resource]
            self._follow(resource, informer)
