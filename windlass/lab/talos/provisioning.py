"""Talos as a client of the cluster it starts: its own manifests, and those that the config names."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import yaml

from windlass.lab.controllers.access import Access, ApiAwayError, ApiError, Client
from windlass.lab.talos.fetching import FetchError, fetch
from windlass.lab.talos.machine import Machine
from windlass.lab.talos.manifests import Object, bootstrap_manifests

logger = logging.getLogger(__name__)

MANAGER = "talos"
TRY_AGAIN_S = 5
Attempt = Callable[[], Coroutine[Any, Any, None]]


async def provision(machine: Machine, access: Access) -> None:
    """Every manifest is in the cluster afterwards; what is refused, or not to be had, is tried until it works."""
    config = machine.config
    if config is None:
        return
    documents = bootstrap_manifests(config, machine.medium.version)
    documents += [document for _, text in config.inline_manifests for document in _read(text)]
    async with Client(access) as client, asyncio.TaskGroup() as group:
        group.create_task(_ensure_all(machine, client, documents))
        for url in config.extra_manifests:
            group.create_task(_ensure_extra(machine, client, url))


def _read(text: str) -> list[Object]:
    return [document for document in yaml.safe_load_all(text) if isinstance(document, dict)]


async def _ensure_all(machine: Machine, client: Client, documents: list[Object]) -> None:
    for document in documents:
        await _until(machine, lambda one=document: _apply(client, one))


async def _ensure_extra(machine: Machine, client: Client, url: str) -> None:
    config = machine.config
    headers = config.extra_manifest_headers if config is not None else {}
    found: list[Object] = []

    async def download() -> None:
        found.extend(_read(await fetch(machine.fleet.world, url, headers)))

    await _until(machine, download)
    await _ensure_all(machine, client, found)


async def _until(machine: Machine, attempt: Attempt) -> None:
    """Tries until it works; a reason is logged when it is new."""
    said = ""
    while True:
        try:
            await attempt()
        except (ApiError, ApiAwayError, FetchError) as error:
            if str(error) != said:
                said = str(error)
                machine.log(f"controller failed: {said}")
                logger.info("%s: %s", machine.label, said)
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
