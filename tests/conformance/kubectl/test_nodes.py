"""Taking a node out of service with kubectl: cordon, and a drain that a disruption budget holds up."""

import pytest

from tests.conformance.kubectl.manifests import node_of, ready_pod
from tests.conformance.kubectl_peer import Kubectl
from tests.conformance.kubernetes_peers import Plane


def test_cordon_and_uncordon(kubectl: Kubectl, space: str):
    node = node_of(space)
    kubectl.plane.post("/api/v1/nodes", {"metadata": {"name": node}}).ok()

    cordoned = kubectl.run("cordon", node)
    held = kubectl.plane.get(f"/api/v1/nodes/{node}").ok()["spec"]
    listed = kubectl.run("get", "nodes", node, "--no-headers")
    uncordoned = kubectl.run("uncordon", node)

    assert cordoned == f"node/{node} cordoned\n"
    assert held["unschedulable"] is True
    assert "SchedulingDisabled" in listed
    assert uncordoned == f"node/{node} uncordoned\n"
    assert "unschedulable" not in kubectl.plane.get(f"/api/v1/nodes/{node}").ok()["spec"]
    assert "SchedulingDisabled" not in kubectl.run("get", "nodes", node, "--no-headers")


@pytest.fixture
def budget(kubectl: Kubectl, space: str) -> str:
    """The path of a budget that keeps the one pod there is."""
    path = f"/apis/policy/v1/namespaces/{space}/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    kubectl.plane.post(path, {"metadata": {"name": "web"}, "spec": spec}).ok()
    held = {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1,
            "desiredHealthy": 1, "expectedPods": 1}  # fmt: skip
    kubectl.plane.merge(f"{path}/web/status", {"status": held}).ok()
    return f"{path}/web"


def test_drain_is_held_up_by_the_budget(kubectl: Kubectl, space: str, budget: str):
    plane, node = kubectl.plane, node_of(space)
    path = ready_pod(plane, space, "web-1")

    stuck = kubectl.run("drain", node, "--timeout=3s", code=1)

    assert f"node/{node} cordoned" in stuck
    assert f"evicting pod {space}/web-1" in stuck
    assert "Cannot evict pod as it would violate the pod's disruption budget." in stuck
    assert plane.get(f"/api/v1/nodes/{node}").ok()["spec"]["unschedulable"] is True
    assert "deletionTimestamp" not in plane.get(path).ok()["metadata"]
    assert "disruptedPods" not in plane.get(budget).ok()["status"]


def test_drain_goes_through_a_budget_that_allows_it(kubectl: Kubectl, space: str, budget: str):
    plane, node = kubectl.plane, node_of(space)
    path = ready_pod(plane, space, "web-1")
    plane.merge(f"{budget}/status", {"status": {"disruptionsAllowed": 1}}).ok()

    with kubectl.start("drain", node, "--timeout=25s") as drain:
        wait_for_deletion(plane, path)
        # What the kubelet does once the containers have ended.
        plane.delete(path, {"gracePeriodSeconds": 0}).ok()
        said, _ = drain.communicate(timeout=40)

    assert drain.returncode == 0, said
    assert said.splitlines() == [
        f"node/{node} cordoned",
        f"evicting pod {space}/web-1",
        "pod/web-1 evicted",
        f"node/{node} drained",
    ]
    assert plane.get(path).code == 404
    assert plane.get(f"/api/v1/nodes/{node}").ok()["spec"]["unschedulable"] is True
    status = plane.get(budget).ok()["status"]
    assert (status["disruptionsAllowed"], list(status["disruptedPods"])) == (0, ["web-1"])


def wait_for_deletion(plane: Plane, path: str) -> None:
    """Until the eviction has marked the pod: a watch of its own name tells."""
    space, _, name = path.removeprefix("/api/v1/namespaces/").split("/")
    for _ in range(10):
        for event in plane.events(f"/api/v1/namespaces/{space}/pods", seconds=1,
                                  fieldSelector=f"metadata.name={name}"):  # fmt: skip
            if "deletionTimestamp" in event["object"]["metadata"]:
                return
    raise AssertionError(f"{path} was never evicted")
