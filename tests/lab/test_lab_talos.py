"""The life of simulated machines: power, maintenance mode, installation, etcd, reboots, what survives what."""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from google.protobuf.empty_pb2 import Empty
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from tests.lab.talos_fixture import TalosLab, hardware, talos_lab
from windlass.lab.machine import Hardware, Medium
from windlass.lab.talos.images import VANILLA
from windlass.protos.talosapi import machine_pb2 as pb
from windlass.protos.talosapi.machine_grpc import MachineServiceStub

T = TypeVar("T")
CP1, CP2, CP3 = (hardware(10 + number, f"cp-{number}") for number in (1, 2, 3))
W1 = hardware(21, "w-1")
PLANES = tuple((vm, "controlplane") for vm in (CP1, CP2, CP3))


def run(test: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(50):
            return await test

    return asyncio.run(bounded())


def state_of(lab: TalosLab, vm: Hardware) -> dict[str, Any]:
    return next(m for m in lab.guests.state()["machines"] if m["vmid"] == vm.vmid)


def oplog(lab: TalosLab) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (lab.world.folder / "oplog.jsonl").read_text().splitlines()
    ]


async def until(lab: TalosLab, vm: Hardware, **wanted: Any) -> None:
    """Waits until the ground truth about a machine is so."""
    async with asyncio.timeout(20):
        while any(state_of(lab, vm)[key] != value for key, value in wanted.items()):
            await asyncio.sleep(0.01)


