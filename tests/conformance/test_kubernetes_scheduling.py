"""Where pods go for the sake of other pods: upstream's scheduler and the lab's, each on its own API."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conformance.controlled_planes import NAMES, controlled_plane, until
from tests.conformance.kubernetes_peers import Document, Plane

# Node to zone.
ZONES = {"n1": "a", "n2": "a", "n3": "b"}
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


@pytest.fixture(scope="module", params=NAMES)
def controlled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp(request.param)
    with controlled_plane(request.param, folder, 7, speed=1.0) as plane:
        for name, zone in ZONES.items():
            labels = {HOST: name, ZONE: zone}
            plane.post("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}}).ok()
        yield plane


@pytest.fixture
def plane(controlled: Plane) -> Plane:
    """With three nodes in two zones that are ready."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    beat = {"lastHeartbeatTime": now, "reason": "KubeletReady", "message": now}
    status = {
        "allocatable": {"cpu": "64", "memory": "64Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True", **beat}],
    }
    for name in ZONES:
        controlled.strategic(f"/api/v1/nodes/{name}/status", {"status": status}).ok()
    until("the nodes are free", lambda: not any(taints(controlled, name) for name in ZONES))
    return controlled


def taints(plane: Plane, name: str) -> list[Document]:
    return plane.get(f"/api/v1/nodes/{name}").ok()["spec"].get("taints", [])


@pytest.fixture
def pods(plane: Plane) -> str:
    """The path of the pods of a new namespace."""
    return f"/api/v1/namespaces/{plane.space()}/pods"


def make(plane: Plane, pods: str, name: str, *, app: str = "", **spec: Any) -> None:
    container = {"name": "c", "image": "nginx:1", **spec.pop("container", {})}
    body = {
        "metadata": {"name": name, "labels": {"app": app or name}},
        "spec": {"automountServiceAccountToken": False, "containers": [container], **spec},
    }
    plane.post(pods, body).ok()


def place(plane: Plane, pods: str, name: str, **spec: Any) -> str:
    """Make a pod; the node that it is bound to."""
    make(plane, pods, name, **spec)
    until(f"{name} is bound", lambda: bool(node_of(plane, pods, name)))
    return node_of(plane, pods, name)


def node_of(plane: Plane, pods: str, name: str) -> str:
    return plane.get(f"{pods}/{name}").ok()["spec"].get("nodeName", "")


def refusal(plane: Plane, pods: str, name: str, **spec: Any) -> str:
    """Make a pod that fits nowhere; what the scheduler says of it."""
    make(plane, pods, name, **spec)
    until(f"{name} is refused", lambda: bool(said_of(plane, pods, name)))
    assert not node_of(plane, pods, name)
    events = plane.get(pods.replace("/pods", "/events")).ok()["items"]
    about = [one for one in events if one["involvedObject"]["name"] == name]
    assert {(one["type"], one["reason"]) for one in about} == {("Warning", "FailedScheduling")}
    return said_of(plane, pods, name)


def said_of(plane: Plane, pods: str, name: str) -> str:
    conditions = plane.get(f"{pods}/{name}").ok().get("status", {}).get("conditions", [])
    return next((one["message"] for one in conditions if one["type"] == "PodScheduled"), "")


def on(name: str) -> dict[str, Any]:
    return {"nodeSelector": {HOST: name}}


def terms(kind: str, app: str, key: str, **more: Any) -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key, **more}
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


