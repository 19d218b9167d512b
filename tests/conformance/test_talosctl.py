"""The official talosctl against simulated machines: what it asks must be answered as it expects."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from tests.conformance.talosctl_peer import Talosctl, caller, need_talosctl, rows
from tests.lab.talos_fixture import Running, hardware, running
from windlass.errors import NotReadyError
from windlass.lab.machine import Hardware
from windlass.waiting import Pace, wait_for

CONTROL_PLANES = (hardware(11, "cp-1"), hardware(12, "cp-2"), hardware(13, "cp-3"))
WORKER = hardware(21, "w-1")
ALL = (*((vm, "controlplane") for vm in CONTROL_PLANES), (WORKER, "worker"))
LIMIT = timedelta(seconds=60)
PACE = Pace(first=timedelta(seconds=0.1), longest=timedelta(seconds=1))


@pytest.fixture(scope="module")
def program() -> Path:
    return need_talosctl()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Three control planes and a worker, bootstrapped, without Kubernetes."""
    with running(tmp_path_factory.mktemp("talos"), loopback="127.14.0.0/16") as lab:
        lab.run(lab.talos.up(*ALL))
        yield lab


def address(lab: Running, vm: Hardware) -> str:
    return lab.look(lambda: lab.talos.address(vm))


@pytest.fixture
def talosctl(program: Path, lab: Running, tmp_path: Path) -> Talosctl:
    """talosctl with the admin's talosconfig; its default nodes are all machines, its endpoint is the first."""
    nodes = [address(lab, vm) for vm, _ in ALL]
    (tmp_path / "talosconfig").write_text(
        lab.look(lambda: lab.talos.cluster.talosconfig(nodes[:1], nodes))
    )
    return caller(program, tmp_path, "--talosconfig", str(tmp_path / "talosconfig"))


def test_version_names_every_machine(talosctl: Talosctl, lab: Running):
    said = talosctl("version").stdout

    for vm, _ in ALL:
        assert f"NODE:        {address(lab, vm)}" in said
    assert said.count("Tag:         v1.13.9") == len(ALL) + 1
    assert "Enabled:     RBAC" in said


def test_machine_status_is_a_resource(talosctl: Talosctl, lab: Running):
    said = talosctl(
        "get", "machinestatus", "-o", "yaml", "-n", address(lab, CONTROL_PLANES[0])
    ).stdout

    document = yaml.safe_load(said)
    assert document["metadata"]["type"] == "MachineStatuses.runtime.talos.dev"
    assert document["spec"] == {
        "stage": "running",
        "status": {"ready": True, "unmetConditions": []},
    }


def test_short_names_of_resources_are_known(talosctl: Talosctl, lab: Running):
    node = address(lab, CONTROL_PLANES[0])

    members = talosctl("get", "members", "-n", node).stdout
    config = talosctl("get", "mc", "v1alpha1", "-o", "yaml", "-n", node).stdout

    assert all(vm.name in members for vm, _ in ALL)
    assert "HostnameConfig" in config


ON_EVERY_MACHINE = {
    "apid", "auditd", "containerd", "cri", "dashboard", "kubelet", "machined", "syslogd", "udevd",
}  # fmt: skip


@pytest.mark.parametrize(
    ("vm", "services"),
    [(CONTROL_PLANES[0], ON_EVERY_MACHINE | {"etcd", "trustd"}), (WORKER, ON_EVERY_MACHINE)],
    ids=["control plane", "worker"],
)
def test_services_are_listed_with_their_health(
    talosctl: Talosctl, lab: Running, vm: Hardware, services: set[str]
):
    found = rows(talosctl("services", "-n", address(lab, vm)).stdout)

    assert {one["SERVICE"] for one in found} == services
    assert {(one["NODE"], one["STATE"]) for one in found} == {(address(lab, vm), "Running")}
    # The dashboard has no health check; nobody knows how it is.
    assert {one["SERVICE"]: one["HEALTH"] for one in found if one["HEALTH"] != "OK"} == {
        "dashboard": "?"
    }
    assert {one["LAST EVENT"] for one in found if one["HEALTH"] == "OK"} == {
        "Health check successful"
    }


def leader(lab: Running) -> str:
    """The member that leads, as the lab itself knows it."""
    (cluster,) = lab.look(lab.talos.guests.state)["etcd"]
    return cluster["leader"]


