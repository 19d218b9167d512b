"""The Talos client against simulated machines: what it reads, what it changes, and what it refuses to talk to."""

import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lab.talos_fixture import VERSION, Running, hardware, running
from windlass.clients.talos import TalosClient, TalosCredentials
from windlass.errors import NotReadyError, PreflightError, RefusedError, UnreachableError
from windlass.lab.machine import Hardware
from windlass.lab.talos.images import VANILLA
from windlass.talosconfig.pki import Algorithm, Mint, client_certificate, make_authority

PLANE, SECOND, WORKER = hardware(11, "cp-1"), hardware(12, "cp-2"), hardware(21, "w-1")
FRESH = hardware(31, "fresh")
LOOPBACK = "127.13.0.0/16"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A control plane and a worker that run, and a machine in maintenance."""
    with running(tmp_path_factory.mktemp("talos"), loopback=LOOPBACK) as lab:
        lab.run(lab.talos.up((PLANE, "controlplane"), (WORKER, "worker")))
        lab.run(lab.talos.guests.power_on(FRESH))
        lab.run(lab.talos.stage(FRESH, "maintenance"))
        yield lab


def credentials(lab: Running, *roles: str) -> TalosCredentials:
    cluster = lab.talos.cluster
    client = cluster.client(*roles)
    return TalosCredentials(
        ca=cluster.os.certificate_pem.decode(),
        crt=client.certificate_pem.decode(),
        key=client.talos_key_pem.decode(),
    )


def client(
    where: str, known: TalosCredentials | None, *pins: str, port: int = 50000, probe: float = 5
) -> TalosClient:
    return TalosClient(
        where, port, node_address=None, credentials=known, pins=pins, agent="windlass/test",
        probe=timedelta(seconds=probe), call=timedelta(seconds=5),
    )  # fmt: skip


def connected(lab: Running, vm: Hardware, *roles: str) -> TalosClient:
    return client(address(lab, vm), credentials(lab, *roles))


def address(lab: Running, vm: Hardware) -> str:
    return lab.look(lambda: lab.talos.address(vm))


def test_a_running_machine_says_what_it_runs(lab: Running):
    with connected(lab, PLANE) as talos:
        version, status = talos.version(), talos.machine_status()

    assert (version.tag, version.platform) == (VERSION, "nocloud")
    assert (status.stage, status.ready, status.unmet) == ("running", True, ())


def test_a_client_serves_many_calls_on_one_connection(lab: Running):
    with connected(lab, PLANE) as talos:
        services = {service.id: service for service in talos.services()}
        members = talos.etcd_members()
        status = talos.etcd_status()
        extensions, schematic = talos.extensions(), talos.schematic()
        disks = talos.disks()

    assert services["etcd"].state == "Running"
    assert services["etcd"].healthy
    assert [member.hostname for member in members] == ["cp-1"]
    assert status.member_id == status.leader == members[0].id
    assert (extensions, schematic) == ({}, VANILLA)
    assert [(disk.device, disk.system) for disk in disks] == [("/dev/sda", True)]


def test_a_machine_in_maintenance_says_who_it_is(lab: Running):
    with client(address(lab, FRESH), None) as talos:
        identity, fingerprint = talos.identity(), talos.fingerprint()

    assert identity.uuid == FRESH.uuid
    assert FRESH.nics[0].mac in identity.macs
    assert len(fingerprint) == 44


def test_nothing_is_written_to_a_machine_whose_fingerprint_was_not_seen(lab: Running):
    with client(address(lab, FRESH), None) as talos, pytest.raises(PreflightError, match="finger"):
        talos.apply_config("version: v1alpha1", mode="auto")


def test_another_fingerprint_is_refused_before_anything_is_sent(lab: Running):
    with (
        client(address(lab, FRESH), None, "b3RoZXI=") as talos,
        pytest.raises(RefusedError, match="b3RoZXI= was seen before"),
    ):
        talos.identity()


def test_a_config_that_makes_no_sense_is_refused_in_the_words_of_talos(lab: Running):
    with client(address(lab, FRESH), None) as talos:
        seen = talos.fingerprint()

    with (
        client(address(lab, FRESH), None, seen) as talos,
        pytest.raises(RefusedError, match="INVALID_ARGUMENT"),
    ):
        talos.apply_config("version: v1alpha1\nmachine: {nonsense: 1}\n", mode="auto")


def test_a_pinned_machine_takes_its_config_and_comes_up_as_the_site_s_own(lab: Running):
    lab.run(lab.talos.guests.power_on(SECOND))
    lab.run(lab.talos.stage(SECOND, "maintenance"))
    with client(address(lab, SECOND), None) as talos:
        seen = talos.fingerprint()
    config = lab.look(lambda: lab.talos.cluster.config(SECOND, "controlplane")).decode()

    with client(address(lab, SECOND), None, seen) as talos:
        talos.apply_config(config, mode="auto")

    lab.run(lab.talos.stage(SECOND, "booting", "running", client=lab.talos.cluster.client()))
    with connected(lab, SECOND) as talos:
        assert talos.version().tag == VERSION


def test_a_dry_run_says_what_would_change(lab: Running):
    config = lab.look(lambda: lab.talos.cluster.config(PLANE, "controlplane")).decode()

    with connected(lab, PLANE) as talos:
        said = talos.apply_config(config, mode="no-reboot", dry_run=True)

    assert "Dry run summary" in said.details


def test_a_bootstrap_of_a_bootstrapped_machine_is_refused_by_name(lab: Running):
    with connected(lab, PLANE) as talos, pytest.raises(RefusedError, match="ALREADY_EXISTS"):
        talos.bootstrap()


def test_a_worker_has_no_etcd_to_bootstrap(lab: Running):
    with connected(lab, WORKER) as talos, pytest.raises(RefusedError, match="control plane"):
        talos.bootstrap()


def test_a_reader_cannot_reboot(lab: Running):
    with (
        connected(lab, PLANE, "os:reader") as talos,
        pytest.raises(RefusedError, match="PERMISSION_DENIED"),
    ):
        talos.reboot()


def test_a_reboot_shows_in_the_boot_time(lab: Running):
    with connected(lab, WORKER) as talos:
        before = talos.boot_time()
        talos.reboot()
    lab.run(lab.talos.stage(WORKER, "rebooting", client=lab.talos.cluster.client()))
    lab.run(lab.talos.stage(WORKER, "running", client=lab.talos.cluster.client()))

    with connected(lab, WORKER) as talos:
        assert talos.boot_time() > before


def test_a_machine_says_its_time(lab: Running):
    with connected(lab, PLANE) as talos:
        told = talos.server_time()

    assert told.local.tzinfo is UTC
    assert told.server


def test_a_worker_has_no_member_list(lab: Running):
    with connected(lab, WORKER) as talos, pytest.raises(RefusedError, match="control plane"):
        talos.etcd_members()


def test_a_machine_still_in_maintenance_is_not_ready_for_the_site_s_administrator(lab: Running):
    with (
        client(address(lab, FRESH), credentials(lab)) as talos,
        pytest.raises(NotReadyError, match="as in maintenance"),
    ):
        talos.version()


def test_a_machine_of_another_cluster_is_refused(lab: Running):
    mint = Mint(os.urandom, datetime.now(UTC))
    foreign = make_authority(Algorithm.ED25519, "talos", mint)
    pair = client_certificate(foreign, organization=("os:admin",), common_name=None, mint=mint)

    with (
        client(address(lab, PLANE), TalosCredentials(foreign.crt, pair.crt, pair.key)) as talos,
        pytest.raises(RefusedError, match="not this site's"),
    ):
        talos.version()


def test_a_machine_that_is_not_there_is_unreachable_for_a_write_too(lab: Running):
    nobody = str(lab.talos.world.network.of(WORKER.address.ip + 100)) if WORKER.address else ""

    with (
        client(nobody, credentials(lab)) as talos,
        pytest.raises(UnreachableError, match="no connection for Bootstrap"),
    ):
        talos.bootstrap()


def test_a_machine_that_accepts_and_says_nothing_ends_with_the_deadline(lab: Running):
    with socket.create_server(("127.13.200.1", 0)) as silent:
        port = silent.getsockname()[1]
        with (
            client("127.13.200.1", credentials(lab), port=port, probe=0.3) as talos,
            pytest.raises(UnreachableError, match="no connection for Version"),
        ):
            talos.version()


def test_a_client_can_be_used_from_a_thread(lab: Running):
    tags: list[str] = []

    def work() -> None:
        with connected(lab, PLANE) as talos:
            tags.append(talos.version().tag)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert tags == [VERSION] * 4


def test_a_key_never_stays_on_disk(lab: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with connected(lab, PLANE) as talos:
        talos.version()

    assert list(tmp_path.iterdir()) == []
