"""Argo CD's programs, to be run by the pods of its controllers."""

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from windlass.lab.controllers.access import Client
from windlass.lab.controllers.argocd.applications import FAULTS, Applications
from windlass.lab.controllers.argocd.applicationsets import ApplicationSets
from windlass.lab.controllers.argocd.git import Repositories
from windlass.lab.controllers.controller import Informers
from windlass.lab.controllers.program import Program, Running
from windlass.lab.controllers.resources import PROJECTS
from windlass.lab.faults import Faults

_ANY = {"group": "*", "kind": "*"}


def argocd_programs(
    repositories: Mapping[str, Path], faults: Faults | None = None
) -> dict[str, Program]:
    """The controllers by a part of their command. The repo server only has to run."""
    if faults is not None:
        for name, does in FAULTS.items():
            faults.declare(name, does)

    async def application_controller(place: Running) -> int:
        with Repositories(repositories, faults) as source:
            async with Client(place.access) as client:
                informers = Informers(client)
                await _ensure_default_project(client, place.pod["metadata"]["namespace"])
                loop = Applications(client, informers, place.clock, source, faults)
                await _run(informers, loop.run())
        return 0

    async def applicationset_controller(place: Running) -> int:
        with Repositories(repositories, faults) as source:
            async with Client(place.access) as client:
                informers = Informers(client)
                loop = ApplicationSets(client, informers, place.clock, source)
                await _run(informers, loop.controller.run())
        return 0

    return {
        "argocd-application-controller": application_controller,
        "argocd-applicationset-controller": applicationset_controller,
    }


async def _run(informers: Informers, work: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(informers.run())
        tasks.create_task(work)


async def _ensure_default_project(client: Client, namespace: str) -> None:
    """Argo CD makes it at its first start: everything is allowed in it."""
    body = {
        "apiVersion": PROJECTS.group_version,
        "kind": PROJECTS.kind,
        "metadata": {"name": "default", "namespace": namespace},
        "spec": {
            "sourceRepos": ["*"],
            "destinations": [{"server": "*", "namespace": "*"}],
            "clusterResourceWhitelist": [_ANY],
        },
    }
    await client.create_if_absent(PROJECTS, body)