def spread(app: str, key: str) -> dict[str, Any]:
    selector = {"matchLabels": {"app": app}}
    rule = {"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}
    return {"topologySpreadConstraints": [{**rule, "topologyKey": key}]}


def test_a_port_of_the_host_is_given_once(plane: Plane, pods: str):
    wants = {"container": {"ports": [{"containerPort": 80, "hostPort": 8081}]}}
    other = {"container": {"ports": [{"containerPort": 80, "hostPort": 8081, "protocol": "UDP"}]}}

    nodes = {place(plane, pods, f"p{n}", **wants) for n in range(3)}
    said = refusal(plane, pods, "late", **wants)

    assert nodes == set(ZONES)
    assert "3 node(s) didn't have free ports for the requested pod ports" in said
    assert place(plane, pods, "other", **other) in ZONES


def test_an_address_of_its_own_makes_a_port_another(plane: Plane, pods: str):
    def wants(address: str) -> dict[str, Any]:
        port = {"containerPort": 80, "hostPort": 8082, "hostIP": address}
        return {**on("n1"), "container": {"ports": [port]}}

    place(plane, pods, "one", **wants("127.0.0.1"))
    place(plane, pods, "two", **wants("127.0.0.2"))

    assert "free ports" in refusal(plane, pods, "all", **wants("0.0.0.0"))


def test_pods_that_avoid_each_other_are_one_a_zone(plane: Plane, pods: str):
    alone = terms("podAntiAffinity", "x", ZONE)

    zones = {ZONES[place(plane, pods, f"p{n}", app="x", **alone)] for n in range(2)}
    said = refusal(plane, pods, "late", app="x", **alone)

    assert zones == {"a", "b"}
    assert "3 node(s) didn't match pod anti-affinity rules" in said


def test_a_pod_that_wants_to_be_alone_keeps_others_away(plane: Plane, pods: str):
    place(plane, pods, "alone", **on("n3"), **terms("podAntiAffinity", "loud", ZONE))

    said = refusal(plane, pods, "loud", nodeSelector={ZONE: "b"})

    assert "1 node(s) didn't satisfy existing pods anti-affinity rules" in said


def test_a_pod_waits_for_the_one_it_wants_to_be_with(plane: Plane, pods: str):
    said = refusal(plane, pods, "follower", **terms("podAffinity", "leader", ZONE))

    place(plane, pods, "leader", **on("n3"))

    assert "3 node(s) didn't match pod affinity rules" in said
    until("it follows", lambda: node_of(plane, pods, "follower") == "n3")


def test_the_first_of_a_group_starts_anywhere(plane: Plane, pods: str):
    together = terms("podAffinity", "herd", HOST)

    nodes = {place(plane, pods, f"p{n}", app="herd", **together) for n in range(3)}

    assert len(nodes) == 1


def test_affinity_looks_into_other_namespaces_only_when_asked(plane: Plane, pods: str):
    elsewhere = f"/api/v1/namespaces/{plane.space()}/pods"
    place(plane, elsewhere, "leader", **on("n3"))

    said = refusal(plane, pods, "near-sighted", **terms("podAffinity", "leader", HOST))
    anywhere = terms("podAffinity", "leader", HOST, namespaceSelector={})

    assert "didn't match pod affinity rules" in said
    assert place(plane, pods, "far-sighted", **anywhere) == "n3"


def test_pods_are_spread_over_zones(plane: Plane, pods: str):
    nodes = [place(plane, pods, f"p{n}", app="wide", **spread("wide", ZONE)) for n in range(4)]

    assert sorted(ZONES[node] for node in nodes) == ["a", "a", "b", "b"]


def test_a_zone_that_is_out_of_reach_counts_for_the_balance_all_the_same(plane: Plane, pods: str):
    place(plane, pods, "first", app="wide", **on("n1"))
    place(plane, pods, "blocker", **on("n3"))
    wanted = {**spread("wide", ZONE), **terms("podAntiAffinity", "blocker", ZONE)}

    said = refusal(plane, pods, "second", app="wide", **wanted)

    assert "1 node(s) didn't match pod anti-affinity rules" in said
    assert "2 node(s) didn't match pod topology spread constraints" in said


def test_only_nodes_that_the_pod_selects_count_for_its_balance(plane: Plane, pods: str):
    wanted = {**spread("wide", ZONE), "nodeSelector": {ZONE: "a"}}

    nodes = {place(plane, pods, f"p{n}", app="wide", **wanted) for n in range(3)}

    assert {ZONES[node] for node in nodes} == {"a"}


def test_a_node_without_the_label_is_no_place_to_be_spread_to(plane: Plane, pods: str):
    said = refusal(plane, pods, "lost", **spread("lost", "example.org/rack"))

    why = "didn't match pod topology spread constraints (missing required label)"
    assert f"3 node(s) {why}" in said
