"""Server-side apply: who owns what, who conflicts with whom, and what goes when it is not applied any more."""

from tests.conformance.kubernetes.makers import cause, config_map, deployment, owned, typed_map
from tests.conformance.kubernetes_peers import Plane


def test_apply_creates_and_owns(plane: Plane, deployments: str):
    made = plane.apply(f"{deployments}/web", deployment("web"), "gitops")

    assert made.code == 201
    assert owned(made.doc, "gitops") == {
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"web"}': {
                            ".": {},
                            "f:image": {},
                            "f:name": {},
                            "f:ports": {
                                'k:{"containerPort":80,"protocol":"TCP"}': {
                                    ".": {},
                                    "f:containerPort": {},
                                }
                            },
                        }
                    }
                },
            },
        }
    }


def test_apply_conflicts_with_another_manager(plane: Plane, maps: str):
    plane.apply(f"{maps}/a", typed_map("a", x="1"), "one").ok()

    answer = plane.apply(f"{maps}/a", typed_map("a", x="2"), "two")

    assert (answer.code, answer.doc["reason"]) == (409, "Conflict")
    assert answer.doc["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.x'
    assert answer.doc["details"] == {
        "causes": [cause("FieldManagerConflict", 'conflict with "one"', ".data.x")]
    }


def test_several_conflicts_are_listed(plane: Plane, maps: str):
    plane.apply(f"{maps}/a", typed_map("a", x="1", y="1"), "one").ok()

    answer = plane.apply(f"{maps}/a", typed_map("a", x="2", y="2"), "two")

    assert answer.doc["message"] == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .data.x\n- .data.y'
    )


def test_apply_conflicts_with_an_update(plane: Plane, maps: str):
    plane.post(maps, config_map("a", x="1")).ok()

    answer = plane.apply(f"{maps}/a", typed_map("a", x="2"), "two")

    assert answer.doc["message"] == (
        'Apply failed with 1 conflict: conflict with "suite" using v1: .data.x'
    )


def test_conflicts_with_several_managers_are_grouped(plane: Plane, maps: str):
    plane.apply(f"{maps}/a", typed_map("a", x="1"), "one").ok()
    plane.merge(f"{maps}/a", {"data": {"y": "1"}}).ok()

    answer = plane.apply(f"{maps}/a", typed_map("a", x="2", y="2"), "two")

    assert answer.doc["message"] == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .data.x\n'
        'conflicts with "suite" using v1:\n- .data.y'
    )


def test_labels_that_are_not_applied_any_more_go_alone(plane: Plane, maps: str):
    labelled = typed_map("a", x="1")
    labelled["metadata"]["labels"] = {"tier": "front"}
    plane.apply(f"{maps}/a", labelled, "one").ok()

    applied = plane.apply(f"{maps}/a", typed_map("a", x="1"), "one").ok()

    assert "labels" not in applied["metadata"]
    assert applied["metadata"]["name"] == "a"
    assert applied["data"] == {"x": "1"}


def test_an_applied_list_brings_its_order(plane: Plane, deployments: str):
    doc = deployment("web")
    containers = doc["spec"]["template"]["spec"]["containers"]
    containers += [{"name": "b", "image": "b:1"}, {"name": "c", "image": "c:1"}]
    plane.apply(f"{deployments}/web", doc, "one").ok()
    mine = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    order = [
        {"name": "c", "image": "c:1"},
        {"name": "new", "image": "n:1"},
        {"name": "web", "image": "nginx:1"},
    ]

    both = plane.apply(
        f"{deployments}/web", {**mine, "spec": {"template": {"spec": {"containers": order}}}}, "two"
    ).ok()

    found = both["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in found] == ["b", "c", "new", "web"]


def test_a_forced_apply_takes_over(plane: Plane, maps: str):
    plane.apply(f"{maps}/a", typed_map("a", x="1", y="1"), "one").ok()

    forced = plane.apply(f"{maps}/a", typed_map("a", x="2"), "two", force="true").ok()

    assert forced["data"] == {"x": "2", "y": "1"}
    assert owned(forced, "one") == {"f:data": {"f:y": {}}}
    assert owned(forced, "two") == {"f:data": {"f:x": {}}}


def test_the_same_value_is_owned_by_both(plane: Plane, maps: str):
    plane.apply(f"{maps}/a", typed_map("a", x="1"), "one").ok()

    both = plane.apply(f"{maps}/a", typed_map("a", x="1"), "two").ok()
    left = plane.apply(f"{maps}/a", typed_map("a"), "one").ok()

    assert owned(both, "one") == owned(both, "two") == {"f:data": {"f:x": {}}}
    assert left["data"] == {"x": "1"}


def test_what_is_not_applied_any_more_is_removed(plane: Plane, maps: str):
    plane.apply(f"{maps}/a", typed_map("a", x="1", y="1"), "one").ok()

    applied = plane.apply(f"{maps}/a", typed_map("a", x="1"), "one").ok()

    assert applied["data"] == {"x": "1"}


def test_a_container_that_is_not_applied_any_more_goes_with_its_defaults(
    plane: Plane, deployments: str
):
    doc = deployment("web")
    doc["spec"]["template"]["spec"]["containers"].append({"name": "log", "image": "log:1"})
    plane.apply(f"{deployments}/web", doc, "one").ok()

    applied = plane.apply(f"{deployments}/web", deployment("web"), "one").ok()

    found = applied["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in found] == ["web"]


def test_an_update_takes_a_field_from_an_applier(plane: Plane, deployments: str):
    plane.apply(f"{deployments}/web", deployment("web"), "one").ok()

    scaled = plane.merge(f"{deployments}/web", {"spec": {"replicas": 0, "paused": True}}).ok()
    changed = plane.merge(f"{deployments}/web", {"spec": {"minReadySeconds": 5}}).ok()

    assert owned(scaled, "suite", "Update") == {"f:spec": {"f:paused": {}}}
    assert owned(changed, "suite", "Update") == {
        "f:spec": {"f:minReadySeconds": {}, "f:paused": {}}
    }


def test_an_applied_list_keeps_the_others_elements(plane: Plane, deployments: str):
    plane.apply(f"{deployments}/web", deployment("web"), "one").ok()
    containers = [{"name": "side", "image": "side:1"}]
    mine = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": containers}}}}  # fmt: skip

    both = plane.apply(f"{deployments}/web", mine, "two").ok()

    found = both["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in found] == ["web", "side"]


def test_applying_the_same_again_writes_nothing(plane: Plane, maps: str):
    first = plane.apply(f"{maps}/a", typed_map("a", x="1"), "one").ok()

    again = plane.apply(f"{maps}/a", typed_map("a", x="1"), "one")

    assert again.code == 200
    assert again.doc["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_apply_needs_a_manager(plane: Plane, maps: str):
    answer = plane.call("PATCH", f"{maps}/a", typed_map("a"), "application/apply-patch+yaml")

    assert answer.code == 422
    assert answer.doc["message"] == (
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
    )


def test_conflicts_name_list_elements_by_key(plane: Plane, deployments: str):
    plane.apply(f"{deployments}/web", deployment("web"), "one").ok()
    doc = deployment("web")
    doc["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:9"

    answer = plane.apply(f"{deployments}/web", doc, "two")

    assert answer.doc["message"] == (
        'Apply failed with 1 conflict: conflict with "one": '
        '.spec.template.spec.containers[name="web"].image'
    )
