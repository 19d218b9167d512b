"""What kubectl changes in an object that is there, and how it waits for a change of somebody else's."""

import threading

import pytest

from tests.conformance.kubectl.manifests import config, config_path, pod, ready_pod, web, web_path
from tests.conformance.kubectl_peer import Kubectl

SIDE = '{"name":"side","image":"nginx:9"}'
TEMPLATE = '{"spec":{"template":{"spec":{"containers":[%s]}}}}'


@pytest.mark.parametrize(
    ("kind", "patch", "left"),
    [
        ("strategic", TEMPLATE % SIDE, {"web": "nginx:1", "side": "nginx:9"}),
        ("merge", TEMPLATE % SIDE, {"side": "nginx:9"}),
        (
            "json",
            f'[{{"op":"add","path":"/spec/template/spec/containers/-","value":{SIDE}}}]',
            {"web": "nginx:1", "side": "nginx:9"},
        ),
    ],
)
def test_patch(kubectl: Kubectl, space: str, kind: str, patch: str, left: dict[str, str]):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    said = kubectl.run("patch", "-n", space, "deployment", "web", f"--type={kind}", "-p", patch)
    again = kubectl.run("patch", "-n", space, "deployment", "web", "-p", TEMPLATE % SIDE)

    assert said == "deployment.apps/web patched\n"
    assert again == "deployment.apps/web patched (no change)\n"
    containers = kubectl.plane.get(web_path(space)).ok()["spec"]["template"]["spec"]["containers"]
    assert {one["name"]: one["image"] for one in containers} == left


def test_patch_of_the_status_leaves_the_rest(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    said = kubectl.run("patch", "-n", space, "deployment", "web", "--subresource=status",
                       "--type=merge", "-p", '{"spec":{"replicas":7},"status":{"replicas":5}}')  # fmt: skip

    assert said == "deployment.apps/web patched\n"
    found = kubectl.plane.get(web_path(space)).ok()
    assert (found["spec"]["replicas"], found["status"]["replicas"]) == (1, 5)


def test_a_patch_whose_test_fails_changes_nothing(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())
    patch = """[{"op":"test","path":"/spec/replicas","value":9},
                {"op":"replace","path":"/spec/replicas","value":4}]"""

    said = kubectl.run("patch", "-n", space, "deployment", "web", "--type=json", "-p", patch, code=1)  # fmt: skip

    assert said.startswith("The request is invalid: the server rejected our request")
    assert kubectl.plane.get(web_path(space)).ok()["spec"]["replicas"] == 1


def test_set_image_label_and_annotate(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    said = [
        kubectl.run("set", "image", "-n", space, "deployment/web", "web=nginx:7"),
        kubectl.run("label", "-n", space, "deployment/web", "tier=front"),
        kubectl.run("annotate", "-n", space, "deployment/web", "note=yes"),
    ]

    assert said == [
        "deployment.apps/web image updated\n",
        "deployment.apps/web labeled\n",
        "deployment.apps/web annotated\n",
    ]
    found = kubectl.plane.get(web_path(space)).ok()
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:7"
    assert found["metadata"]["labels"] == {"tier": "front"}
    assert found["metadata"]["annotations"]["note"] == "yes"


def test_scale(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    said = kubectl.run("scale", "-n", space, "deployment/web", "--replicas=4")

    assert said == "deployment.apps/web scaled\n"
    assert kubectl.plane.get(web_path(space)).ok()["spec"]["replicas"] == 4


def test_scale_from_another_number_is_refused(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    said = kubectl.run("scale", "-n", space, "deployment/web", "--current-replicas=3",
                       "--replicas=4", code=1)  # fmt: skip

    assert "expected replicas to be 3, was 1" in said.lower()
    assert kubectl.plane.get(web_path(space)).ok()["spec"]["replicas"] == 1


ROLLED_OUT = {
    "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
    "conditions": [{"type": "Available", "status": "True"}],
}  # fmt: skip


def test_rollout_status_sees_the_status_come(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    with kubectl.start("rollout", "status", "-n", space, "deployment/web",
                       "--timeout=20s") as process:  # fmt: skip
        assert process.stdout
        first = process.stdout.readline()
        kubectl.plane.merge(f"{web_path(space)}/status", {"status": ROLLED_OUT}).ok()
        rest = process.stdout.read()

    assert first == "Waiting for deployment spec update to be observed...\n"
    assert rest == 'deployment "web" successfully rolled out\n'
    assert process.returncode == 0


def test_rollout_restart_makes_a_new_template(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    said = kubectl.run("rollout", "restart", "-n", space, "deployment/web")

    assert said == "deployment.apps/web restarted\n"
    found = kubectl.plane.get(web_path(space)).ok()
    annotations = found["spec"]["template"]["metadata"]["annotations"]
    assert list(annotations) == ["kubectl.kubernetes.io/restartedAt"]
    assert found["metadata"]["generation"] == 2


def test_wait_sees_the_condition_come(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())
    path = f"{web_path(space)}/status"
    writer = threading.Timer(1, lambda: kubectl.plane.merge(path, {"status": ROLLED_OUT}).ok())
    writer.start()

    said = kubectl.run("wait", "-n", space, "--for=condition=Available", "deployment/web",
                       "--timeout=20s")  # fmt: skip

    writer.join()
    assert said == "deployment.apps/web condition met\n"
    assert kubectl.plane.get(web_path(space)).ok()["status"]["conditions"][0]["status"] == "True"


def test_wait_sees_an_object_go(kubectl: Kubectl, space: str):
    path = config_path(space, "a")
    kubectl.run("apply", "-n", space, "-f", "-", manifest=config("a"))
    writer = threading.Timer(1, lambda: kubectl.plane.delete(path).ok())
    writer.start()

    said = kubectl.run("wait", "-n", space, "--for=delete", "configmap/a", "--timeout=20s")

    writer.join()
    assert said == "configmap/a condition met\n"
    assert kubectl.plane.get(path).code == 404


def test_wait_for_one_pod_does_not_take_another(kubectl: Kubectl, space: str):
    ready_pod(kubectl.plane, space, "ready")
    kubectl.plane.post(f"/api/v1/namespaces/{space}/pods", pod("waiting", f"n-{space}")).ok()

    said = kubectl.run("wait", "-n", space, "--for=condition=Ready", "pod/waiting", "--timeout=2s",
                       code=1)  # fmt: skip

    assert "timed out waiting for the condition on pods/waiting" in said
