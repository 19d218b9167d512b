"""The lab's kubelet and Argo CD are clients of the Kubernetes API: the real control plane is one."""

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conformance.kubernetes_peers import real_plane
from windlass.lab import homelab
from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Access, Client, Resource
from windlass.lab.controllers.argocd.git import Repositories
from windlass.lab.controllers.argocd.render import render
from windlass.lab.controllers.kubelet import Kubelet
from windlass.lab.controllers.loops import ControlLoops
from windlass.lab.controllers.node import NodeIdentity
from windlass.lab.controllers.objects import condition_holds, dig
from windlass.lab.controllers.programs import programs_for
from windlass.lab.controllers.resources import (
    APPLICATIONS,
    CLAIMS,
    DAEMON_SETS,
    DEPLOYMENTS,
    NODES,
    PODS,
)

SPEED = 20.0


@dataclass(frozen=True)
class Plane:
    """A real API server, with the real controllers or without any."""

    access: Access
    needs_loops: bool


@pytest.fixture(scope="module", params=["upstream's controllers", "the lab's controllers"])
def plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("plane")
    ours = request.param == "the lab's controllers"
    with real_plane(folder, "127.17.0.1", *(["--no-controllers"] if ours else [])) as real:
        yield Plane(read_kubeconfig(real.kubeconfig, folder), needs_loops=ours)


def read_kubeconfig(path: Path, folder: Path) -> Access:
    document = yaml.safe_load(path.read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    for name in ("client-certificate-data", "client-key-data"):
        (folder / name).write_bytes(base64.b64decode(user[name]))
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    context.load_cert_chain(folder / "client-certificate-data", folder / "client-key-data")
    return Access(cluster["server"], context, "windlass-lab-test")


def identity(name: str, last: int) -> NodeIdentity:
    return NodeIdentity(
        name=name,
        addresses=(f"10.25.150.{last}",),
        kubelet_version="v1.34.4",
        os_image="Talos (v1.13.9)",
        boot_id=f"boot-{name}",
        machine_id=f"machine-{name}",
        system_uuid=f"uuid-{name}",
        cpu=4,
        memory=4096,
    )


def workload(kind: str, name: str, image: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"containers": [{"name": "main", "image": image}], **spec.pop("pod", {})}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **spec,
        },
    }


CNI = workload(
    "DaemonSet",
    "cilium",
    "quay.io/cilium/cilium:v1.18.4",
    pod={"hostNetwork": True, "tolerations": [{"operator": "Exists"}]},
)


async def until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(300):
        if await holds():
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"never came true: {what}")


def on_the_plane(
    plane: Plane,
    story: Callable[[Client], Awaitable[None]],
    *,
    repositories: Mapping[str, Path] | None = None,
) -> None:
    """Two nodes run while the story is told."""

    async def tell() -> None:
        clock = Clock(SPEED)
        access = plane.access
        programs = programs_for(repositories or {})
        kubelets = [
            Kubelet(access, clock, identity(f"w-{i}", 20 + i), programs=programs) for i in (1, 2)
        ]
        async with Client(access) as client:
            running = [asyncio.create_task(kubelet.run()) for kubelet in kubelets]
            if plane.needs_loops:
                running.append(asyncio.create_task(ControlLoops(access, clock).run()))
            try:
                await client.apply(DAEMON_SETS.of(CNI), CNI, manager="test")
                await story(client)
            finally:
                for task in running:
                    task.cancel()
                outcomes = await asyncio.gather(*running, return_exceptions=True)
        # aiohttp closes its TLS transports in later turns of the loop, which ends here.
        await asyncio.sleep(0.3)
        assert all(isinstance(one, asyncio.CancelledError) for one in outcomes), outcomes

    asyncio.run(tell())


async def is_rolled_out(client: Client, resource: Resource, name: str, replicas: int) -> bool:
    found = await client.get(resource.ref(name, "default"))
    return dig(found, "status", "readyReplicas") == replicas


def test_the_kubelet_brings_a_deployment_up_on_real_nodes(plane: Plane):
    async def story(client: Client) -> None:
        web = workload("Deployment", "web", "nginx:1.29", replicas=3)
        await client.apply(DEPLOYMENTS.of(web), web, manager="test")
        await until("3 ready replicas", lambda: is_rolled_out(client, DEPLOYMENTS, "web", 3))

        pods = await client.list(PODS, "default", labelSelector="app=web")

        for pod in pods:
            node = await client.get(NODES.ref(pod["spec"]["nodeName"]))
            assert node is not None
            assert condition_holds(node, "Ready")
        assert len({pod["status"]["podIP"] for pod in pods}) == 3

    on_the_plane(plane, story)


def test_a_deleted_pod_ends_and_is_replaced(plane: Plane):
    async def story(client: Client) -> None:
        web = workload("Deployment", "again", "nginx:1.29", replicas=1)
        await client.apply(DEPLOYMENTS.of(web), web, manager="test")
        await until("a ready replica", lambda: is_rolled_out(client, DEPLOYMENTS, "again", 1))
        (first,) = await client.list(PODS, "default", labelSelector="app=again")

        await client.evict("default", first["metadata"]["name"])
        old = PODS.of(first)

        async def gone() -> bool:
            return await client.get(old) is None

        await until("the old pod gone", gone)
        await until("a ready replica", lambda: is_rolled_out(client, DEPLOYMENTS, "again", 1))

    on_the_plane(plane, story)


async def apply_folder(client: Client, root: Path, folder: str) -> None:
    """Objects in the order in which they can exist."""
    manifests = await render(root, {"path": folder})
    first = ("Namespace", "CustomResourceDefinition")
    for manifest in sorted(manifests, key=lambda one: one["kind"] not in first):

        async def known(manifest: dict[str, Any] = manifest) -> bool:
            return await client.kind(manifest["apiVersion"], manifest["kind"]) is not None

        await until(f"{manifest['kind']} known", known)
        resource = await client.kind(manifest["apiVersion"], manifest["kind"])
        assert resource is not None
        await client.apply(resource.of(manifest), manifest, manager="test")


async def are_well(client: Client, names: list[str]) -> bool:
    apps = {app["metadata"]["name"]: app for app in await client.list(APPLICATIONS, "argocd")}
    return all(
        name in apps
        and dig(apps[name], "status", "sync", "status") == "Synced"
        and dig(apps[name], "status", "health", "status") == "Healthy"
        and dig(apps[name], "status", "operationState", "phase") == "Succeeded"
        for name in names
    )


def test_argocd_brings_the_whole_homelab_up_layer_by_layer(plane: Plane, tmp_path: Path):
    url = "https://git.example.org/lab/homelab"
    commit = homelab.create_repository(tmp_path / "homelab.git", url)

    async def story(client: Client) -> None:
        with Repositories({url: tmp_path / "homelab.git"}) as repositories:
            tree = await repositories.checkout(url, commit)
            await apply_folder(client, tree, homelab.CNI)
            await apply_folder(client, tree, homelab.ARGOCD)
            for layer in homelab.LAYERS:
                for folder in layer["apply"]:
                    await apply_folder(client, tree, folder)
                await until(layer["name"], partial(are_well, client, layer["apps"]))

        apps = await client.list(APPLICATIONS, "argocd")

        assert {dig(app, "status", "sync", "revision") for app in apps} == {commit}
        claims = await client.list(CLAIMS)
        assert {dig(claim, "status", "phase") for claim in claims} == {"Bound"}

    on_the_plane(plane, story, repositories={url: tmp_path / "homelab.git"})
