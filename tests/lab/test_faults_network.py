"""The way to the site on a bad day: silence, lost answers, answers without end, and certificates of others."""

import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.lab.faulty import PLANE, FaultyLab, faulty_lab
from windlass.cli import exits

NETWORK = "127.57.0.0/16"
NOWHERE = "127.57.250.1"
VM = f"vm/{PLANE}"
EVERY = ("GET", "POST", "PUT", "DELETE")
VMS = ("--until", "vms")
BEFORE_START = {"WINDLASS_FAILPOINT": "proxmox.start-vm/plane:pre_intent=term"}


@pytest.fixture
def lab(tmp_path: Path) -> Generator[FaultyLab]:
    with faulty_lab(tmp_path, NETWORK) as found:
        yield found


@contextmanager
def blackhole() -> Generator[str]:
    """A place where connecting is never answered: its queue is full and nobody empties it."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind((NOWHERE, 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(full.getsockname())
        yield f"{NOWHERE}:{full.getsockname()[1]}"


def reach_proxmox_at(lab: FaultyLab, place: str) -> None:
    reach = lab.document["reach"]
    lab.describe_reach({**reach, "pve1.lab:8006": place, "pve2.lab:8006": place})


def test_n1_a_silent_proxmox_is_named_and_nothing_is_planned(untouched: FaultyLab):
    lab = untouched
    lab.hurry(probe=1)

    with blackhole() as place:
        reach_proxmox_at(lab, place)
        failed = lab.boot(*VMS)

    assert failed.code == exits.FAILED
    assert failed.operation == ""
    assert "no Proxmox endpoint can be reached: pve1.lab:8006: " in failed.said


def test_n1_a_proxmox_that_falls_silent_fails_the_step_at_its_deadline_and_a_resume_goes_on(
    lab: FaultyLab,
):
    parked = lab.boot(*VMS, env=BEFORE_START)
    reach = lab.document["reach"]
    lab.hurry(probe=1, call=1, vm=1)

    with blackhole() as place:
        reach_proxmox_at(lab, place)
        failed = lab.resume(parked.operation)
    lab.describe_reach(reach)
    done = lab.resume(parked.operation)

    assert (failed.code, failed.state) == (exits.FAILED, "failed")
    assert "gave up waiting for proxmox.start-vm/" in failed.message
    assert "no Proxmox endpoint can be reached" in failed.message
    assert (done.code, done.state) == (exits.DONE, "done")
    assert lab.count("vm_start", VM) == 1


def test_n2_answers_that_are_lost_on_the_way_back_do_not_make_anything_happen_twice(
    lab: FaultyLab,
):
    lab.fault("pve-reset", "method=POST", "path=/nodes/pve1/qemu", "executed=1", times=1)
    lab.fault(
        "talos-reset-connection", "node=plane", "method=Bootstrap", "when=after", times=1
    )  # fmt: skip
    lab.fault("k8s-lost-answer", "agent=windlass", "verb=patch", "resource=namespaces", times=1)

    done = lab.boot()

    for name in ("pve-reset", "talos-reset-connection", "k8s-lost-answer"):
        assert lab.fired(name) == 1
    assert (done.code, done.state) == (exits.DONE, "done")
    assert lab.count("vm_create", VM) == 1
    assert lab.count("bootstrap") == 1


def test_n2_a_request_that_never_arrived_is_sent_once_more(lab: FaultyLab):
    lab.hurry(call=1)
    lab.fault("pve-reset", "method=POST", "path=/nodes/pve1/qemu", times=1)

    done = lab.boot(*VMS)

    assert lab.fired("pve-reset") == 1
    assert (done.code, done.state) == (exits.DONE, "done")
    assert lab.count("vm_create", VM) == 1


def test_n3_an_answer_of_one_byte_a_second_ends_with_the_deadline_of_the_call(
    untouched: FaultyLab,
):
    lab = untouched
    lab.hurry(probe=1)
    lab.fault("pve-slow", "path=/cluster/resources")

    failed = lab.boot(*VMS)

    assert lab.fired("pve-slow") >= 1
    assert failed.code == exits.FAILED
    assert "Proxmox gave no answer to GET /cluster/resources" in failed.said
    assert "deadline" in failed.said or "timed out" in failed.said


@pytest.mark.parametrize(
    "kind", ["expired", "not-yet-valid", "wrong-name", "wrong-ca", "self-signed"]
)
def test_n6_a_certificate_that_is_not_theirs_is_shown_no_credential(
    untouched: FaultyLab, kind: str
):
    lab, asked = untouched, len(untouched.requests(*EVERY))
    lab.fault("tls-wrong-certificate", f"kind={kind}")

    refused = lab.boot(*VMS)

    assert lab.fired("tls-wrong-certificate") >= 1
    assert refused.code == exits.REFUSED
    assert "Proxmox's certificate is not trusted, nothing was sent" in refused.said
    assert len(lab.requests(*EVERY)) == asked
