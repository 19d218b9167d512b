"""Status, scale, eviction and binding."""

from tests.conformance.kubernetes.makers import bound_pod, deployment, pod
from tests.conformance.kubernetes_peers import Plane


def test_status_is_written_apart(plane: Plane, deployments: str):
    plane.post(deployments, deployment("web", paused=True)).ok()

    ignored = plane.merge(f"{deployments}/web", {"status": {"collisionCount": 7}}).ok()
    written = plane.merge(
        f"{deployments}/web/status",
        {"status": {"collisionCount": 8}, "spec": {"minReadySeconds": 9}},
    ).ok()

    assert "collisionCount" not in ignored["status"]
    assert written["status"]["collisionCount"] == 8
    assert "minReadySeconds" not in written["spec"]
    entry = next(e for e in written["metadata"]["managedFields"] if e.get("subresource"))
    assert entry["subresource"] == "status"


def test_scale_is_a_view_of_replicas(plane: Plane, deployments: str):
    plane.post(deployments, deployment("web", paused=True)).ok()

    scaled = plane.merge(f"{deployments}/web/scale", {"spec": {"replicas": 2}}).ok()

    assert (scaled["kind"], scaled["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scaled["spec"] == {"replicas": 2}
    assert scaled["status"]["selector"] == "app=web"
    assert plane.get(f"{deployments}/web").ok()["spec"]["replicas"] == 2


def test_an_eviction_asks_the_budget(plane: Plane):
    space = plane.space()
    path = bound_pod(plane, space, "p", app="db")
    budget = {"metadata": {"name": "db"}, "spec": {
        "minAvailable": 1, "selector": {"matchLabels": {"app": "db"}}}}  # fmt: skip
    budgets = f"/apis/policy/v1/namespaces/{space}/poddisruptionbudgets"
    plane.post(budgets, budget).ok()
    status = {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1,
              "desiredHealthy": 1, "expectedPods": 1}  # fmt: skip
    plane.merge(f"{budgets}/db/status", {"status": status}).ok()
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}

    refused = plane.post(f"{path}/eviction", eviction)

    assert refused.code == 429
    assert refused.doc["reason"] == "TooManyRequests"
    assert (
        refused.doc["message"]
        == "Cannot evict pod as it would violate the pod's disruption budget."
    )
    assert refused.doc["details"]["causes"] == [
        {
            "reason": "DisruptionBudget",
            "message": "The disruption budget db needs 1 healthy pods and has 1 currently",
        }
    ]
    assert "deletionTimestamp" not in plane.get(path).ok()["metadata"]


def test_two_budgets_are_an_error(plane: Plane):
    space = plane.space()
    path = bound_pod(plane, space, "p", app="db")
    for name in ("one", "two"):
        plane.post(
            f"/apis/policy/v1/namespaces/{space}/poddisruptionbudgets",
            {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": "db"}}}},
        ).ok()
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}

    refused = plane.post(f"{path}/eviction", eviction)

    assert refused.code == 500
    assert "more than one PodDisruptionBudget" in refused.doc["message"]


def test_an_evicted_pod_waits_for_its_kubelet(plane: Plane):
    path = bound_pod(plane, plane.space(), "p", app="db")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}

    evicted = plane.post(f"{path}/eviction", eviction)
    waiting = plane.get(path).ok()["metadata"]
    plane.delete(path, {"gracePeriodSeconds": 0}).ok()

    assert (evicted.code, evicted.doc["status"]) == (201, "Success")
    assert waiting["deletionGracePeriodSeconds"] == 5
    assert waiting["generation"] == 2
    assert plane.get(path).code == 404


def test_a_pod_is_bound_once(plane: Plane):
    space = plane.space()
    path = f"/api/v1/namespaces/{space}/pods"
    doc = pod("p")
    doc["spec"]["schedulerName"] = "nobody"
    plane.post(path, doc).ok()
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}

    first = plane.post(f"{path}/p/binding", binding)
    again = plane.post(f"{path}/p/binding", {**binding, "target": {"kind": "Node", "name": "m"}})

    assert first.code == 201
    assert plane.get(f"{path}/p").ok()["spec"]["nodeName"] == "n"
    assert again.code == 409
    assert 'pod p is already assigned to node "n"' in again.doc["message"]


def test_a_pod_keeps_its_spec(plane: Plane):
    path = f"/api/v1/namespaces/{plane.space()}/pods"
    plane.post(path, pod("p")).ok()

    answer = plane.merge(f"{path}/p", {"spec": {"hostNetwork": True}})

    assert answer.code == 422
    assert answer.doc["message"].startswith(
        'Pod "p" is invalid: spec: Forbidden: pod updates may not change fields other than'
    )
