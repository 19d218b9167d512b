"""Tables and discovery: what clients print, and which kinds they find."""

import pytest

from tests.conformance.kubernetes_peers import Plane


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/pods", "/api/v1/nodes", "/api/v1/namespaces", "/api/v1/services", "/api/v1/configmaps",
        "/api/v1/secrets", "/apis/apps/v1/deployments", "/apis/apps/v1/replicasets",
        "/apis/apps/v1/statefulsets", "/apis/apps/v1/daemonsets", "/apis/batch/v1/jobs",
        "/apis/policy/v1/poddisruptionbudgets", "/apis/storage.k8s.io/v1/storageclasses",
    ],
)  # fmt: skip
def test_tables_have_upstreams_columns(plane: Plane, path: str):
    table = plane.table(path)

    columns = [(c["name"], c["type"], c["priority"]) for c in table["columnDefinitions"]]
    assert columns == COLUMNS[path.rpartition("/")[2]]


_AGE = ("Age", "string", 0)
_NAME = ("Name", "string", 0)
_WIDE = [("Containers", "string", 1), ("Images", "string", 1), ("Selector", "string", 1)]
COLUMNS: dict[str, list[tuple[str, str, int]]] = {
    "pods": [
        _NAME, ("Ready", "string", 0), ("Status", "string", 0), ("Restarts", "string", 0), _AGE,
        ("IP", "string", 1), ("Node", "string", 1), ("Nominated Node", "string", 1),
        ("Readiness Gates", "string", 1),
    ],
    "nodes": [
        _NAME, ("Status", "string", 0), ("Roles", "string", 0), _AGE, ("Version", "string", 0),
        ("Internal-IP", "string", 1), ("External-IP", "string", 1), ("OS-Image", "string", 1),
        ("Kernel-Version", "string", 1), ("Container-Runtime", "string", 1),
    ],
    "namespaces": [_NAME, ("Status", "string", 0), _AGE],
    "services": [
        _NAME, ("Type", "string", 0), ("Cluster-IP", "string", 0), ("External-IP", "string", 0),
        ("Port(s)", "string", 0), _AGE, ("Selector", "string", 1),
    ],
    "configmaps": [_NAME, ("Data", "string", 0), _AGE],
    "secrets": [_NAME, ("Type", "string", 0), ("Data", "string", 0), _AGE],
    "deployments": [
        _NAME, ("Ready", "string", 0), ("Up-to-date", "string", 0), ("Available", "string", 0), _AGE,
        *_WIDE,
    ],
    "replicasets": [
        _NAME, ("Desired", "integer", 0), ("Current", "integer", 0), ("Ready", "integer", 0), _AGE,
        *_WIDE,
    ],
    "statefulsets": [_NAME, ("Ready", "string", 0), _AGE, *_WIDE[:2]],
    "daemonsets": [
        _NAME, ("Desired", "integer", 0), ("Current", "integer", 0), ("Ready", "integer", 0),
        ("Up-to-date", "integer", 0), ("Available", "integer", 0), ("Node Selector", "string", 0),
        _AGE, *_WIDE,
    ],
    "jobs": [_NAME, ("Status", "string", 0), ("Completions", "string", 0), ("Duration", "string", 0),
             _AGE, *_WIDE],
    "poddisruptionbudgets": [
        _NAME, ("Min Available", "string", 0), ("Max Unavailable", "string", 0),
        ("Allowed Disruptions", "integer", 0), _AGE,
    ],
    "storageclasses": [
        _NAME, ("Provisioner", "string", 0), ("ReclaimPolicy", "string", 0),
        ("VolumeBindingMode", "string", 0), ("AllowVolumeExpansion", "string", 0), _AGE,
    ],
}  # fmt: skip


def test_kinds_are_discovered(plane: Plane):
    legacy = plane.get("/api/v1").ok()["resources"]
    group = plane.get("/apis/apps").ok()

    eviction = next(one for one in legacy if one["name"] == "pods/eviction")
    assert (eviction["group"], eviction["version"], eviction["kind"]) == (
        "policy",
        "v1",
        "Eviction",
    )
    pods = next(one for one in legacy if one["name"] == "pods")
    assert (pods["shortNames"], pods["categories"], pods["singularName"]) == (
        ["po"],
        ["all"],
        "pod",
    )
    assert group["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}


def test_unknown_resources_are_not_found(plane: Plane):
    answer = plane.get("/api/v1/foos")

    assert (answer.code, answer.doc["message"]) == (
        404, "the server could not find the requested resource",
    )  # fmt: skip
