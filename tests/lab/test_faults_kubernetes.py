"""The Kubernetes API and its nodes on a bad day, by the fault's name."""

import http.client
import ssl
from base64 import b64decode
from collections.abc import Generator
from contextlib import closing
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tasks.connections import Connections
from tests.lab.faulty import FaultyLab, faulty_lab
from tests.serving import until
from tests.sweeping import judged
from windlass.cli import exits
from windlass.engine.journal import Journal
from windlass.engine.records import StepState
from windlass.errors import NotReadyError
from windlass.models.load import load_site

NETWORK = "127.58.0.0/16"
# Long enough for a machine to reboot between two looks.
SETTLE = timedelta(seconds=8)


@pytest.fixture
def lab(tmp_path: Path) -> Generator[FaultyLab]:
    with faulty_lab(tmp_path, NETWORK) as found:
        yield found


def test_k1_a_throttled_api_is_asked_again_until_it_answers(lab: FaultyLab):
    lab.fault("k8s-429", "agent=windlass", "retry_after_s=1", times=4)

    done = lab.boot()

    assert (done.code, done.state) == (exits.DONE, "done"), done.said
    assert lab.fired("k8s-429") == 4


def test_k1_an_api_that_stays_throttled_fails_the_step_with_its_own_words(lab: FaultyLab):
    lab.hurry(ready=3)
    lab.fault("k8s-429", "agent=windlass", "retry_after_s=1")

    failed = lab.boot()

    assert lab.fired("k8s-429") > 1
    assert (failed.code, failed.state) == (exits.FAILED, "failed")
    assert "gave up waiting for kubernetes.node-ready/" in failed.message
    assert "asks to wait 1 s" in failed.message


def test_k2_errors_of_the_server_on_reads_and_writes_change_nothing_in_the_end(lab: FaultyLab):
    lab.hurry(call=2)
    lab.fault("k8s-503", "agent=windlass", "verb=get", times=3)
    lab.fault("k8s-500", "agent=windlass", "verb=list", times=2)
    lab.fault("k8s-leader-changed", "agent=windlass", "verb=patch", times=1)

    done = lab.boot()

    assert (done.code, done.state) == (exits.DONE, "done"), done.said
    assert [lab.fired(name) for name in ("k8s-503", "k8s-500", "k8s-leader-changed")] == [3, 2, 1]


@pytest.mark.parametrize("mode", ["status", "event"])
def test_k3_where_everybody_elses_watches_are_gone_every_gate_that_passed_is_true(
    lab: FaultyLab, mode: str
):
    lab.fault("k8s-watch-gone", f"mode={mode}", times=20)

    done = lab.boot()

    assert (done.code, done.state) == (exits.DONE, "done"), done.said
    assert lab.fired("k8s-watch-gone") == 20
    assert judged(lab, done.steps) == []


def test_k3_windlass_itself_reads_and_never_watches_so_it_has_no_event_to_miss(lab: FaultyLab):
    lab.fault("k8s-watch-gone", "agent=windlass")

    done = lab.boot()
    by_windlass = lab.fired("k8s-watch-gone")
    watching = asked(lab, "/api/v1/nodes?watch=true", agent="windlass/0.0 (as it would be)")

    assert (done.code, done.state) == (exits.DONE, "done")
    assert by_windlass == 0
    assert (watching, lab.fired("k8s-watch-gone")) == (HTTPStatus.GONE, 1)


def test_k12_a_node_that_gives_no_sign_is_not_ready_until_it_does(lab: FaultyLab):
    lab.hurry(ready=3)
    lab.fault("kubelet-silent", "node=worker")

    failed = lab.boot()
    struck = lab.fired("kubelet-silent")
    lab.heal()
    lab.hurry(ready=60)
    done = lab.resume(failed.operation)

    assert struck > 0
    assert (failed.code, failed.state) == (exits.FAILED, "failed")
    assert failed.steps["kubernetes.node-ready/worker"]["state"] == "failed"
    assert "worker is not Ready: " in failed.steps["kubernetes.node-ready/worker"]["message"]
    assert (done.code, done.state) == (exits.DONE, "done")


def test_k12_what_a_node_was_before_it_flapped_does_not_count(lab: FaultyLab):
    lab.hurry(settle=SETTLE.total_seconds())
    booting = lab.start("bootstrap", str(lab.site_file), "--apply", "--local", "--yes")
    try:
        until("the worker to be Ready and looked at", lambda: is_looked_at(lab))
        lab.fault("node-flap", "node=worker", times=1)
        flap = until("the flap", lambda: rebooted(lab))
        during = gate(lab)
    finally:
        said, _ = booting.communicate(timeout=120)

    after = gate(lab)
    assert lab.fired("node-flap") == 1
    assert booting.returncode == exits.DONE, said
    assert (during.state, after.state) == ("running", "done")
    assert after.ended is not None
    assert after.ended - datetime.fromisoformat(flap["time"]) > SETTLE
    assert after.evidence is not None
    assert after.evidence["boot_id"] not in (None, flap["before"])


def asked(lab: FaultyLab, path: str, agent: str) -> int:
    """What the API answers the administrator who asks in somebody's name."""
    connect = Connections(load_site(lab.site_file), agent)
    kubeconfig = yaml.safe_load(connect.kubeconfig_path.read_text())
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    pair = lab.folder / "administrator.pem"
    pair.write_bytes(
        b64decode(user["client-certificate-data"]) + b64decode(user["client-key-data"])
    )
    tls = ssl.create_default_context(
        cadata=b64decode(cluster["certificate-authority-data"]).decode()
    )
    tls.load_cert_chain(pair)
    tls.check_hostname = False
    connection = http.client.HTTPSConnection(
        urlsplit(str(cluster["server"])).netloc, context=tls, timeout=10
    )
    with closing(connection):
        connection.request("GET", path, headers={"User-Agent": agent})
        return connection.getresponse().status


def gate(lab: FaultyLab) -> StepState:
    journal = Journal.open(lab.home)
    return journal.step_state(journal.operations()[0].id, "kubernetes.node-ready/worker")


def is_looked_at(lab: FaultyLab) -> None:
    """The gate is at work and the node is well: one look would be enough for a gate that believes in one."""
    if not Journal.open(lab.home).operations() or gate(lab).state != "running":
        raise NotReadyError("nobody looks")
    with Connections(load_site(lab.site_file), "somebody").kubernetes() as kubernetes:
        if not any(node.ready for node in kubernetes.nodes() if node.name == "worker"):
            raise NotReadyError("it is not Ready")


def rebooted(lab: FaultyLab) -> dict[str, Any]:
    """The reboot that nobody asked for."""
    found = [e for e in lab.oplog() if (e["verb"], e["run"]) == ("reboot", "lab")]
    if not found:
        raise NotReadyError("it has not rebooted")
    return found[0]
