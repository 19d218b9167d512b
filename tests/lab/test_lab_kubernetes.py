"""What only the lab's API server does: faults, identities, loss of etcd, restarts, the oplog, protobuf."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.lab.kubernetes_fixture import Identity, LabKubernetes, serving

MAPS = "/api/v1/namespaces/default/configmaps"


class Client:
    """Plain HTTP with one client certificate."""

    def __init__(
        self, lab: LabKubernetes, identity: Identity | None, agent: str = "tests/1"
    ) -> None:
        self._url = lab.url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(lab.ca)
        if identity:
            self.session.cert = (str(identity.certificate), str(identity.key))
        self.session.headers["User-Agent"] = agent

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        media = {"Content-Type": "application/json", **headers}
        return self.session.request(method, self._url + path, data=raw, headers=media, timeout=10)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabKubernetes]:
    with serving(tmp_path, "127.16.0.4") as served:
        yield served


@pytest.fixture
def admin(lab: LabKubernetes) -> Iterator[Client]:
    client = Client(lab, lab.admin)
    yield client
    client.session.close()


def config(name: str, **data: str) -> Any:
    return {"metadata": {"name": name}, "data": data}


def test_nobody_in_particular_is_unauthorized(lab: LabKubernetes):
    client = Client(lab, None)

    answer, health = client.call("GET", MAPS), client.call("GET", "/readyz")

    client.session.close()
    assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")
    assert health.text == "ok"


def test_a_stranger_is_forbidden(lab: LabKubernetes):
    client = Client(lab, lab.identity("jane", "people"))

    answer = client.call("GET", MAPS)

    client.session.close()
    assert answer.status_code == 403
    assert answer.json()["message"] == (
        'configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the '
        'namespace "default"'
    )


def test_a_stranger_learns_what_it_may_do(lab: LabKubernetes):
    client = Client(lab, lab.identity("jane", "people"))
    question = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}

    answer = client.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", question)

    client.session.close()
    assert answer.json()["status"] == {"allowed": False}


def test_objects_and_revisions_survive_a_restart(tmp_path: Path):
    with serving(tmp_path, "127.16.0.5") as lab:
        client = Client(lab, lab.admin)
        before = client.call("POST", MAPS, config("a", x="1")).json()
        client.session.close()

    with serving(tmp_path, "127.16.0.5") as lab:
        client = Client(lab, lab.admin)
        after = client.call("GET", f"{MAPS}/a").json()
        later = client.call("POST", MAPS, config("b")).json()
        gone = client.call("GET", f"{MAPS}?watch=1&resourceVersion=1&timeoutSeconds=1").json()
        client.session.close()

    assert after == before
    assert int(later["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
    assert (gone["code"], gone["reason"]) == (410, "Expired")


def test_without_etcd_nothing_can_be_read(lab: LabKubernetes, admin: Client):
    lab.api.available = lambda: False

    answer, health = admin.call("GET", MAPS), admin.call("GET", "/readyz")

    assert (answer.status_code, answer.json()["message"]) == (500, "etcdserver: request timed out")
    assert health.status_code == 500
    assert "[-]etcd failed" in health.text


def test_a_wiped_keyspace_starts_again(lab: LabKubernetes, admin: Client):
    admin.call("POST", MAPS, config("a"))

    lab.run(lab.api.wipe)

    names = [
        one["metadata"]["name"] for one in admin.call("GET", "/api/v1/namespaces").json()["items"]
    ]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
    assert admin.call("GET", MAPS).json()["items"] == []


def test_effects_are_in_the_oplog(lab: LabKubernetes):
    client = Client(lab, lab.admin, "windlass/0.1 (operation op-7; epoch 3)")
    client.call("POST", MAPS, config("a"))
    client.call("DELETE", f"{MAPS}/a")
    client.session.close()

    lines = [
        json.loads(line) for line in (lab.world.folder / "oplog.jsonl").read_text().splitlines()
    ]

    mine = [line for line in lines if line["run"] == "op-7"]
    assert [(line["verb"], line["target"], line["epoch"]) for line in mine] == [
        ("kubernetes.create", "ConfigMap/default/a", 3),
        ("kubernetes.delete", "ConfigMap/default/a", 3),
    ]
    assert mine[1]["before"] == mine[0]["after"]


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        ("k8s-429", 429, "too many requests"),
        ("k8s-500", 500, "Internal error occurred"),
        ("k8s-503", 503, "unable to handle the request"),
        ("k8s-leader-changed", 500, "etcdserver: leader changed"),
    ],
)
def test_a_fault_fires_as_often_as_it_was_set(
    lab: LabKubernetes, admin: Client, fault: str, code: int, text: str
):
    lab.run(lambda: lab.world.faults.set(fault, times=1, verb="create"))

    failed = admin.call("POST", MAPS, config("a"))
    listed = admin.call("GET", MAPS)
    passed = admin.call("POST", MAPS, config("a"))

    assert failed.status_code == code
    assert text in failed.json()["message"]
    assert (listed.status_code, passed.status_code) == (200, 201)


def test_a_throttled_call_says_when_to_come_again(lab: LabKubernetes, admin: Client):
    lab.run(lambda: lab.world.faults.set("k8s-429", times=1, retry_after_s=7))

    assert admin.call("GET", MAPS).headers["Retry-After"] == "7"


def test_a_lost_answer_has_taken_effect(lab: LabKubernetes, admin: Client):
    lab.run(lambda: lab.world.faults.set("k8s-lost-answer", times=1, verb="create"))

    with pytest.raises(requests.ConnectionError):
        admin.call("POST", MAPS, config("a"))

    assert admin.call("GET", f"{MAPS}/a").status_code == 200


def test_a_conflict_can_be_had_on_request(lab: LabKubernetes, admin: Client):
    admin.call("POST", MAPS, config("a"))
    lab.run(lambda: lab.world.faults.set("k8s-conflict", times=1))

    merge = {"Content-Type": "application/merge-patch+json"}
    first = admin.call("PATCH", f"{MAPS}/a", {"data": {"x": "1"}}, **merge)
    second = admin.call("PATCH", f"{MAPS}/a", {"data": {"x": "1"}}, **merge)

    assert (first.status_code, first.json()["reason"], second.status_code) == (409, "Conflict", 200)


def test_a_lagging_server_shows_the_past(lab: LabKubernetes, admin: Client):
    admin.call("POST", MAPS, config("old"))
    admin.call("POST", MAPS, config("new"))
    lab.run(lambda: lab.world.faults.set("k8s-stale", back=1))

    stale = admin.call("GET", f"{MAPS}?resourceVersion=0").json()["items"]
    fresh = admin.call("GET", MAPS).json()["items"]

    assert [one["metadata"]["name"] for one in stale] == ["old"]
    assert [one["metadata"]["name"] for one in fresh] == ["new", "old"]


@pytest.mark.parametrize("mode", ["answer", "event"])
def test_a_watch_can_be_gone(lab: LabKubernetes, admin: Client, mode: str):
    lab.run(lambda: lab.world.faults.set("k8s-watch-gone", times=1, mode=mode))

    answer = admin.call("GET", f"{MAPS}?watch=1&resourceVersion=5&timeoutSeconds=2")

    said = answer.json()
    status = said if mode == "answer" else said["object"]
    assert said.get("type") == ("ERROR" if mode == "event" else None)
    assert (status["code"], status["reason"]) == (410, "Expired")


def test_a_slow_answer_trickles(tmp_path: Path):
    with serving(tmp_path, "127.16.0.6", speed=500.0) as lab:
        client = Client(lab, lab.admin)
        lab.run(lambda: lab.world.faults.set("k8s-slow", times=1))

        answer = client.call("GET", f"{MAPS}/absent?x=1")
        slow = client.call("GET", MAPS)

        client.session.close()
        assert answer.status_code == 404
        assert slow.json()["items"] == []


def test_any_other_protobuf_is_refused(admin: Client):
    meta = b"\x0a\x02v1\x12\x09ConfigMap"
    body = b"k8s\x00" + b"\x0a" + bytes([len(meta)]) + meta

    answer = admin.call(
        "POST", MAPS, body, **{"Content-Type": "application/vnd.kubernetes.protobuf"}
    )

    assert (answer.status_code, answer.json()["reason"]) == (415, "UnsupportedMediaType")
    assert answer.json()["message"] == (
        "the body of the request was in an unknown format - accepted media types include: application/json, "
        "application/yaml; the lab reads Namespace and DeleteOptions as protobuf, not ConfigMap: send it as "
        "JSON, as kubectl apply and kubectl create -f do"
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/namespaces/default/serviceaccounts/default/token"),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
        ("GET", "/api/v1/namespaces/default/pods/p/exec"),
        ("GET", "/api/v1/nodes/n/proxy/stats"),
    ],
)
def test_what_the_lab_lacks_answers_501(admin: Client, method: str, path: str):
    answer = admin.call(method, path, {} if method == "POST" else None)

    assert answer.status_code == 501
    assert "the lab's Kubernetes API does not have" in answer.json()["message"]
