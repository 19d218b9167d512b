"""The Kubernetes API and its nodes on a bad day, by the fault's name."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.lab.faulty import FaultyLab, faulty_lab
from windlass.cli import exits

NETWORK = "127.58.0.0/16"


@pytest.fixture
def lab(tmp_path: Path) -> Generator[FaultyLab]:
    with faulty_lab(tmp_path, NETWORK) as found:
        yield found


def fired(lab: FaultyLab, name: str) -> int:
    return next(fault["fired"] for fault in lab.active_faults() if fault["name"] == name)


def test_k1_a_throttled_api_is_asked_again_until_it_answers(lab: FaultyLab):
    lab.fault("k8s-429", "agent=windlass", "retry_after_s=1", times=4)

    done = lab.boot()

    assert fired(lab, "k8s-429") == 4
    assert (done.code, done.state) == (exits.DONE, "done")


def test_k1_an_api_that_stays_throttled_fails_the_step_with_its_own_words(lab: FaultyLab):
    lab.hurry(ready=3)
    lab.fault("k8s-429", "agent=windlass", "retry_after_s=1")

    failed = lab.boot()

    assert (failed.code, failed.state) == (exits.FAILED, "failed")
    assert "gave up waiting for kubernetes.node-ready/" in failed.message
    assert "asks to wait 1 s" in failed.message


def test_k2_errors_of_the_server_on_reads_and_writes_change_nothing_in_the_end(lab: FaultyLab):
    lab.hurry(call=2)
    lab.fault("k8s-503", "agent=windlass", "verb=get", times=3)
    lab.fault("k8s-500", "agent=windlass", "verb=list", times=2)
    lab.fault("k8s-leader-changed", "agent=windlass", "verb=patch", times=1)

    done = lab.boot()

    assert [fired(lab, name) for name in ("k8s-503", "k8s-500", "k8s-leader-changed")] == [3, 2, 1]
    assert (done.code, done.state) == (exits.DONE, "done")


@pytest.mark.parametrize("mode", ["status", "event"])
def test_k3_a_watch_that_is_gone_is_listed_again_and_no_gate_is_passed_by_what_was_missed(
    lab: FaultyLab, mode: str
):
    lab.fault("k8s-watch-gone", f"mode={mode}", times=20)

    done = lab.boot()

    assert fired(lab, "k8s-watch-gone") == 20
    assert (done.code, done.state) == (exits.DONE, "done")


def test_k12_a_node_that_gives_no_sign_is_not_ready_until_it_does(lab: FaultyLab):
    lab.hurry(ready=3)
    lab.fault("pod-unready", "namespace=kube-flannel", "node=worker")
    lab.fault("kubelet-silent", "node=worker")

    failed = lab.boot()
    lab.heal()
    lab.hurry(ready=60)
    done = lab.resume(failed.operation)

    assert (failed.code, failed.state) == (exits.FAILED, "failed")
    assert failed.steps["kubernetes.node-ready/worker"]["state"] == "failed"
    assert (done.code, done.state) == (exits.DONE, "done")


def test_k12_one_good_look_at_a_flapping_node_is_not_enough(lab: FaultyLab):
    lab.hurry(settle=1)
    lab.fault("node-flap", "node=worker", times=2)

    done = lab.boot()

    ready = done.steps["kubernetes.node-ready/worker"]
    assert (done.code, done.state) == (exits.DONE, "done")
    assert ready["state"] == "done"
    assert fired(lab, "node-flap") == 2
