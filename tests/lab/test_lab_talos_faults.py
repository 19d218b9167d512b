"""What a simulated machine can get wrong on demand, and what it refuses by itself."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from google.protobuf.empty_pb2 import Empty
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from tests.lab.talos_fixture import Cluster, TalosLab, talos_lab
from tests.lab.test_lab_talos import CP1, CP2, PLANES, W1, oplog, run, state_of, until
from windlass.lab.talos.pki import CLIENT, SERVER, Identity, Subject, issue
from windlass.protos.talosapi import machine_pb2 as pb
from windlass.protos.talosapi.cosi_grpc import StateStub
from windlass.protos.talosapi.cosi_pb2 import GetRequest
from windlass.protos.talosapi.machine_grpc import MachineServiceStub

LOST = (StreamTerminatedError, ConnectionError, GRPCError)


async def fingerprint(lab: TalosLab) -> str:
    """Of whoever answers in maintenance mode."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(lab.address(CP1), 50000, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(True)
    writer.close()
    return Identity(x509.load_der_x509_certificate(der), lab.cluster.os.key).fingerprint


def test_an_impostor_shows_another_certificate(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.guests.power_on(CP1)
            await lab.stage(CP1, "maintenance")
            real = await fingerprint(lab)

            lab.world.faults.set("talos-impostor", node="cp-1", times=1)
            seen = [await fingerprint(lab), await fingerprint(lab)]

            assert real == state_of(lab, CP1)["fingerprint"]
            assert seen[0] != real
            assert seen[1] == real

    run(scenario())


def test_a_rejected_config_leaves_the_machine_as_it_was(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.guests.power_on(CP1)
            await lab.stage(CP1, "maintenance")
            lab.world.faults.set(
                "talos-apply-rejected", node="cp-1", reason="1 error occurred:\n\t* no\n\n"
            )

            with pytest.raises(GRPCError, match="1 error occurred"):
                await lab.apply(CP1, "controlplane")

            assert state_of(lab, CP1)["stage"] == "maintenance"
            assert not [line for line in oplog(lab) if line["verb"] == "apply_config"]

    run(scenario())


def test_a_bootstrap_can_succeed_without_an_answer(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"))
            lab.world.faults.set("talos-bootstrap-after", node="cp-1")

            with pytest.raises(LOST):
                await lab.bootstrap(CP1)
            await until(lab, CP1, stage="running")

            assert len(lab.guests.state()["etcd"]) == 1

    run(scenario())


@pytest.mark.parametrize(("when", "bootstrapped"), [("before", 0), ("after", 1)])
def test_a_connection_breaks_before_or_after_the_effect(
    tmp_path: Path, when: str, bootstrapped: int
):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"))
            lab.world.faults.set("talos-reset-connection", method="Bootstrap", when=when, times=1)

            with pytest.raises(LOST):
                await lab.bootstrap(CP1)

            assert len(lab.guests.state()["etcd"]) == bootstrapped

    run(scenario())


def test_a_machine_can_hang(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.guests.power_on(CP1)
            await lab.stage(CP1, "maintenance")
            lab.world.faults.set("talos-hang", node="cp-1", method="Version")

            async with lab.channel(CP1) as channel:
                with pytest.raises(TimeoutError):
                    await MachineServiceStub(channel).Version(Empty(), timeout=0.3)

    run(scenario())


def test_a_machine_that_does_not_boot_boots_after_the_next_reset(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            lab.world.faults.set("talos-not-booting", node="cp-1", times=1)
            await lab.guests.power_on(CP1)
            await asyncio.sleep(0.5)
            stuck = state_of(lab, CP1)["stage"]

            await lab.guests.reset(CP1.vmid)
            await lab.stage(CP1, "maintenance")

            assert stuck == "firmware"

    run(scenario())


def test_a_stuck_learner_does_not_vote(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            lab.world.faults.set("etcd-learner-stuck", node="cp-2")
            await lab.install(*PLANES[:2])
            await lab.bootstrap(CP1)
            await until(lab, CP1, stage="running")
            await asyncio.sleep(1)
            votes = {m["name"]: m["voter"] for m in lab.guests.state()["etcd"][0]["members"]}

            lab.world.faults.clear()
            await until(lab, CP2, stage="running")

            assert votes == {"cp-1": True, "cp-2": False}

    run(scenario())


def test_a_flapping_machine_reboots_by_itself(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.up((CP1, "controlplane"))
            before = state_of(lab, CP1)["boot_id"]

            lab.world.faults.set("node-flap", node="cp-1", times=1)
            async with asyncio.timeout(20):
                while state_of(lab, CP1)["boot_id"] == before:
                    await asyncio.sleep(0.02)
            await until(lab, CP1, stage="running")

            assert [line["verb"] for line in oplog(lab) if line["run"] == "lab"].count(
                "reboot"
            ) == 1

    run(scenario())


def test_a_typo_in_a_fault_is_refused(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            with pytest.raises(LookupError, match="talos-hangs"):
                lab.world.faults.set("talos-hangs")

    run(scenario())


async def ask(
    lab: TalosLab, client: Identity | None, method: str, request: Any, **metadata: str
) -> Any:
    async with lab.channel(CP1, client) as channel:
        call = getattr(MachineServiceStub(channel), method)
        return await call(request, timeout=5, metadata=metadata)


def test_roles_decide_what_a_certificate_may_do(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.up((CP1, "controlplane"))
            reader, backup = lab.cluster.client("os:reader"), lab.cluster.client("os:etcd:backup")

            await ask(lab, reader, "ServiceList", Empty())
            await ask(lab, backup, "EtcdStatus", Empty())
            for client, method, request in (
                (reader, "Bootstrap", pb.BootstrapRequest()),
                (reader, "Reboot", pb.RebootRequest()),
                (backup, "ServiceList", Empty()),
            ):
                with pytest.raises(GRPCError, match="not authorized") as refused:
                    await ask(lab, client, method, request)
                assert refused.value.status is Status.PERMISSION_DENIED

    run(scenario())


def test_the_machine_config_is_for_admins(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"))
            request = GetRequest(
                namespace="config", type="MachineConfigs.config.talos.dev", id="v1alpha1"
            )

            async with lab.channel(CP1, lab.cluster.client()) as channel:
                shown = await StateStub(channel).Get(request, timeout=5)
            async with lab.channel(CP1, lab.cluster.client("os:reader")) as channel:
                with pytest.raises(GRPCError, match="not authorized"):
                    await StateStub(channel).Get(request, timeout=5)

            text = yaml.safe_load(shown.resource.spec.yaml_spec)
            assert text.encode() == lab.cluster.config(CP1, "controlplane")

    run(scenario())


def test_anybody_may_read_and_configure_in_maintenance_mode_and_nothing_else(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.guests.power_on(CP1)
            await lab.stage(CP1, "maintenance")

            version = await ask(lab, None, "Version", Empty())
            with pytest.raises(GRPCError, match="not authorized"):
                await ask(lab, None, "Reboot", pb.RebootRequest())

            assert version.messages[0].version.tag == "v1.13.9"
            assert not version.messages[0].features.rbac

    run(scenario())


@pytest.mark.parametrize("usages", [[CLIENT, SERVER], [SERVER]])
def test_a_client_certificate_is_for_clients_only(
    tmp_path: Path, usages: list[x509.ObjectIdentifier]
):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"))
            odd = issue(lab.cluster.os, Subject(None, ("os:admin",)), usages)

            with pytest.raises((StreamTerminatedError, ConnectionError, ssl.SSLError)):
                await ask(lab, odd, "Version", Empty())

    run(scenario())


def test_a_certificate_of_another_cluster_gets_no_answer(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"))
            stranger = Cluster().client()

            with pytest.raises((StreamTerminatedError, ConnectionError, ssl.SSLError)):
                await ask(lab, stranger, "Version", Empty())

    run(scenario())


def test_one_node_is_meant_by_node(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.up((CP1, "controlplane"), (W1, "worker"))
            admin = lab.cluster.client()

            name = await ask(lab, admin, "Hostname", Empty(), node="10.5.0.21")
            await lab.guests.reset(W1.vmid)
            await until(lab, W1, stage="booting")
            with pytest.raises(GRPCError, match="connection refused"):
                await ask(lab, admin, "Hostname", Empty(), node="w-1")

            assert name.messages[0].hostname == "w-1"
            assert not name.messages[0].HasField("metadata")

    run(scenario())


async def identity(lab: TalosLab) -> str:
    async with lab.channel(CP1) as channel:
        request = GetRequest(
            namespace="hardware",
            type="SystemInformations.hardware.talos.dev",
            id="systeminformation",
        )
        reply = await StateStub(channel).Get(request, timeout=5)
    return yaml.safe_load(reply.resource.spec.yaml_spec)["uuid"]


def test_another_machine_can_sit_at_the_address(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.guests.power_on(CP1)
            await lab.stage(CP1, "maintenance")
            real = await identity(lab)

            lab.world.faults.set("talos-other-machine", node="cp-1")
            other = await identity(lab)

            assert real == CP1.uuid
            assert other != CP1.uuid

    run(scenario())


def test_a_vm_that_is_gone_is_no_machine_any_more(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"))
            await lab.guests.power_off(CP1.vmid)

            await lab.guests.volume_removed(CP1.disks[0].volume)

            assert lab.guests.state()["machines"] == []

    run(scenario())
