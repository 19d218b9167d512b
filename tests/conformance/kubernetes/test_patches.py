"""JSON, merge and strategic patches."""

from typing import Any

import pytest

from tests.conformance.kubernetes.makers import config_map, deployment
from tests.conformance.kubernetes_peers import Document, Plane


def test_a_merge_patch_removes_with_null(plane: Plane, maps: str):
    plane.post(maps, config_map("a", x="1", y="2")).ok()

    patched = plane.merge(f"{maps}/a", {"data": {"x": None, "z": "3"}}).ok()

    assert patched["data"] == {"y": "2", "z": "3"}


def test_a_json_patch_is_all_or_nothing(plane: Plane, maps: str):
    plane.post(maps, config_map("a", x="1")).ok()

    failed = plane.json_patch(
        f"{maps}/a",
        [
            {"op": "replace", "path": "/data/x", "value": "2"},
            {"op": "remove", "path": "/data/absent"},
        ],
    )

    assert (failed.code, failed.doc["reason"]) == (422, "Invalid")
    assert plane.get(f"{maps}/a").ok()["data"] == {"x": "1"}


def test_a_json_patch_tests(plane: Plane, maps: str):
    plane.post(maps, config_map("a", x="1")).ok()

    refused = plane.json_patch(f"{maps}/a", [{"op": "test", "path": "/data/x", "value": "9"}])
    done = plane.json_patch(
        f"{maps}/a",
        [
            {"op": "test", "path": "/data/x", "value": "1"},
            {"op": "add", "path": "/data/y", "value": "2"},
        ],
    ).ok()

    assert refused.code == 422
    assert done["data"] == {"x": "1", "y": "2"}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/data/x", "value": "9"},
        {"op": "test", "path": "/data/x", "value": 1},
        {"op": "test", "path": "/data/absent", "value": "1"},
        {"op": "remove", "path": "/data/absent"},
        {"op": "add", "path": "/absent/x/y", "value": "1"},
        {"op": "bogus", "path": "/data/x"},
        {"path": "/data/x"},
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused_without_a_reason(
    plane: Plane, maps: str, operation: Document
):
    plane.post(maps, config_map("a", x="1")).ok()

    refused = plane.json_patch(f"{maps}/a", [operation])

    message = "the server rejected our request due to an error in our request"
    assert (refused.code, refused.doc["reason"]) == (422, "Invalid")
    assert (refused.doc["message"], refused.doc["details"]) == (message, {})


@pytest.mark.parametrize("patch", [{"op": "add"}, "add"])
def test_what_is_no_list_is_no_json_patch(plane: Plane, maps: str, patch: Any):
    plane.post(maps, config_map("a", x="1")).ok()

    refused = plane.json_patch(f"{maps}/a", patch)

    kind = "string" if isinstance(patch, str) else "object"
    assert refused.code == 400
    assert refused.doc["message"] == (
        f"error decoding patch: json: cannot unmarshal {kind} into Go value of type []handlers.jsonPatchOp"
    )


def test_an_unknown_patch_type_is_refused(plane: Plane, maps: str):
    plane.post(maps, config_map("a")).ok()

    answer = plane.call("PATCH", f"{maps}/a", {}, "text/plain")

    assert (answer.code, answer.doc["reason"]) == (415, "UnsupportedMediaType")


_SIDE = {"name": "side", "image": "side:1"}
_WEB = {"name": "web"}


@pytest.mark.parametrize(
    ("patch", "containers"),
    [
        ([{**_WEB, "image": "nginx:2"}], [("web", "nginx:2"), ("log", "log:1")]),
        ([_SIDE], [("side", "side:1"), ("web", "nginx:1"), ("log", "log:1")]),
        ([{"name": "log", "$patch": "delete"}], [("web", "nginx:1")]),
        ([_SIDE, {"$patch": "replace"}], [("side", "side:1")]),
    ],
)
def test_a_strategic_patch_merges_lists_by_key(
    plane: Plane, deployments: str, patch: list[Document], containers: list[tuple[str, str]]
):
    doc = deployment("web")
    doc["spec"]["template"]["spec"]["containers"].append({"name": "log", "image": "log:1"})
    plane.post(deployments, doc).ok()
    wrapped = {"spec": {"template": {"spec": {"containers": patch}}}}

    patched = plane.strategic(f"{deployments}/web", wrapped).ok()

    found = patched["spec"]["template"]["spec"]["containers"]
    assert [(one["name"], one["image"]) for one in found] == containers


def test_a_strategic_patch_sets_the_order(plane: Plane, deployments: str):
    doc = deployment("web")
    doc["spec"]["template"]["spec"]["containers"].append({"name": "log", "image": "log:1"})
    plane.post(deployments, doc).ok()
    spec = {
        "$setElementOrder/containers": [{"name": "log"}, {"name": "web"}],
        "containers": [{"name": "web", "image": "nginx:3"}],
    }

    patched = plane.strategic(f"{deployments}/web", {"spec": {"template": {"spec": spec}}}).ok()

    found = patched["spec"]["template"]["spec"]["containers"]
    assert [(one["name"], one["image"]) for one in found] == [("log", "log:1"), ("web", "nginx:3")]


def test_a_strategic_patch_retains_keys(plane: Plane, deployments: str):
    plane.post(deployments, deployment("web")).ok()

    patched = plane.strategic(
        f"{deployments}/web", {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    ).ok()

    assert patched["spec"]["strategy"] == {"type": "Recreate"}


def test_a_strategic_patch_takes_from_a_set(plane: Plane, maps: str):
    finalizers = ["example.org/a", "example.org/b"]
    plane.post(maps, {"metadata": {"name": "a", "finalizers": finalizers}}).ok()

    patched = plane.strategic(
        f"{maps}/a", {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.org/a"]}}
    ).ok()

    assert patched["metadata"]["finalizers"] == ["example.org/b"]