def test_etcd_lists_its_members_and_says_who_leads(talosctl: Talosctl, lab: Running):
    nodes = [address(lab, vm) for vm in CONTROL_PLANES]

    members = rows(talosctl("etcd", "members", "-n", nodes[1]).stdout)
    status = rows(talosctl("etcd", "status", "-n", ",".join(nodes)).stdout)

    assert {one["HOSTNAME"]: (one["PEER URLS"], one["LEARNER"]) for one in members} == {
        vm.name: (f"https://{node}:2380", "false")
        for vm, node in zip(CONTROL_PLANES, nodes, strict=True)
    }
    by_url = {one["PEER URLS"]: one["ID"] for one in members}
    assert len(set(by_url.values())) == 3
    assert {one["NODE"]: one["MEMBER"] for one in status} == {
        node: by_url[f"https://{node}:2380"] for node in nodes
    }
    assert {one["LEADER"] for one in status} == {leader(lab)}
    assert {one["LEARNER"] for one in status} == {"false"}
    assert {one["PROTOCOL"] for one in status} == {"3.6.12"}
    assert {one["ERRORS"] for one in status} == {""}


def test_a_worker_has_no_etcd(talosctl: Talosctl, lab: Running):
    said = talosctl("etcd", "members", "-n", address(lab, WORKER), fails=True).stderr

    assert (
        "code = Unimplemented desc = member list is only available on control plane nodes" in said
    )


def test_a_worker_forwards_nothing(program: Path, lab: Running, tmp_path: Path):
    worker, plane = address(lab, WORKER), address(lab, CONTROL_PLANES[0])
    (tmp_path / "talosconfig").write_text(
        lab.look(lambda: lab.talos.cluster.talosconfig([worker], [plane]))
    )
    talosctl = caller(program, tmp_path, "--talosconfig", str(tmp_path / "talosconfig"))

    said = talosctl("services", fails=True).stderr

    assert "code = PermissionDenied desc = no request forwarding" in said


def test_machines_are_reached_through_one_endpoint_by_site_address_and_name(talosctl: Talosctl):
    said = talosctl("version", "-n", "10.5.0.13,w-1").stdout

    assert "NODE:        10.5.0.13" in said
    assert "NODE:        w-1" in said


def test_a_machine_that_is_off_does_not_hide_the_others(talosctl: Talosctl, lab: Running):
    lab.run(lab.talos.guests.power_off(WORKER.vmid))
    try:
        done = talosctl(
            "version", "-n", f"{address(lab, CONTROL_PLANES[0])},{address(lab, WORKER)}"
        )
    finally:
        lab.run(lab.talos.guests.power_on(WORKER))
        lab.run(lab.talos.stage(WORKER, "running", client=lab.talos.cluster.client()))

    assert f"NODE:        {address(lab, CONTROL_PLANES[0])}" in done.stdout
    assert "i/o timeout" in done.stderr


def test_kubeconfig_is_an_admins(talosctl: Talosctl, lab: Running, tmp_path: Path):
    talosctl(
        "kubeconfig",
        str(tmp_path / "kubeconfig"),
        "-n",
        address(lab, CONTROL_PLANES[0]),
        "--merge=false",
    )

    document = yaml.safe_load((tmp_path / "kubeconfig").read_text())
    assert document["current-context"] == "admin@test"
    assert document["clusters"][0]["cluster"]["server"] == "https://api.example.test:6443"


def test_reboot_waits_until_the_machine_is_back(talosctl: Talosctl, lab: Running):
    vm = CONTROL_PLANES[2]
    before = boot_id(lab, vm)

    said = talosctl("reboot", "--wait", "--timeout", "30s", "-n", address(lab, vm)).stderr

    assert "post check passed" in said
    assert boot_id(lab, vm) != before


def boot_id(lab: Running, vm: Hardware) -> str:
    machines = lab.look(lab.talos.guests.state)["machines"]
    return next(machine["boot_id"] for machine in machines if machine["vmid"] == vm.vmid)


def test_logs_dmesg_and_disks_answer(talosctl: Talosctl, lab: Running):
    node = address(lab, CONTROL_PLANES[0])

    assert "Running" in talosctl("logs", "etcd", "-n", node).stdout
    assert "boot sequence: done" in talosctl("dmesg", "-n", node).stdout
    assert "/dev/sda" in talosctl("get", "disks", "-o", "yaml", "-n", node).stdout
    assert "10.5.0.11/24" in talosctl("get", "addresses", "-n", node).stdout


def test_what_the_lab_lacks_says_so(talosctl: Talosctl, lab: Running):
    said = talosctl("netstat", "-n", address(lab, CONTROL_PLANES[0]), fails=True).stderr

    assert "code = Unimplemented" in said


