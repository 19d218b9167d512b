"""What goes with its owner: upstream's garbage collector on the real API server, the lab's on the lab's."""

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.controlled_planes import NAMES, controlled_plane, until
from tests.conformance.kubernetes_peers import Answer, Document, Plane

HELD = "example.org/held"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module", params=NAMES)
def plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp(request.param)
    with controlled_plane(request.param, folder, 6, speed=20.0) as controlled:
        yield controlled


@pytest.fixture
def space(plane: Plane) -> str:
    """The path of a new namespace below a group and version."""
    return f"namespaces/{plane.space()}"


def maps(space: str) -> str:
    return f"/api/v1/{space}/configmaps"


def roles(space: str) -> str:
    return f"/apis/rbac.authorization.k8s.io/v1/{space}/roles"


def make(plane: Plane, where: str, name: str, *owners: Document, held: bool = False) -> Document:
    metadata = {"name": name, "ownerReferences": [*owners], "finalizers": [HELD] if held else []}
    return plane.post(where, {"metadata": metadata}).ok()


def owned_by(owner: Document, **more: Any) -> Document:
    meta = owner["metadata"]
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"]}
    return {**reference, "uid": meta["uid"], **more}


def owners_of(answer: Answer) -> list[str]:
    return [one["name"] for one in answer.ok()["metadata"].get("ownerReferences", [])]


def define(plane: Plane, plural: str, kind: str) -> str:
    """A new kind; the path of its group and version."""
    group = f"{uuid.uuid4().hex[:6]}.example.org"
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    plane.post(DEFINITIONS, {"metadata": {"name": f"{plural}.{group}"}, "spec": spec}).ok()
    path = f"/apis/{group}/v1"
    until("the kind is served", lambda: plane.get(f"{path}/{plural}").code == 200)
    return path


def make_custom(plane: Plane, path: str, space: str, name: str, *owners: Document) -> Document:
    """A Widget of a group and version that `define` made."""
    metadata = {"name": name, "ownerReferences": [*owners]}
    body = {"apiVersion": path.removeprefix("/apis/"), "kind": "Widget", "metadata": metadata}
    return plane.post(f"{path}/{space}/widgets", body).ok()


def test_a_dependent_of_any_kind_goes_with_its_owner(plane: Plane, space: str):
    owner = make(plane, maps(space), "owner")
    make(plane, roles(space), "dependent", owned_by(owner))

    plane.delete(f"{maps(space)}/owner", propagationPolicy="Background").ok()

    until("it is gone", lambda: plane.get(f"{roles(space)}/dependent").code == 404)


def test_custom_objects_own_and_are_owned(plane: Plane, space: str):
    path = define(plane, "widgets", "Widget")
    widgets = f"{path}/{space}/widgets"
    first = make_custom(plane, path, space, "first")
    second = make_custom(plane, path, space, "second", owned_by(first))
    make(plane, maps(space), "third", owned_by(second))

    plane.delete(f"{widgets}/first", propagationPolicy="Background").ok()

    until("the second is gone", lambda: plane.get(f"{widgets}/second").code == 404)
    until("the third is gone", lambda: plane.get(f"{maps(space)}/third").code == 404)


def test_a_dependent_of_nobody_goes(plane: Plane, space: str):
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": str(uuid.uuid4())}

    make(plane, roles(space), "dependent", nobody)

    until("it is gone", lambda: plane.get(f"{roles(space)}/dependent").code == 404)


def test_an_owner_of_another_namespace_is_none(plane: Plane, space: str):
    elsewhere = make(plane, maps(f"namespaces/{plane.space()}"), "owner")

    make(plane, maps(space), "dependent", owned_by(elsewhere))

    until("it is gone", lambda: plane.get(f"{maps(space)}/dependent").code == 404)


def test_whether_a_namespaced_owner_of_a_cluster_wide_object_is_there_cannot_be_told(
    plane: Plane, space: str
):
    owner = make(plane, maps(space), "owner")
    name = f"wide-{uuid.uuid4().hex[:6]}"
    wide = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    make(plane, wide, name, owned_by(owner))
    make(plane, wide, f"{name}-2", owned_by(owner, uid=str(uuid.uuid4())))
    make(plane, roles(space), "near", owned_by(owner))

    plane.delete(f"{maps(space)}/owner", propagationPolicy="Background").ok()

    until("what is near is gone", lambda: plane.get(f"{roles(space)}/near").code == 404)
    threading.Event().wait(1)
    assert plane.get(f"{wide}/{name}").code == 200
    assert plane.get(f"{wide}/{name}-2").code == 200


