"""Kinds that are not built in, and the official client."""

from typing import Any

import kubernetes as _official
import pytest

from tests.conformance.kubernetes.makers import config_map, owned
from tests.conformance.kubernetes_peers import Document, Plane

Spec = dict[str, Any]

# The official client has no types of its own.
kubernetes: Any = _official

_WIDGET_SCHEMA: Document = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 9},
                "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                "name": {"type": "string", "pattern": "^[a-z]+$"},
                "replicas": {"type": "integer"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
    },
}


@pytest.fixture(scope="module")
def widgets(plane: Plane) -> str:
    """The path of the widgets in the default namespace, once they are served."""
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = {
        "name": "v1", "served": True, "storage": True,
        "schema": {"openAPIV3Schema": _WIDGET_SCHEMA},
        "subresources": {"status": {}, "scale": scale},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    }  # fmt: skip
    crd = {
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [version],
        },
    }
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    plane.post(path, crd).ok()
    events = plane.events(path, fieldSelector="metadata.name=widgets.example.org", seconds=2)
    conditions = events[-1]["object"]["status"]["conditions"]
    assert {(c["type"], c["status"]) for c in conditions} == {
        ("NamesAccepted", "True"),
        ("Established", "True"),
    }
    return "/apis/example.org/v1/namespaces/default/widgets"


def widget(called: str, **spec: Any) -> Document:
    return {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "metadata": {"name": called},
        "spec": spec,
    }


def test_a_custom_object_is_defaulted_and_pruned(plane: Plane, widgets: str):
    made = plane.post(widgets, widget("pruned", size=2, foo=1, free={"a": 1})).ok()

    assert made["spec"] == {"size": 2, "color": "red", "free": {"a": 1}}
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "spec.size: Required value"),
        (
            {"size": 0},
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ),
        (
            {"size": 10},
            "spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9",
        ),
        (
            {"size": "two"},
            'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"',
        ),
        (
            {"size": 1, "color": "green"},
            'spec.color: Unsupported value: "green": supported values: "red", "blue"',
        ),
        (
            {"size": 1, "name": "A1"},
            "spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'",
        ),
    ],
)
def test_a_custom_object_obeys_its_schema(plane: Plane, widgets: str, spec: Spec, message: str):
    answer = plane.post(widgets, widget("bad", **spec))

    assert answer.code == 422
    assert answer.doc["message"] == f'Widget.example.org "bad" is invalid: {message}'


def test_unknown_custom_fields_are_errors_when_asked(plane: Plane, widgets: str):
    answer = plane.post(widgets, widget("strict", size=1, foo=1), fieldValidation="Strict")

    assert answer.code == 400
    assert answer.doc["message"] == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.foo"'
    )


def test_a_custom_object_has_status_and_scale(plane: Plane, widgets: str):
    made = plane.post(
        widgets, {**widget("sub", size=1, replicas=3), "status": {"replicas": 9}}
    ).ok()

    seen = plane.merge(f"{widgets}/sub/status", {"status": {"replicas": 2}}).ok()
    scale = plane.get(f"{widgets}/sub/scale").ok()

    assert "status" not in made
    assert seen["status"] == {"replicas": 2}
    assert seen["metadata"]["generation"] == 1
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (3, 2)


def test_a_custom_object_is_applied(plane: Plane, widgets: str):
    plane.apply(f"{widgets}/ssa", widget("ssa", size=1, name="a"), "one").ok()

    applied = plane.apply(f"{widgets}/ssa", widget("ssa", size=2), "one").ok()

    assert applied["spec"] == {"size": 2, "color": "red"}
    assert owned(applied, "one") == {"f:spec": {"f:size": {}}}


def test_a_custom_object_takes_no_strategic_patch(plane: Plane, widgets: str):
    plane.post(widgets, widget("plain", size=1)).ok()

    assert plane.strategic(f"{widgets}/plain", {"spec": {"size": 2}}).code == 415


def test_a_custom_update_needs_a_revision(plane: Plane, widgets: str):
    plane.post(widgets, widget("unversioned", size=1)).ok()

    answer = plane.put(f"{widgets}/unversioned", widget("unversioned", size=2))

    assert answer.code == 422
    assert answer.doc["details"]["causes"][0]["field"] == "metadata.resourceVersion"
    assert "must be specified for an update" in answer.doc["message"]


def test_a_custom_kind_prints_its_columns(plane: Plane, widgets: str):
    plane.post(widgets, widget("shown", size=4)).ok()

    table = plane.table(f"{widgets}/shown")

    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["shown", 4]


def settled(plane: Plane, path: str) -> Document:
    """A list of a kind whose storage the real server may still be setting up (429, three seconds at most)."""
    answer = plane.get(path)
    for _ in range(3):
        if answer.code != 429:
            break
        # A watch that ends by itself is how this suite waits.
        plane.events("/api/v1/namespaces", seconds=1)
        answer = plane.get(path)
    return answer.ok()


def test_a_definition_goes_with_its_objects(plane: Plane):
    names = {"plural": "mayflies", "kind": "Mayfly", "singular": "mayfly"}
    version = {"name": "v1", "served": True, "storage": True,
               "schema": {"openAPIV3Schema": {"type": "object"}}}  # fmt: skip
    spec = {"group": "example.org", "scope": "Cluster", "names": names, "versions": [version]}
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    crd = {"metadata": {"name": "mayflies.example.org"}, "spec": spec}
    selected = {"fieldSelector": "metadata.name=mayflies.example.org"}
    plane.post(definitions, crd).ok()
    plane.events(definitions, **selected, seconds=2)
    plane.post("/apis/example.org/v1/mayflies", {
        "apiVersion": "example.org/v1", "kind": "Mayfly", "metadata": {"name": "a"}}).ok()  # fmt: skip

    plane.delete(f"{definitions}/mayflies.example.org").ok()
    plane.events(definitions, **selected, seconds=3)
    plane.post(definitions, crd).ok()
    plane.events(definitions, **selected, seconds=2)

    assert settled(plane, "/apis/example.org/v1/mayflies")["items"] == []


def test_the_official_client_creates_lists_and_watches(plane: Plane):
    space = plane.space()
    with kubernetes.config.new_client_from_config(str(plane.kubeconfig)) as connection:
        api = kubernetes.client.CoreV1Api(connection)
        made = api.create_namespaced_config_map(space, config_map("typed", x="1"))
        listed = api.list_namespaced_config_map(space, field_selector="metadata.name=typed")
        stream = kubernetes.watch.Watch().stream(
            api.list_namespaced_config_map, space, field_selector="metadata.name=typed",
            resource_version=listed.metadata.resource_version, timeout_seconds=2,
        )  # fmt: skip
        api.patch_namespaced_config_map("typed", space, {"data": {"x": "2"}})
        seen = [(event["type"], event["object"].data) for event in stream]
        with pytest.raises(kubernetes.client.ApiException) as refused:
            api.read_namespaced_config_map("absent", space)

    assert made.data == {"x": "1"}
    assert [one.metadata.name for one in listed.items] == ["typed"]
    assert seen == [("MODIFIED", {"x": "2"})]
    assert refused.value.status == 404
