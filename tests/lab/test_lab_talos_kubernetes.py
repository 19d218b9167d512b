"""Kubernetes on simulated machines: who serves the API, when, as whom, and what is in a new cluster."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from tests.lab.talos_fixture import TalosLab, talos_lab
from tests.lab.test_lab_talos import CP1, CP2, CP3, PLANES, W1, run, state_of, until
from windlass.lab.machine import Hardware
from windlass.lab.talos.pki import CLIENT, Identity, Subject, issue
from windlass.protos.talosapi import machine_pb2 as pb
from windlass.protos.talosapi.machine_grpc import MachineServiceStub

ALL = (*PLANES, (W1, "worker"))
VIP = "10.5.0.10"


class Api:
    """An administrator of the cluster's API."""

    def __init__(self, lab: TalosLab) -> None:
        self._lab = lab

    async def get(self, at: str, path: str, client: Identity | None = None) -> tuple[int, Any]:
        """Status and body of one request to the API server at a loopback address."""
        cluster = self._lab.cluster
        admin = client or issue(cluster.k8s, Subject("admin", ("system:masters",)), [CLIENT])
        context = ssl.create_default_context(cadata=cluster.k8s.certificate_pem.decode())
        context.load_cert_chain(*admin.files(self._lab.world.folder / "client", "admin"))
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                f"https://{at}:6443{path}", ssl=context, timeout=aiohttp.ClientTimeout(5)
            ) as answer,
        ):
            text = await answer.text()
            return answer.status, await answer.json() if text.startswith("{") else text

    async def ready(self, at: str, path: str) -> Any:
        """The body, as soon as there is one."""
        async with asyncio.timeout(20):
            while True:
                try:
                    status, body = await self.get(at, path)
                except aiohttp.ClientError:
                    status, body = 0, None
                if status == web.HTTPOk.status_code:
                    return body
                await asyncio.sleep(0.05)


@asynccontextmanager
async def cluster(
    folder: Path, *vms: tuple[Hardware, str], **options: Any
) -> AsyncGenerator[tuple[TalosLab, Api]]:
    async with talos_lab(folder, kubernetes=True, vip=VIP, **options) as lab:
        await lab.up(*vms)
        yield lab, Api(lab)


def test_nodes_become_ready_with_a_network_and_only_then(tmp_path: Path):
    async def scenario() -> None:
        async with cluster(tmp_path, (CP1, "controlplane"), (W1, "worker")) as (lab, api):
            nodes = await api.ready(lab.address(CP1), "/api/v1/nodes")
            while len(nodes["items"]) < 2:
                nodes = await api.ready(lab.address(CP1), "/api/v1/nodes")
            await asyncio.sleep(1)

            assert ["nodeReady", 'node "w-1" is not ready'] in state_of(lab, W1)["unmet"]
            assert state_of(lab, W1)["stage"] == "running"
            assert state_of(lab, W1)["ready"] is False

    run(scenario())


def test_a_worker_that_was_there_before_any_control_plane_joins_all_the_same(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path, kubernetes=True, vip=VIP, cni="flannel") as lab:
            await lab.guests.power_on(W1)
            await lab.stage(W1, "maintenance")
            await lab.apply(W1, "worker")
            await until(lab, W1, stage="booting")
            await asyncio.sleep(0.5)
            await lab.up((CP1, "controlplane"))

            await until(lab, W1, ready=True)

    run(scenario())


def test_a_new_cluster_has_what_talos_puts_there(tmp_path: Path):
    async def scenario() -> None:
        async with cluster(tmp_path, *ALL, cni="flannel") as (lab, api):
            for vm, _ in ALL:
                await until(lab, vm, ready=True)

            pods = await api.ready(lab.address(CP1), "/api/v1/namespaces/kube-system/pods")

            apps = [pod["metadata"]["labels"].get("k8s-app") for pod in pods["items"]]
            assert {name: apps.count(name) for name in sorted(set(apps))} == {
                "kube-apiserver": 3, "kube-controller-manager": 3, "kube-dns": 2, "kube-flannel": 4, "kube-proxy": 4,
                "kube-scheduler": 3,
            }  # fmt: skip
            nodes = await api.ready(lab.address(CP1), "/api/v1/nodes/cp-1")
            assert "node-role.kubernetes.io/control-plane" in nodes["metadata"]["labels"]
            assert nodes["spec"]["taints"][0]["key"] == "node-role.kubernetes.io/control-plane"
            assert nodes["status"]["nodeInfo"]["kubeletVersion"] == "v1.34.4"

    run(scenario())


def test_the_shared_address_moves_when_its_machine_dies(tmp_path: Path):
    async def scenario() -> None:
        async with cluster(tmp_path, *PLANES) as (lab, api):
            vip = str(lab.world.network.of(VIP))
            await api.ready(vip, "/livez")
            assert str(lab.world.names["api.example.test"]) == vip
            for vm in (CP2, CP3):
                await api.ready(lab.address(vm), "/livez")

            await lab.guests.power_off(CP1.vmid)

            await api.ready(vip, "/api/v1/nodes")
            with pytest.raises(aiohttp.ClientError):
                await api.get(lab.address(CP1), "/livez")

    run(scenario())