def test_a_dependent_stays_for_an_owner_that_stays(plane: Plane, space: str):
    going, staying = make(plane, maps(space), "going"), make(plane, maps(space), "staying")
    make(plane, roles(space), "dependent", owned_by(going), owned_by(staying))

    plane.delete(f"{maps(space)}/going", propagationPolicy="Background").ok()

    until(
        "one owner is left",
        lambda: owners_of(plane.get(f"{roles(space)}/dependent")) == ["staying"],
    )


def test_orphans_stay_without_their_owner(plane: Plane, space: str):
    owner = make(plane, maps(space), "owner")
    make(plane, roles(space), "dependent", owned_by(owner))

    plane.delete(f"{maps(space)}/owner", propagationPolicy="Orphan").ok()

    until("the owner is gone", lambda: plane.get(f"{maps(space)}/owner").code == 404)
    assert owners_of(plane.get(f"{roles(space)}/dependent")) == []


def test_in_the_foreground_an_owner_waits_for_those_that_block_it(plane: Plane, space: str):
    owner, other = make(plane, maps(space), "owner"), make(plane, maps(space), "other")
    make(plane, roles(space), "blocks", owned_by(owner, blockOwnerDeletion=True), held=True)
    make(plane, roles(space), "held", owned_by(owner), held=True)
    make(plane, roles(space), "shared", owned_by(owner, blockOwnerDeletion=True), owned_by(other))

    plane.delete(f"{maps(space)}/owner", propagationPolicy="Foreground").ok()

    until(
        "the dependents are told to go",
        lambda: all(
            "deletionTimestamp" in plane.get(f"{roles(space)}/{name}").ok()["metadata"]
            for name in ("blocks", "held")
        ),
    )
    until(
        "shared is shared no more",
        lambda: owners_of(plane.get(f"{roles(space)}/shared")) == ["other"],
    )
    assert plane.get(f"{maps(space)}/owner").code == 200
    plane.merge(f"{roles(space)}/blocks", {"metadata": {"finalizers": None}}).ok()
    until("the owner is gone", lambda: plane.get(f"{maps(space)}/owner").code == 404)
    assert plane.get(f"{roles(space)}/held").code == 200


def test_in_the_foreground_dependents_of_dependents_go_first(plane: Plane, space: str):
    owner = make(plane, maps(space), "owner")
    below = make(plane, roles(space), "below", owned_by(owner, blockOwnerDeletion=True))
    make(plane, maps(space), "lowest", owned_by(below, blockOwnerDeletion=True), held=True)

    plane.delete(f"{maps(space)}/owner", propagationPolicy="Foreground").ok()

    lowest = f"{maps(space)}/lowest"
    until("it was told", lambda: "deletionTimestamp" in plane.get(lowest).ok()["metadata"])
    finalizers = plane.get(f"{roles(space)}/below").ok()["metadata"]["finalizers"]
    assert finalizers == ["foregroundDeletion"]
    plane.merge(lowest, {"metadata": {"finalizers": None}}).ok()
    until("all are gone", lambda: plane.get(f"{maps(space)}/owner").code == 404)
    assert plane.get(f"{roles(space)}/below").code == 404


def test_a_circle_of_owners_does_not_hold_itself(plane: Plane, space: str):
    one = make(plane, maps(space), "one")
    two = make(plane, roles(space), "two", owned_by(one, blockOwnerDeletion=True))
    back = {"ownerReferences": [owned_by(two, blockOwnerDeletion=True)]}
    plane.merge(f"{maps(space)}/one", {"metadata": back}).ok()

    plane.delete(f"{maps(space)}/one", propagationPolicy="Foreground").ok()

    until("one is gone", lambda: plane.get(f"{maps(space)}/one").code == 404)
    until("two is gone", lambda: plane.get(f"{roles(space)}/two").code == 404)
