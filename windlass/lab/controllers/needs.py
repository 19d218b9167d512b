"""What a pod needs in its namespace before its volumes can be mounted and its containers made."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from windlass.lab.controllers.access import ApiAwayError, ApiError, Client, Resource
from windlass.lab.controllers.objects import Object, dig, items, table
from windlass.lab.controllers.resources import CLAIMS, CONFIG_MAPS, SECRETS


@dataclass(frozen=True)
class Need:
    """An object that has to be there, with these keys in `where`; `lacks` is said of one it has not."""

    resource: Resource
    name: str
    keys: tuple[str, ...] = ()
    lacks: str = ""
    where: tuple[str, ...] = ("data",)


def of_volume(volume: Object) -> Iterator[Need]:
    """What is optional is no need: without it the volume has fewer files."""
    claim = dig(volume, "persistentVolumeClaim", "claimName")
    if claim is not None:
        yield Need(CLAIMS, claim)
    if "secret" in volume:
        yield from _files(SECRETS, volume["secret"].get("secretName", ""), volume["secret"])
    for source in (volume, *items(volume, "projected", "sources")):
        if "configMap" in source:
            yield from _files(CONFIG_MAPS, source["configMap"].get("name", ""), source["configMap"])
    for source in items(volume, "projected", "sources"):
        if "secret" in source:
            yield from _files(SECRETS, source["secret"].get("name", ""), source["secret"])


def _files(resource: Resource, name: str, said: Object) -> Iterator[Need]:
    if said.get("optional"):
        return
    keys = tuple(one["key"] for one in items(said, "items"))
    lacks = (
        "references non-existent secret key: {key}"
        if resource is SECRETS
        else "configmap references non-existent config key: {key}"
    )
    yield Need(resource, name, keys, lacks, ("data", "binaryData"))


def of_container(spec: Object, namespace: str) -> Iterator[Need]:
    """What the container's environment is made of; fields of the pod itself are always there."""
    for source in items(spec, "envFrom"):
        for key, resource in (("configMapRef", CONFIG_MAPS), ("secretRef", SECRETS)):
            if key in source and not source[key].get("optional"):
                yield Need(resource, source[key].get("name", ""))
    for variable in items(spec, "env"):
        for key, resource in (("configMapKeyRef", CONFIG_MAPS), ("secretKeyRef", SECRETS)):
            said = dig(variable, "valueFrom", key)
            # A value of its own wins over a source.
            if said is None or said.get("optional") or variable.get("value"):
                continue
            lacks = f"couldn't find key {{key}} in {resource.kind} {namespace}/{said.get('name')}"
            yield Need(resource, said.get("name", ""), (said["key"],), lacks)


async def first_unmet(client: Client, needs: Iterable[Need], namespace: str) -> str:
    """What the kubelet says of the first need that is not met; "" when all are."""
    for need in needs:
        kind = need.resource.kind.lower()
        try:
            found = await client.get(need.resource.ref(need.name, namespace))
        except (ApiError, ApiAwayError):
            return f"failed to sync {kind} cache: timed out waiting for the condition"
        if found is None:
            return f'{kind} "{need.name}" not found'
        has = {key for where in need.where for key in table(found, where)}
        lacking = next((key for key in need.keys if key not in has), None)
        if lacking is not None:
            return need.lacks.format(key=lacking)
    return ""