def test_without_a_quorum_the_api_answers_nothing(tmp_path: Path):
    async def scenario() -> None:
        async with cluster(tmp_path, *PLANES) as (lab, api):
            for vm in (CP1, CP2, CP3):
                await api.ready(lab.address(vm), "/livez")
            await lab.guests.power_off(CP2.vmid)
            await lab.guests.power_off(CP3.vmid)

            status, _ = await api.get(lab.address(CP1), "/api/v1/nodes")
            await lab.guests.power_on(CP2)
            await api.ready(lab.address(CP1), "/api/v1/nodes")

            assert status >= web.HTTPInternalServerError.status_code

    run(scenario())


def test_a_cluster_bootstrapped_anew_is_empty(tmp_path: Path):
    async def scenario() -> None:
        async with cluster(tmp_path, (CP1, "controlplane")) as (lab, api):
            before = await api.ready(lab.address(CP1), "/api/v1/namespaces/kube-system")
            await lab.guests.power_off(CP1.vmid)
            await lab.guests.volume_removed(CP1.disks[0].volume)

            await lab.up((CP1, "controlplane"))
            after = await api.ready(lab.address(CP1), "/api/v1/namespaces/kube-system")

            assert after["metadata"]["uid"] != before["metadata"]["uid"]

    run(scenario())


def test_extra_manifests_are_downloaded_when_their_server_is_there(tmp_path: Path):
    async def manifest(_request: web.Request) -> web.Response:
        return web.Response(text="apiVersion: v1\nkind: Namespace\nmetadata: {name: extra}\n")

    async def scenario() -> None:
        app = web.Application()
        app.router.add_get("/extra.yaml", manifest)
        runner = web.AppRunner(app)
        await runner.setup()
        async with talos_lab(tmp_path, kubernetes=True) as lab:
            lab.cluster.extra = ("http://manifests.test/extra.yaml",)
            server = lab.world.network.service(9)
            await web.TCPSite(runner, str(server), 8080).start()
            api = Api(lab)
            await lab.up((CP1, "controlplane"))
            await api.ready(lab.address(CP1), "/api/v1/namespaces/kube-system")
            await asyncio.sleep(0.5)
            unknown, _ = await api.get(lab.address(CP1), "/api/v1/namespaces/extra")

            lab.world.names["manifests.test"] = server
            await api.ready(lab.address(CP1), "/api/v1/namespaces/extra")

            boot = lab.guests.fleet.machines[CP1.vmid].boot
            assert unknown == web.HTTPNotFound.status_code
            assert boot is not None
            assert any("no such host" in line for line in boot.kernel_log)
        await runner.cleanup()

    run(scenario())


def test_a_label_in_the_config_of_a_running_machine_reaches_its_node(tmp_path: Path):
    async def scenario() -> None:
        async with cluster(tmp_path, (CP1, "controlplane"), cni="flannel") as (lab, api):
            await until(lab, CP1, ready=True)
            config = list(yaml.safe_load_all(lab.cluster.config(CP1, "controlplane")))
            config[0]["machine"]["nodeLabels"] = {"windlass.dev/rack": "7"}
            pods = await restarts(api, lab)

            async with lab.channel(CP1, lab.cluster.client()) as channel:
                request = pb.ApplyConfigurationRequest(
                    data=yaml.safe_dump_all(config).encode(),
                    mode=pb.ApplyConfigurationRequest.NO_REBOOT,
                )
                await MachineServiceStub(channel).ApplyConfiguration(request, timeout=5)

            async with asyncio.timeout(10):
                while "windlass.dev/rack" not in (await labels(api, lab)):
                    await asyncio.sleep(0.05)
            assert await restarts(api, lab) == pods

    async def labels(api: Api, lab: TalosLab) -> dict[str, str]:
        return (await api.ready(lab.address(CP1), "/api/v1/nodes/cp-1"))["metadata"]["labels"]

    async def restarts(api: Api, lab: TalosLab) -> dict[str, int]:
        found = await api.ready(lab.address(CP1), "/api/v1/namespaces/kube-system/pods")
        return {
            pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
            for pod in found["items"]
            if pod["metadata"]["name"].startswith("kube-apiserver")
        }

    run(scenario())


def test_a_lab_that_starts_again_has_the_objects_it_had(tmp_path: Path):
    async def scenario() -> None:
        async with cluster(tmp_path, (CP1, "controlplane")) as (lab, api):
            before = await api.ready(lab.address(CP1), "/api/v1/namespaces/kube-system")
            secrets = lab.cluster
        async with talos_lab(tmp_path, kubernetes=True) as lab:
            lab.cluster = secrets
            await lab.guests.power_on(CP1)

            after = await Api(lab).ready(lab.address(CP1), "/api/v1/namespaces/kube-system")

            assert after["metadata"]["uid"] == before["metadata"]["uid"]

    run(scenario())