def test_an_installed_machine_boots_from_its_disk_with_its_config(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"))
            await lab.guests.power_off(CP1.vmid)

            await lab.guests.power_on(replace(CP1, cdrom=None))

            assert await lab.stage(CP1, "booting", client=lab.cluster.client()) == "booting"
            assert state_of(lab, CP1)["installed"] == "v1.13.9"

    run(scenario())


def test_a_config_changes_hands_only_once_before_the_reboot(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path, speed=20) as lab:
            await lab.guests.power_on(CP1)
            await lab.stage(CP1, "maintenance")
            await lab.apply(CP1, "controlplane")

            with pytest.raises(
                GRPCError, match="configuration was already applied and node is rebooting"
            ):
                await lab.apply(CP1, "controlplane")

    run(scenario())


def test_a_control_plane_waits_for_bootstrap_and_then_runs(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"))
            await asyncio.sleep(0.5)
            before = state_of(lab, CP1)

            await lab.bootstrap(CP1)
            await until(lab, CP1, stage="running")

            assert before["stage"] == "booting"
            assert ["services", "etcd not running"] in before["unmet"]
            assert state_of(lab, CP1)["ready"] is True

    run(scenario())


def test_etcd_is_bootstrapped_once_and_the_others_join_as_voters(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.up(*PLANES)

            with pytest.raises(GRPCError) as refused:
                await lab.bootstrap(CP1)

            (cluster,) = lab.guests.state()["etcd"]
            assert refused.value.status is Status.ALREADY_EXISTS
            assert sorted(member["name"] for member in cluster["members"] if member["voter"]) == [
                "cp-1",
                "cp-2",
                "cp-3",
            ]
            assert [line["target"] for line in oplog(lab) if line["verb"] == "bootstrap"] == [
                "cp-1"
            ]

    run(scenario())


def test_a_second_bootstrap_elsewhere_splits_the_brain_as_it_really_does(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"), (CP2, "controlplane"))

            await lab.bootstrap(CP1)
            await lab.bootstrap(CP2)

            first, second = lab.guests.state()["etcd"]
            assert first["group"] == second["group"]
            assert [line["target"] for line in oplog(lab) if line["verb"] == "bootstrap"] == [
                "cp-1",
                "cp-2",
            ]

    run(scenario())


def test_a_worker_comes_up_when_a_control_plane_signs_its_certificate(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.guests.power_on(W1)
            await lab.stage(W1, "maintenance")
            await lab.apply(W1, "worker")
            await until(lab, W1, installed="v1.13.9", stage="booting")
            await asyncio.sleep(0.5)
            alone = lab.guests.fleet.machines[W1.vmid].api.is_open

            await lab.install((CP1, "controlplane"))
            await lab.stage(W1, "running", client=lab.cluster.client())

            assert alone is False

    run(scenario())


def test_quorum_is_lost_with_the_second_control_plane_and_comes_back(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.up(*PLANES)

            await lab.guests.power_off(CP2.vmid)
            with_two = lab.guests.state()["etcd"][0]
            await lab.guests.power_off(CP3.vmid)
            with_one = lab.guests.state()["etcd"][0]
            await lab.guests.power_on(CP3)
            await until(lab, CP3, stage="running")

            assert (with_two["quorum"], with_one["quorum"]) == (True, False)
            assert with_one["leader"] == f"{0:016x}"
            assert lab.guests.state()["etcd"][0]["quorum"] is True

    run(scenario())


def test_a_disk_that_is_deleted_takes_its_content_along(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"))
            await lab.guests.power_off(CP1.vmid)
            await lab.guests.volume_removed(CP1.disks[0].volume)

            await lab.guests.power_on(CP1)

            assert await lab.stage(CP1, "maintenance") == "maintenance"

    run(scenario())


def test_a_machine_that_boots_its_iso_although_it_is_installed_halts(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"))
            await lab.guests.power_off(CP1.vmid)

            await lab.guests.power_on(replace(CP1, boot_order=("ide2", CP1.disks[0].volume)))

            await until(lab, CP1, stage="halted")

    run(scenario())


def test_a_lab_that_starts_again_has_the_disks_and_the_etcd_it_had(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.up(*PLANES)
            before, cluster = lab.guests.state()["etcd"][0], lab.cluster
        async with talos_lab(tmp_path) as lab:
            lab.cluster = cluster
            for vm, _ in PLANES:
                await lab.guests.power_on(vm)
            for vm, _ in PLANES:
                await until(lab, vm, stage="running")

            after = lab.guests.state()["etcd"][0]
            assert [m["id"] for m in after["members"]] == [m["id"] for m in before["members"]]
            assert after["quorum"] is True

    run(scenario())


def test_an_image_that_nobody_can_pull_ends_in_maintenance_again(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path, version="v1.13.99") as lab:
            await lab.guests.power_on(CP1)
            await lab.stage(CP1, "maintenance")
            first = state_of(lab, CP1)["boot_id"]

            await lab.apply(CP1, "controlplane")
            async with asyncio.timeout(20):
                while state_of(lab, CP1)["boot_id"] == first:
                    await asyncio.sleep(0.01)
            await until(lab, CP1, stage="maintenance")

            assert state_of(lab, CP1)["installed"] is None
            assert not [line for line in oplog(lab) if line["verb"] == "install"]

    run(scenario())


def test_a_disk_image_needs_a_config_and_no_installation(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.guests.volume_imported(
                CP1.disks[0].volume, Medium("v1.13.9", VANILLA, "nocloud")
            )

            await lab.install((replace(CP1, cdrom=None), "controlplane"))

            assert [line["verb"] for line in oplog(lab) if line["run"] != "lab"] == ["apply_config"]

    run(scenario())


def test_a_reset_of_a_member_leaves_etcd_and_wipes_the_disk(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.up(*PLANES)

            async with lab.channel(CP3, lab.cluster.client()) as channel:
                await MachineServiceStub(channel).Reset(pb.ResetRequest(graceful=True), timeout=5)
            await until(lab, CP3, stage="off")

            assert lab.hypervisor.stopped == [CP3.vmid]
            assert state_of(lab, CP3)["installed"] is None
            assert sorted(m["name"] for m in lab.guests.state()["etcd"][0]["members"]) == [
                "cp-1",
                "cp-2",
            ]
            assert [line["verb"] for line in oplog(lab)][-2:] == ["etcd_leave", "reset"]

    run(scenario())


def test_a_reset_of_partitions_that_the_lab_has_not_is_refused_by_name(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.up((CP1, "controlplane"))
            wipe = [
                pb.ResetRequest.Partition(label=label, wipe=True) for label in ("EPHEMERAL", "META")
            ]

            async with lab.channel(CP1, lab.cluster.client()) as channel:
                with pytest.raises(GRPCError, match="the lab has no reset of META"):
                    await MachineServiceStub(channel).Reset(
                        pb.ResetRequest(system_partitions_to_wipe=wipe), timeout=5
                    )

            assert state_of(lab, CP1)["stage"] == "running"

    run(scenario())


def test_the_power_button_shuts_a_machine_down_and_tells_the_hypervisor(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.guests.power_on(W1)
            await lab.stage(W1, "maintenance")

            await lab.guests.shutdown(W1.vmid)
            await until(lab, W1, stage="off")

            assert lab.hypervisor.stopped == [W1.vmid]

    run(scenario())


def test_open_streams_end_when_the_machine_goes_down(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.up(*PLANES)
            admin = lab.cluster.client()

            async def watch(vm: Hardware, **metadata: str) -> None:
                async with (
                    lab.channel(vm, admin) as channel,
                    MachineServiceStub(channel).Events.open(metadata=metadata) as stream,
                ):
                    await stream.send_message(pb.EventsRequest(), end=True)
                    async for _ in stream:
                        pass

            direct = asyncio.create_task(watch(CP2))
            proxied = asyncio.create_task(watch(CP1, node="10.5.0.12"))
            await asyncio.sleep(0.2)
            await lab.guests.power_off(CP2.vmid)
            await asyncio.wait({direct, proxied}, timeout=5)

            assert isinstance(direct.exception(), (StreamTerminatedError, ConnectionError))
            error = proxied.exception()
            assert isinstance(error, GRPCError)
            assert error.status is Status.UNAVAILABLE

    run(scenario())


def test_who_asked_is_in_the_oplog(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"))

            async with lab.channel(CP1, lab.cluster.client()) as channel:
                agent = {"windlass-agent": "windlass/0.1.0 (operation op-7; epoch 3)"}
                await MachineServiceStub(channel).Bootstrap(
                    pb.BootstrapRequest(), timeout=5, metadata=agent
                )

            (line,) = [line for line in oplog(lab) if line["verb"] == "bootstrap"]
            assert (line["run"], line["epoch"], line["target"]) == ("op-7", 3, "cp-1")

    run(scenario())


def test_addresses_are_leased_where_cloud_init_gives_none(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.guests.power_on(replace(W1, address=None, gateway=None))

            await until(lab, W1, stage="maintenance")

            assert state_of(lab, W1)["address"] == "10.5.0.254"

    run(scenario())


def test_the_guest_agent_answers_only_where_its_extension_is(tmp_path: Path):
    async def scenario() -> None:
        agent = {
            "customization": {
                "systemExtensions": {"officialExtensions": ["siderolabs/qemu-guest-agent"]}
            }
        }
        with_agent = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"
        async with talos_lab(tmp_path) as lab:
            lab.world.store.section("schematics")[with_agent] = agent
            await lab.guests.power_on(replace(W1, cdrom=Medium("v1.13.9", with_agent, "nocloud")))
            await lab.guests.power_on(CP1)
            await until(lab, W1, stage="maintenance")
            await until(lab, CP1, stage="maintenance")

            interfaces = lab.guests.agent_interfaces(W1.vmid)

            assert interfaces is not None
            assert interfaces[1]["hardware-address"] == W1.nics[0].mac
            assert interfaces[1]["ip-addresses"][0]["ip-address"] == "10.5.0.21"
            assert lab.guests.agent_interfaces(CP1.vmid) is None

    run(scenario())


def test_an_old_talos_keeps_its_maintenance_api_to_itself(tmp_path: Path):
    async def scenario() -> None:
        old = replace(CP1, cdrom=Medium("v1.12.11", VANILLA, "nocloud"))
        async with talos_lab(tmp_path, version="v1.12.11") as lab:
            await lab.guests.power_on(old)
            await lab.stage(old, "maintenance")
            async with lab.channel(old) as channel:
                with pytest.raises(GRPCError, match="API is not implemented in maintenance mode"):
                    await MachineServiceStub(channel).Version(Empty(), timeout=5)

            reply = await lab.apply(old, "controlplane")
            await lab.stage(old, "booting", client=lab.cluster.client())

            assert (reply.mode, reply.mode_details) == (0, "")

    run(scenario())


def test_a_config_that_is_applied_again_changes_nothing(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.install((CP1, "controlplane"))
            same = yaml.safe_dump_all(
                yaml.safe_load_all(lab.cluster.config(CP1, "controlplane"))
            ).encode()
            before = len(oplog(lab))

            async with lab.channel(CP1, lab.cluster.client()) as channel:
                request = pb.ApplyConfigurationRequest(
                    data=same, mode=pb.ApplyConfigurationRequest.AUTO
                )
                reply = await MachineServiceStub(channel).ApplyConfiguration(request, timeout=5)

            assert reply.messages[0].mode_details == "Applied configuration without a reboot"
            assert len(oplog(lab)) == before

    run(scenario())


def test_a_machine_with_a_foreign_address_is_reached_by_nobody_and_disturbs_nobody(tmp_path: Path):
    async def scenario() -> None:
        async with talos_lab(tmp_path) as lab:
            await lab.guests.power_on(replace(W1, address=IPv4Interface("192.168.250.7/24")))
            await until(lab, W1, stage="booting")

            await lab.install((CP1, "controlplane"))

            assert lab.guests.fleet.find("10.5.0.11") is not None
            assert state_of(lab, W1)["stage"] == "booting"

    run(scenario())
