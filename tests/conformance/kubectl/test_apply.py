"""Objects that kubectl makes, applies both ways, compares and deletes."""

from typing import Any

from tests.conformance.kubectl.manifests import config, config_path, web, web_path
from tests.conformance.kubectl_peer import Kubectl


def test_create_namespace(kubectl: Kubectl):
    said = kubectl.run("create", "namespace", "made-by-kubectl")
    again = kubectl.run("create", "namespace", "made-by-kubectl", code=1)

    assert said == "namespace/made-by-kubectl created\n"
    assert '(AlreadyExists): namespaces "made-by-kubectl" already exists' in again
    found = kubectl.plane.get("/api/v1/namespaces/made-by-kubectl").ok()
    assert found["status"]["phase"] == "Active"


def test_apply_three_ways(kubectl: Kubectl, space: str):
    first = kubectl.run("apply", "-n", space, "-f", "-", manifest=config("a", x="1", z="1"))
    second = kubectl.run("apply", "-n", space, "-f", "-", manifest=config("a", x="2"))
    third = kubectl.run("apply", "-n", space, "-f", "-", manifest=config("a", x="2"))

    assert [first, second, third] == [
        "configmap/a created\n", "configmap/a configured\n", "configmap/a unchanged\n",
    ]  # fmt: skip
    assert kubectl.plane.get(config_path(space, "a")).ok()["data"] == {"x": "2"}


def test_apply_refuses_typing_errors(kubectl: Kubectl, space: str):
    manifest = {**config("a"), "dat": {"x": "1"}}

    said = kubectl.run("apply", "-n", space, "-f", "-", manifest=manifest, code=1)

    assert 'strict decoding error: unknown field "dat"' in said
    assert kubectl.plane.get(config_path(space, "a")).code == 404


def owners(doc: Any) -> dict[str, list[str]]:
    """Who owns which keys of the data."""
    return {
        entry["manager"]: sorted(entry["fieldsV1"].get("f:data", {}))
        for entry in doc["metadata"]["managedFields"]
    }


def test_server_side_apply_conflicts_and_is_forced(kubectl: Kubectl, space: str):
    apply = ("apply", "--server-side", "-n", space, "-f", "-")
    path = config_path(space, "a")
    kubectl.run(*apply, "--field-manager=gitops", manifest=config("a", x="1", z="1"))

    refused = kubectl.run(*apply, manifest=config("a", x="2"), code=1)
    kept = kubectl.plane.get(path).ok()
    forced = kubectl.run(*apply, "--force-conflicts", manifest=config("a", x="2"))
    taken = kubectl.plane.get(path).ok()

    assert 'Apply failed with 1 conflict: conflict with "gitops": .data.x' in refused
    assert "Please review the fields above--they currently have other managers." in refused
    assert kept["data"] == {"x": "1", "z": "1"}
    assert owners(kept) == {"gitops": ["f:x", "f:z"]}
    assert forced == "configmap/a serverside-applied\n"
    assert taken["data"] == {"x": "2", "z": "1"}
    assert owners(taken) == {"gitops": ["f:z"], "kubectl": ["f:x"]}


def test_diff_changes_nothing(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())
    before = kubectl.plane.get(web_path(space)).ok()

    same = kubectl.run("diff", "-n", space, "-f", "-", manifest=web())
    differs = kubectl.run("diff", "-n", space, "-f", "-", manifest=web(replicas=3), code=1)

    assert same == ""
    changed = [line for line in differs.splitlines() if line.startswith(("- ", "+ "))]
    assert [line for line in changed if "generation" not in line] == [
        "-  replicas: 1",
        "+  replicas: 3",
    ]
    assert kubectl.plane.get(web_path(space)).ok() == before


def test_delete(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=config("a"))

    said = kubectl.run("delete", "-n", space, "configmap", "a")
    again = kubectl.run("delete", "-n", space, "configmap", "a", code=1)

    assert said == f'configmap "a" deleted from {space} namespace\n'
    assert 'configmaps "a" not found' in again
    assert kubectl.plane.get(config_path(space, "a")).code == 404


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
    waited = kubectl.run("wait", "--for=condition=Established", "crd/gadgets.example.org",
                         "--timeout=20s")  # fmt: skip
    gadget = {"apiVersion": "example.org/v1", "kind": "Gadget", "metadata": {"name": "g"},
              "spec": {"size": 2}}  # fmt: skip

    said = kubectl.run("apply", "-n", space, "-f", "-", manifest=gadget)
    size = kubectl.run("get", "-n", space, "gadget", "g", "-o", "jsonpath={.spec.size}")

    assert (
        waited
        == "customresourcedefinition.apiextensions.k8s.io/gadgets.example.org condition met\n"
    )
    assert said == "gadget.example.org/g created\n"
    assert size == "2"