def test_from_an_empty_disk_to_etcd_with_nothing_but_talosctl(program: Path, tmp_path: Path):
    """gen config, apply-config --insecure, bootstrap: the words of the manual."""
    vm = hardware(11, "cp-1")
    with running(tmp_path / "lab", loopback="127.24.0.0/16") as lab:
        node = address(lab, vm)
        file = tmp_path / "out" / "controlplane.yaml"
        bare = caller(program, tmp_path)
        bare("gen", "config", "demo", f"https://{node}:6443", "--output-dir", str(file.parent))
        talosctl = caller(
            program, tmp_path, "--talosconfig", str(file.parent / "talosconfig"), "-n", node, "-e", node
        )  # fmt: skip
        lab.run(lab.talos.guests.power_on(vm))
        lab.run(lab.talos.stage(vm, "maintenance"))

        insecure = talosctl("version", "--insecure").stdout
        talosctl("apply-config", "--insecure", "--file", str(file))
        await_stage(talosctl, "booting")
        second = talosctl("apply-config", "--insecure", "--file", str(file), fails=True).stderr
        talosctl("bootstrap")
        await_stage(talosctl, "running")
        again = talosctl("bootstrap", fails=True).stderr

        assert "v1.13.9" in insecure
        # A configured machine wants a certificate, which --insecure has not. In TLS 1.3 the client may be writing
        # already when it is turned away, and then says so instead.
        assert re.search(
            r"code = Unavailable desc = (connection error|(read|write) tcp .*: (broken pipe|connection reset by peer))",
            second,
        )
        assert "code = AlreadyExists desc = etcd data directory is not empty" in again
        assert applied(talosctl) == next(yaml.safe_load_all(file.read_text()))
        (member,) = rows(talosctl("etcd", "members").stdout)
        assert member["PEER URLS"] == f"https://{node}:2380"


def applied(talosctl: Talosctl) -> Any:
    """The config that the machine says it runs."""
    said = talosctl("get", "mc", "v1alpha1", "-o", "yaml").stdout
    return next(yaml.safe_load_all(yaml.safe_load(said)["spec"]))


def stage(talosctl: Talosctl) -> str:
    """What the machine says, or nothing while it does not answer."""
    try:
        said = talosctl("get", "machinestatus", "machine", "-o", "yaml").stdout
    except AssertionError:
        return ""
    return yaml.safe_load(said)["spec"]["stage"]


def await_stage(talosctl: Talosctl, wanted: str) -> None:
    def probe() -> None:
        if (said := stage(talosctl)) != wanted:
            raise NotReadyError(f"it says {said or 'nothing'}")

    wait_for(f"the machine to be {wanted}", probe, timeout=LIMIT, pace=PACE, stop=Event())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Three control planes and a worker with Kubernetes on them; flannel, so that nodes get ready by themselves."""
    folder = tmp_path_factory.mktemp("kubernetes")
    with running(
        folder, loopback="127.24.0.0/16", kubernetes=True, cni="flannel", vip="10.5.0.10"
    ) as lab:
        lab.run(lab.talos.up(*ALL))
        yield lab


def health(program: Path, lab: Running, home: Path, patience: str, *, fails: bool = False) -> str:
    nodes = [address(lab, vm) for vm, _ in ALL]
    (home / "talosconfig").write_text(
        lab.look(lambda: lab.talos.cluster.talosconfig(nodes[:1], nodes[:1]))
    )
    talosctl = caller(program, home, "--talosconfig", str(home / "talosconfig"))
    return talosctl(
        "health", "--server=false", "--wait-timeout", patience, "--control-plane-nodes", ",".join(nodes[:3]),
        "--worker-nodes", nodes[3], "--k8s-endpoint", nodes[0], fails=fails,
    ).stderr  # fmt: skip


def test_health_finds_nothing_wrong(program: Path, whole: Running, tmp_path: Path):
    said = health(program, whole, tmp_path, "50s")

    assert "waiting for coredns to report ready: OK" in said
    assert "waiting for all k8s nodes to report schedulable: OK" in said
    assert "SKIP" not in said


def test_health_sees_a_worker_that_is_off(program: Path, whole: Running, tmp_path: Path):
    whole.run(whole.talos.guests.power_off(WORKER.vmid))
    try:
        said = health(program, whole, tmp_path, "8s", fails=True)
    finally:
        whole.run(whole.talos.guests.power_on(WORKER))
        whole.run(whole.talos.stage(WORKER, "running", client=whole.talos.cluster.client()))

    assert "waiting for etcd members to be control plane nodes: OK" in said
    assert f"* {address(whole, WORKER)}: rpc error: code = Unavailable" in said


def test_reboot_of_the_leading_control_plane_ends_with_a_healthy_machine(
    program: Path, whole: Running, tmp_path: Path
):
    nodes = [address(whole, vm) for vm, _ in ALL]
    (tmp_path / "talosconfig").write_text(
        whole.look(lambda: whole.talos.cluster.talosconfig(nodes[1:2], nodes[:1]))
    )
    talosctl = caller(program, tmp_path, "--talosconfig", str(tmp_path / "talosconfig"))

    said = talosctl("reboot", "--wait", "--timeout", "50s", "--drain=false").stderr

    assert "post check passed" in said
