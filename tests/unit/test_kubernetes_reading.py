"""What is read from Kubernetes' JSON, above all while it is not written yet."""

from typing import Any

import pytest

from windlass.clients.kubernetes.reading import (
    application_state,
    node_state,
    pod_state,
    workload_state,
)
from windlass.models.plan import JsonObject


def condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def test_a_node_that_has_not_reported_is_not_ready():
    node = node_state({"metadata": {"name": "cp-1"}})

    assert (node.ready, node.reason, node.addresses) == (False, "has not reported yet", ())


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_a_node_is_ready_only_where_it_says_true(status: str):
    said = condition("Ready", status, "KubeletNotReady", "no CNI")

    node = node_state({"status": {"conditions": [said]}})

    assert (node.ready, node.reason) == (False, "KubeletNotReady: no CNI")


def test_a_ready_node_tells_who_and_where_it_is():
    node = node_state(
        {
            "metadata": {"name": "w-1", "uid": "u1", "labels": {"a": "b"}},
            "spec": {"unschedulable": True, "taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {
                "conditions": [condition("Ready", "True", "KubeletReady")],
                "addresses": [{"type": "InternalIP", "address": "10.25.150.21"}],
                "nodeInfo": {"kubeletVersion": "v1.34.4", "bootID": "b1"},
            },
        }
    )

    assert (node.ready, node.reason, node.uid, node.boot_id) == (True, "", "u1", "b1")
    assert node.addresses == ("10.25.150.21",)
    assert (node.unschedulable, node.taints[0].effect) == (True, "NoSchedule")


PULL: JsonObject = {
    "name": "app",
    "restartCount": 2,
    "state": {"waiting": {"reason": "ImagePullBackOff"}},
}
DONE: JsonObject = {
    "name": "init",
    "restartCount": 1,
    "state": {"terminated": {"reason": "Completed"}},
}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"phase": "Pending", "containerStatuses": [PULL]}, "app: ImagePullBackOff"),
        (
            {"conditions": [condition("PodScheduled", "False", "Unschedulable", "0/6 nodes")]},
            "Unschedulable: 0/6 nodes",
        ),
        ({"phase": "Pending", "initContainerStatuses": [DONE]}, "Pending"),
        ({}, "has not reported yet"),
    ],
)
def test_a_pod_says_why_it_is_not_ready(status: dict[str, Any], reason: str):
    pod = pod_state({"metadata": {"name": "p"}, "status": status})

    assert (pod.ready, pod.reason) == (False, reason)


def test_a_pod_tells_its_owner_restarts_and_end():
    pod = pod_state(
        {
            "metadata": {
                "name": "p",
                "ownerReferences": [
                    {"kind": "X", "name": "x"},
                    {"kind": "DaemonSet", "name": "d", "controller": True},
                ],
                "annotations": {"kubernetes.io/config.mirror": "h"},
                "deletionTimestamp": "2026-11-24T00:00:00Z",
            },
            "status": {"containerStatuses": [PULL], "initContainerStatuses": [DONE]},
        }
    )

    assert (pod.owner, pod.restarts, pod.mirror, pod.deleted) == ("DaemonSet/d", 3, True, True)


def workload(generation: int, seen: int | None, **status: int) -> JsonObject:
    observed: JsonObject = {} if seen is None else {"observedGeneration": seen}
    counts: JsonObject = dict(status)
    return {
        "metadata": {"generation": generation},
        "spec": {"replicas": 2},
        "status": counts | observed,
    }


@pytest.mark.parametrize(
    ("document", "ready"),
    [
        (workload(3, 3, readyReplicas=2, updatedReplicas=2), True),
        (workload(3, 2, readyReplicas=2, updatedReplicas=2), False),
        (workload(3, None, readyReplicas=2, updatedReplicas=2), False),
        (workload(3, 3, readyReplicas=2, updatedReplicas=1), False),
        (workload(3, 3), False),
    ],
)
def test_a_workload_is_ready_when_its_status_is_of_its_spec(document: JsonObject, ready: bool):
    assert workload_state("Deployment", document).is_ready is ready


def test_a_daemonset_nobody_counted_yet_is_not_ready():
    new: JsonObject = {"metadata": {"generation": 1}, "status": {}}
    counted: JsonObject = {
        "metadata": {"generation": 1},
        "status": {
            "observedGeneration": 1,
            "desiredNumberScheduled": 3,
            "numberReady": 3,
            "updatedNumberScheduled": 3,
        },
    }

    assert not workload_state("DaemonSet", new).is_ready
    assert workload_state("DaemonSet", counted).is_ready


def test_an_application_nobody_looked_at_is_empty():
    app = application_state({"metadata": {"name": "infra", "namespace": "argocd"}})

    assert (app.sync, app.health, app.revision, app.operation_phase) == ("", "", "", "")
    assert (app.automated, app.reconciled, app.conditions) == (False, None, ())


def test_an_application_tells_revision_operation_and_conditions():
    app = application_state(
        {
            "metadata": {"name": "infra", "namespace": "argocd"},
            "spec": {"syncPolicy": {"automated": {}}},
            "status": {
                "sync": {"status": "Synced", "revision": "abc"},
                "health": {"status": "Degraded", "message": "1 pod"},
                "operationState": {
                    "phase": "Succeeded",
                    "message": "ok",
                    "syncResult": {"revision": "abc"},
                },
                "conditions": [{"type": "ComparisonError", "message": "no such path"}],
                "reconciledAt": "2026-11-24T08:00:00Z",
            },
        }
    )

    assert (app.sync, app.revision, app.operation_revision) == ("Synced", "abc", "abc")
    assert (app.health, app.health_message, app.automated) == ("Degraded", "1 pod", True)
    assert app.conditions[0].type == "ComparisonError"
    assert app.reconciled is not None
