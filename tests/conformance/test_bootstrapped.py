"""A site that Windlass made, with its controllers at work, under the official talosctl and the locked kubectl."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conformance.kubectl.manifests import web
from tests.conformance.kubectl_peer import Kubectl, need_kubectl
from tests.conformance.kubernetes_peers import Plane
from tests.conformance.talosctl_peer import Talosctl, caller, need_talosctl, rows
from tests.labs import RunningLab

# Talos asks for no ready nodes and no CoreDNS where the network is not its own; this site's is Cilium.
SKIPPED = {"all k8s nodes to report ready", "coredns to report ready"}
ON_EVERY_MACHINE = {
    "apid", "auditd", "containerd", "cri", "dashboard", "kubelet", "machined", "syslogd", "udevd",
}  # fmt: skip


def addresses(lab: RunningLab, role: str) -> list[str]:
    return [one["address"] for one in lab.contract["machines"] if one["role"] == role]


@pytest.fixture(scope="module")
def planes(bootstrapped: RunningLab) -> list[str]:
    return addresses(bootstrapped, "controlplane")


@pytest.fixture(scope="module")
def workers(bootstrapped: RunningLab) -> list[str]:
    return addresses(bootstrapped, "worker")


@pytest.fixture
def talosctl(bootstrapped: RunningLab, tmp_path: Path) -> Talosctl:
    config = bootstrapped.contract["talos"]["talosconfig"]
    return caller(need_talosctl(), tmp_path, "--talosconfig", config)


@pytest.fixture(scope="module")
def kubectl(
    bootstrapped: RunningLab, planes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kubectl]:
    """With the kubeconfig that talosctl gets, and the address where this machine finds the API."""
    need_kubectl()
    folder = tmp_path_factory.mktemp("kubectl")
    talosctl = caller(
        need_talosctl(), folder, "--talosconfig", bootstrapped.contract["talos"]["talosconfig"]
    )
    talosctl("kubeconfig", str(folder / "got"), "-n", planes[0], "--merge=false")
    config = yaml.safe_load((folder / "got").read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://{planes[0]}:6443"
    (folder / "kubeconfig").write_text(json.dumps(config))
    plane = Plane("bootstrapped", folder / "kubeconfig", folder)
    yield Kubectl(plane, folder)
    plane.session.close()


def healthy(talosctl: Talosctl, planes: list[str], workers: list[str]) -> dict[str, str]:
    """What `talosctl health` says in the end of each thing it waits for."""
    said = talosctl(
        "health", "--server=false", "--wait-timeout", "50s", "-n", planes[0], "--k8s-endpoint", planes[0],
        "--control-plane-nodes", ",".join(planes), "--worker-nodes", ",".join(workers),
    ).stderr  # fmt: skip
    pairs = [line.removeprefix("waiting for ").rpartition(": ") for line in said.splitlines()]
    return {what: result for what, _, result in pairs if what}


def test_talosctl_finds_the_site_healthy(talosctl: Talosctl, planes: list[str], workers: list[str]):
    found = healthy(talosctl, planes, workers)

    assert len(found) > 15
    assert {what for what, result in found.items() if result != "OK"} == SKIPPED
    assert {found[what] for what in SKIPPED} == {"SKIP"}


def test_health_names_what_is_missing(talosctl: Talosctl, planes: list[str], workers: list[str]):
    said = talosctl(
        "health", "--server=false", "--wait-timeout", "8s", "-n", planes[0], "--k8s-endpoint", planes[0],
        "--control-plane-nodes", ",".join(planes), "--worker-nodes", ",".join(workers[:-1]), fails=True,
    ).stderr  # fmt: skip

    assert "waiting for all k8s nodes to report: unexpected nodes with IPs" in said


def test_every_machine_runs_the_version_of_the_site(
    talosctl: Talosctl, planes: list[str], workers: list[str]
):
    said = talosctl("version", "-n", ",".join([*planes, *workers])).stdout

    nodes = [line.split()[1] for line in said.splitlines() if line.strip().startswith("NODE:")]
    assert nodes == [*planes, *workers]
    # The first is the client's own.
    assert said.count("Tag:         v1.13.9") == len(nodes) + 1


def test_every_machine_is_running_and_ready(
    talosctl: Talosctl, planes: list[str], workers: list[str]
):
    for node in (*planes, *workers):
        said = talosctl("get", "machinestatus", "-o", "yaml", "-n", node).stdout
        assert yaml.safe_load(said)["spec"] == {
            "stage": "running",
            "status": {"ready": True, "unmetConditions": []},
        }


def test_every_service_runs(talosctl: Talosctl, planes: list[str], workers: list[str]):
    found = rows(talosctl("services", "-n", ",".join([*planes, *workers])).stdout)

    by_node: dict[str, set[str]] = {}
    for one in found:
        by_node.setdefault(one["NODE"], set()).add(one["SERVICE"])
    assert by_node == {
        **dict.fromkeys(planes, ON_EVERY_MACHINE | {"etcd", "trustd"}),
        **dict.fromkeys(workers, ON_EVERY_MACHINE),
    }
    assert {one["STATE"] for one in found} == {"Running"}
    assert {one["SERVICE"] for one in found if one["HEALTH"] != "OK"} == {"dashboard"}


def test_the_control_planes_are_the_members_of_etcd(talosctl: Talosctl, planes: list[str]):
    members = rows(talosctl("etcd", "members", "-n", planes[-1]).stdout)
    status = rows(talosctl("etcd", "status", "-n", ",".join(planes)).stdout)

    ids = {one["ID"] for one in members}
    assert {one["PEER URLS"] for one in members} == {f"https://{node}:2380" for node in planes}
    assert {one["LEARNER"] for one in (*members, *status)} == {"false"}
    assert {one["MEMBER"] for one in status} == ids
    (leader,) = {one["LEADER"] for one in status}
    assert leader in ids


def test_talosctl_accepts_the_config_that_every_machine_runs(
    talosctl: Talosctl, planes: list[str], workers: list[str], tmp_path: Path
):
    alone = caller(need_talosctl(), tmp_path)
    kinds: dict[str, str] = {}
    for node in (*planes, *workers):
        said = talosctl("get", "mc", "v1alpha1", "-o", "yaml", "-n", node).stdout
        file = tmp_path / f"{node}.yaml"
        file.write_text(yaml.safe_load(said)["spec"])
        kinds[node] = next(yaml.safe_load_all(file.read_text()))["machine"]["type"]
        for mode in ("metal", "cloud"):
            done = alone("validate", "--strict", "--mode", mode, "-c", str(file))
            assert f"{file} is valid for {mode} mode" in done.stdout + done.stderr

    assert kinds == dict.fromkeys(planes, "controlplane") | dict.fromkeys(workers, "worker")


def boot_ids(lab: RunningLab) -> dict[str, str]:
    return {one["name"]: one["boot_id"] for one in lab.state()["talos"]["machines"]}


def test_reboot_waits_and_leaves_a_healthy_site(
    talosctl: Talosctl, bootstrapped: RunningLab, planes: list[str], workers: list[str]
):
    nodes = [planes[-1], workers[-1]]
    names = {one["name"] for one in bootstrapped.contract["machines"] if one["address"] in nodes}
    before = boot_ids(bootstrapped)

    said = [talosctl("reboot", "--wait", "--timeout", "50s", "-n", one).stderr for one in nodes]

    after = boot_ids(bootstrapped)
    assert all("post check passed" in one for one in said)
    assert {name for name in before if after[name] != before[name]} == names
    found = healthy(talosctl, planes, workers)
    assert {what for what, result in found.items() if result != "OK"} == SKIPPED


def test_the_kubeconfig_of_talosctl_is_an_administrators(
    kubectl: Kubectl, bootstrapped: RunningLab
):
    said = kubectl.run("get", "nodes", "--no-headers")

    assert {line.split()[0]: line.split()[1] for line in said.splitlines()} == {
        one["name"]: "Ready" for one in bootstrapped.contract["machines"]
    }


@pytest.fixture
def served(kubectl: Kubectl) -> Iterator[str]:
    """A namespace with a deployment of two, which the controllers of the site roll out."""
    space = kubectl.plane.space()
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web(replicas=2))
    kubectl.run("rollout", "status", "-n", space, "deployment/web", "--timeout=30s")
    yield space
    kubectl.run("delete", "namespace", space, "--timeout=30s")


def pods(kubectl: Kubectl, space: str) -> list[Any]:
    return kubectl.plane.get(f"/api/v1/namespaces/{space}/pods").ok()["items"]


def wait(kubectl: Kubectl, space: str, until: str, *what: str) -> None:
    kubectl.run("wait", "-n", space, f"--for={until}", *what, "--timeout=30s")


def test_a_rollout_ends_by_itself(kubectl: Kubectl, served: str):
    first = {one["metadata"]["name"] for one in pods(kubectl, served)}

    kubectl.run("set", "image", "-n", served, "deployment/web", "web=nginx:2")
    rolled = kubectl.run("rollout", "status", "-n", served, "deployment/web", "--timeout=30s")
    wait(kubectl, served, "delete", *(f"pod/{name}" for name in first))

    assert rolled.splitlines()[-1] == 'deployment "web" successfully rolled out'
    running = pods(kubectl, served)
    assert len(running) == 2
    assert {one["spec"]["containers"][0]["image"] for one in running} == {"nginx:2"}
    assert {one["status"]["phase"] for one in running} == {"Running"}


def test_scale_makes_and_ends_pods(kubectl: Kubectl, served: str):
    kubectl.run("scale", "-n", served, "deployment/web", "--replicas=1")
    wait(kubectl, served, "jsonpath={.status.replicas}=1", "deployment/web")

    left = [one for one in pods(kubectl, served) if "deletionTimestamp" not in one["metadata"]]
    assert [one["status"]["phase"] for one in left] == ["Running"]


def test_logs_come_from_the_kubelet_that_runs_the_pod(kubectl: Kubectl, served: str):
    name = pods(kubectl, served)[0]["metadata"]["name"]

    assert "nginx:1" in kubectl.run("logs", "-n", served, name)


def test_drain_moves_pods_as_fast_as_their_budget_lets_it(kubectl: Kubectl, served: str):
    budget: Any = {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
    }  # fmt: skip
    node = pods(kubectl, served)[0]["spec"]["nodeName"]
    drain = ("drain", node, "--pod-selector=app=web", "--ignore-daemonsets")
    try:
        kubectl.run("apply", "-n", served, "-f", "-", manifest=budget)
        wait(kubectl, served, "jsonpath={.status.expectedPods}=2", "pdb/web")
        stuck = kubectl.run(*drain, "--timeout=3s", code=1)
        budget["spec"]["minAvailable"] = 1
        kubectl.run("apply", "-n", served, "-f", "-", manifest=budget)
        drained = kubectl.run(*drain, "--timeout=40s")
        kubectl.run("rollout", "status", "-n", served, "deployment/web", "--timeout=30s")
    finally:
        kubectl.run("uncordon", node)

    assert "Cannot evict pod as it would violate the pod's disruption budget." in stuck
    assert drained.splitlines()[-1] == f"node/{node} drained"
    assert node not in {one["spec"]["nodeName"] for one in pods(kubectl, served)}
