"""Talos as a client of the cluster it starts: its own manifests, and those that the config names."""

import logging
from urllib.parse import urlsplit

import yaml

from windlass.lab.controllers.access import Access, ApiAwayError, ApiError, Client
from windlass.lab.talos.machine import Machine
from windlass.lab.talos.manifests import Object, bootstrap_manifests

logger = logging.getLogger(__name__)

MANAGER = "talos"
TRY_AGAIN_S = 5


async def provision(machine: Machine, access: Access) -> None:
    """Every manifest is in the cluster afterwards; what is refused is tried until it is taken."""
    config = machine.config
    if config is None:
        return
    for source in config.extra_manifests:
        machine.log(_cannot_fetch(machine, source))
    documents = [
        *bootstrap_manifests(config, machine.medium.version),
        *_inline(config.inline_manifests),
    ]
    async with Client(access) as client:
        for document in documents:
            await _ensure(machine, client, document)


def _inline(manifests: tuple[tuple[str, str], ...]) -> list[Object]:
    return [document for _, text in manifests for document in yaml.safe_load_all(text) if document]


async def _ensure(machine: Machine, client: Client, document: Object) -> None:
    said = ""
    while True:
        try:
            await _apply(client, document)
        except (ApiError, ApiAwayError) as error:
            if str(error) != said:
                said = str(error)
                machine.log(
                    f"controller failed: k8s.ManifestApplyController: error applying manifest: {said}"
                )
                logger.info("%s applies %s: %s", machine.label, document["metadata"]["name"], said)
            await machine.fleet.world.clock.sleep(TRY_AGAIN_S)
        else:
            return


async def _apply(client: Client, document: Object) -> None:
    resource = await client.kind(document["apiVersion"], document["kind"])
    if resource is None:
        raise ApiError(
            404,
            "NotFound",
            f"no matches for kind {document['kind']!r} in {document['apiVersion']!r}",
        )
    await client.apply(resource.of(document), document, manager=MANAGER)


def _cannot_fetch(machine: Machine, url: str) -> str:
    """The lab's network has no server for manifests: every source fails as one that does not resolve."""
    host = urlsplit(url).hostname or ""
    known = host in machine.fleet.world.names
    reason = "connect: connection refused" if known else f"lookup {host}: no such host"
    return f'error downloading "{url}": Get "{url}": dial tcp: {reason}'
