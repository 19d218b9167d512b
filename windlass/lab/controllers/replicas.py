"""What the workload controllers share: the pods and sets that an owner has, and making pods."""

import hashlib
from collections.abc import Iterable

import orjson

from windlass.lab.controllers.access import Client, Informer, Ref, Resource
from windlass.lab.controllers.controller import KeysOf
from windlass.lab.controllers.objects import (
    Key,
    Object,
    controller_of,
    controller_reference,
    is_going,
    labels_of,
    owned_by,
    pod_is_over,
    pod_is_ready,
    table,
)
from windlass.lab.controllers.resources import PODS


def owned(informer: Informer, owner: Object) -> list[Object]:
    """The objects whose controller is `owner`."""
    uid = owner["metadata"]["uid"]
    namespace = owner["metadata"].get("namespace", "")
    return [one for one in informer.in_namespace(namespace) if owned_by(one, uid)]


def owner_keys(kind: str) -> KeysOf:
    """For an informer of dependents: the key of the controller of that kind."""

    def keys(document: Object) -> Iterable[Key]:
        owner = controller_of(document)
        if owner is not None and owner["kind"] == kind:
            yield document["metadata"]["namespace"], owner["name"]

    return keys


def template_hash(template: Object) -> str:
    """Ten letters that change with the pod template."""
    text = orjson.dumps(template, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:10]


def pod_from(template: Object, owner: Object, resource: Resource) -> Object:
    """A Pod of the template, owned by `owner`; the caller names it."""
    reference = controller_reference(owner, resource.group_version, resource.kind)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": owner["metadata"]["namespace"],
            "labels": labels_of(template),
            "annotations": table(template, "metadata", "annotations"),
            "ownerReferences": [reference],
        },
        "spec": dict(template["spec"]),
    }


def living(pods: Iterable[Object]) -> list[Object]:
    return [pod for pod in pods if not is_going(pod) and not pod_is_over(pod)]


def ready(pods: Iterable[Object]) -> int:
    return sum(pod_is_ready(pod) for pod in pods)


async def make_pod(client: Client, pods: Informer, pod: Object) -> None:
    pods.learn(await client.create(PODS, pod))


async def publish(client: Client, ref: Ref, before: Object, status: Object) -> None:
    """Write a status if it says something else than `before`; absent counters are 0."""
    if any(before.get(name, 0) != value for name, value in status.items()):
        await client.merge_status(ref, status)


async def remove(client: Client, pods: Iterable[Object]) -> None:
    for pod in pods:
        await client.delete(PODS.of(pod), preconditions={"uid": pod["metadata"]["uid"]})


def percent(value: int | str | None, of: int, *, default: str = "25%", up: bool) -> int:
    """An IntOrString such as maxSurge as a number of pods."""
    said = default if value is None else value
    if isinstance(said, int):
        return said
    share = int(said.removesuffix("%")) * of
    return -(-share // 100) if up else share // 100
