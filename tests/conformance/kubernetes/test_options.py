"""What the options of a call change, on the real API server and on the lab's."""

import threading

import pytest

from tests.conformance.kubernetes.makers import bound_pod
from tests.conformance.kubernetes_peers import Document, Plane


def make(plane: Plane, maps: str, *names: str, finalizers: tuple[str, ...] = ()) -> None:
    for name in names:
        metadata = {"name": name, "labels": {"name": name}, "finalizers": [*finalizers]}
        plane.post(maps, {"metadata": metadata}).ok()


# Deletion


def test_deletion_options_may_stand_in_the_query(plane: Plane, maps: str):
    make(plane, maps, "foreground", "orphaned", "background")

    foreground = plane.delete(f"{maps}/foreground", propagationPolicy="Foreground").ok()
    orphaned = plane.delete(f"{maps}/orphaned", orphanDependents="true").ok()
    background = plane.delete(f"{maps}/background", propagationPolicy="Background").ok()

    assert foreground["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert orphaned["metadata"]["finalizers"] == ["orphan"]
    assert background["kind"] == "Status"


def test_the_query_says_how_long_a_pod_may_take(plane: Plane):
    space = plane.space()
    seven, at_once = bound_pod(plane, space, "seven"), bound_pod(plane, space, "at-once")

    marked = plane.delete(seven, gracePeriodSeconds="7").ok()
    plane.delete(at_once, gracePeriodSeconds="0").ok()

    assert marked["metadata"]["deletionGracePeriodSeconds"] == 7
    assert plane.get(at_once).code == 404


def test_a_negative_grace_period_is_one_second(plane: Plane):
    path = bound_pod(plane, plane.space(), "p")

    marked = plane.delete(path, {"gracePeriodSeconds": -3}).ok()

    assert marked["metadata"]["deletionGracePeriodSeconds"] == 1


def test_a_body_takes_the_place_of_the_query(plane: Plane, maps: str):
    make(plane, maps, "a")

    answer = plane.delete(
        f"{maps}/a", {"propagationPolicy": "Background"}, propagationPolicy="No", dryRun="All"
    )

    assert answer.code == 200
    assert plane.get(f"{maps}/a").code == 404


_BOTH = "orphanDependents and deletionPropagation cannot be both set"


@pytest.mark.parametrize(
    ("options", "field", "says"),
    [
        (
            {"propagationPolicy": "No"},
            "propagationPolicy",
            'Unsupported value: "No": supported values: "Foreground", "Background", "Orphan", "nil"',
        ),
        (
            {"propagationPolicy": "Orphan", "orphanDependents": True},
            "propagationPolicy",
            f'Invalid value: "Orphan": {_BOTH}',
        ),
        (
            {"dryRun": ["Some"]},
            "dryRun",
            'Unsupported value: ["Some"]: supported values: "All"',
        ),
    ],
)
def test_impossible_deletion_options_are_refused_wherever_they_stand(
    plane: Plane, maps: str, options: Document, field: str, says: str
):
    make(plane, maps, "a")
    as_query = {key: "Some" if key == "dryRun" else one for key, one in options.items()}

    answers = [
        plane.delete(f"{maps}/a", options),
        plane.delete(f"{maps}/a", **as_query),
        plane.delete(maps, **as_query),
    ]

    about = 'DeleteOptions.meta.k8s.io "" is invalid'
    assert [one.code for one in answers] == [422] * 3
    assert {one.doc["message"] for one in answers} == {f"{about}: {field}: {says}"}
    assert plane.get(f"{maps}/a").code == 200


def test_a_deleted_collection_is_answered_as_it_was(plane: Plane, maps: str):
    make(plane, maps, "a", "b", "stays")
    make(plane, maps, "held", finalizers=("example.org/held",))

    answer = plane.delete(maps, labelSelector="name in (a,b,held)").ok()

    assert answer["kind"] == "ConfigMapList"
    assert [one["metadata"]["name"] for one in answer["items"]] == ["a", "b", "held"]
    assert not any("deletionTimestamp" in one["metadata"] for one in answer["items"])
    left = plane.get(maps, labelSelector="name").ok()["items"]
    assert [one["metadata"]["name"] for one in left] == ["held", "stays"]
    assert "deletionTimestamp" in left[0]["metadata"]


def test_a_limit_bounds_what_a_collection_loses(plane: Plane, maps: str):
    make(plane, maps, "a", "b", "c")

    answer = plane.delete(maps, labelSelector="name", limit="2").ok()

    assert [one["metadata"]["name"] for one in answer["items"]] == ["a", "b"]
    assert answer["metadata"]["continue"]
    left = plane.get(maps, labelSelector="name").ok()["items"]
    assert [one["metadata"]["name"] for one in left] == ["c"]


def test_a_collection_goes_as_the_query_asks(plane: Plane, maps: str):
    make(plane, maps, "a", "b")

    plane.delete(maps, labelSelector="name=a", propagationPolicy="Foreground").ok()
    plane.delete(maps, labelSelector="name=b", dryRun="All").ok()

    assert plane.get(f"{maps}/b").code == 200
    metadata = plane.get(f"{maps}/a").doc["metadata"]
    # Where a garbage collector runs, it may have been there already.
    assert metadata.get("finalizers") == ["foregroundDeletion"] or plane.name == "realplane"


@pytest.mark.parametrize("how", ["patch", "update"])
def test_the_last_finalizer_and_the_object_go_in_one_commit(plane: Plane, maps: str, how: str):
    make(plane, maps, "a", finalizers=("example.org/held",))
    marked = plane.delete(f"{maps}/a").ok()["metadata"]
    freed: Document = {"metadata": {"name": "a", "finalizers": None}, "data": {"x": "1"}}

    call = plane.merge if how == "patch" else plane.put
    answer = call(f"{maps}/a", freed).ok()

    assert answer["metadata"]["resourceVersion"] == marked["resourceVersion"]
    assert "finalizers" not in answer["metadata"]
    assert answer["data"] == {"x": "1"}
    events = plane.events(maps, seconds=1, resourceVersion=marked["resourceVersion"])
    assert [event["type"] for event in events] == ["DELETED"]
    last = events[0]["object"]
    assert last["metadata"]["finalizers"] == ["example.org/held"]
    assert int(last["metadata"]["resourceVersion"]) > int(marked["resourceVersion"])
    assert "data" not in last


def test_a_dry_run_takes_the_last_finalizer_off_nothing(plane: Plane, maps: str):
    make(plane, maps, "a", finalizers=("example.org/held",))
    plane.delete(f"{maps}/a").ok()

    plane.merge(f"{maps}/a", {"metadata": {"finalizers": None}}, dryRun="All").ok()

    assert plane.get(f"{maps}/a").ok()["metadata"]["finalizers"] == ["example.org/held"]


# Evictions


def budget_for(plane: Plane, space: str, name: str) -> str:
    """A budget that allows one disruption; returns its path."""
    path = f"/apis/policy/v1/namespaces/{space}/poddisruptionbudgets"
    spec = {"minAvailable": 0, "selector": {"matchLabels": {"app": name}}}
    plane.post(path, {"metadata": {"name": name}, "spec": spec}).ok()
    if plane.name == "lab":
        # No controller runs behind this one.
        status = {"disruptionsAllowed": 1, "currentHealthy": 1, "expectedPods": 1}
        plane.merge(
            f"{path}/{name}/status",
            {"status": {**status, "desiredHealthy": 0, "observedGeneration": 1}},
        ).ok()
    for _ in range(100):
        if plane.get(f"{path}/{name}").ok().get("status", {}).get("disruptionsAllowed") == 1:
            return f"{path}/{name}"
        threading.Event().wait(0.1)
    pytest.fail("the budget never allowed a disruption")


@pytest.mark.parametrize("where", ["body", "query"])
def test_a_dry_eviction_takes_nothing_from_the_budget(plane: Plane, where: str):
    space = plane.space()
    path = bound_pod(plane, space, "web", app="web")
    budget = budget_for(plane, space, "web")
    eviction: Document = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "web"},
    }
    if where == "body":
        eviction["deleteOptions"] = {"dryRun": ["All"]}

    answer = plane.post(
        f"{path}/eviction", eviction, **({"dryRun": "All"} if where == "query" else {})
    )

    assert answer.code == 201
    status = plane.get(budget).ok()["status"]
    assert status["disruptionsAllowed"] == 1
    assert "disruptedPods" not in status
    assert "deletionTimestamp" not in plane.get(path).ok()["metadata"]


# Definitions


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        ([None], ["spec.versions[0].name"]),
        (["v1", None], ["spec.versions[1].name"]),
        (["V_1"], ["spec.versions[0].name", "spec.version"]),
    ],
)
def test_a_version_of_a_definition_has_a_proper_name(
    plane: Plane, names: list[str | None], fields: list[str]
):
    schema = {"openAPIV3Schema": {"type": "object"}}
    versions: list[Document] = [
        {
            "served": True,
            "storage": index == 0,
            "schema": schema,
            **({"name": name} if name else {}),
        }
        for index, name in enumerate(names)
    ]
    kind = {"plural": "things", "kind": "Thing"}
    spec = {"group": "example.org", "scope": "Cluster", "names": kind, "versions": versions}

    answer = plane.post(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        {"metadata": {"name": "things.example.org"}, "spec": spec},
    )

    assert answer.code == 422
    causes = answer.doc["details"]["causes"]
    assert [one["field"] for one in causes] == fields
    assert all("a DNS-1035 label must consist of" in one["message"] for one in causes)
