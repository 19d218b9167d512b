"""The judges themselves: what is planted in a request, an answer or a refusal is seen, in the running lab too."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import requests
from aiohttp import web

from tests.conformance.pve import calls
from tests.conformance.pve.contract import request_problems
from tests.conformance.pve.refusals import UNKNOWN, Refused, body_problems, refusal_problems
from tests.conformance.pve.replies import reply_problems
from tests.conformance.pve.verdict import answer_faults, request_faults
from tests.lab.proxmox_fixture import Pve
from windlass.lab.proxmox import server
from windlass.lab.proxmox.parameters import table
from windlass.lab.proxmox.refusals import Refusal
from windlass.lab.proxmox.routing import ROUTES, Call

CREATE = "/nodes/{node}/qemu"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"onboot": "True"}, "onboot: type check"),
        ({"memoryy": "2048"}, "memoryy: is not defined"),
        ({"scsi31": "tank:4"}, "scsi31: is not defined"),
        ({"net0": "virtio=BC:24:11:00:00:01,bridg=vmbr0"}, "net0: invalid key 'bridg'"),
        ({"net0": "virtio,bridge=a,bridge=b"}, "net0: duplicate key 'bridge'"),
        ({"net0": "bridge=vmbr0"}, "net0: missing key 'model'"),
        ({"net0": "virtio=01:24:11:00:00:01"}, "is no mac-addr"),
        ({"cores": "0"}, "cores: 0 is below 1"),
        ({"bios": "uefi"}, "bios: 'uefi' is none of"),
        ({"force": "1"}, "archive: is required by force"),
        ({"description": "x" * 9000}, "description: longer than 8192"),
        ({"storage": "-"}, "storage: '-' is no pve-storage-id"),
    ],
)
def test_the_judge_sees_what_is_wrong(given: dict[str, str], problem: str):
    found = request_problems("POST", CREATE, {"node": "pve1", "vmid": "100"} | given)

    assert len(found) == 1
    assert problem in found[0]


def test_the_judge_has_nothing_against_what_is_right():
    given = {"node": "pve1", "vmid": "100", "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=150"}

    assert request_problems("POST", CREATE, given | {"scsi0": "tank:4,ssd=on", "onboot": "1"}) == []


def test_the_judge_misses_what_is_missing():
    assert request_problems("POST", CREATE, {"node": "pve1"}) == ["vmid: is missing"]


@pytest.mark.parametrize(
    ("path", "answer", "problem"),
    [
        ("/nodes/{node}/tasks/{upid}/status", {"status": "running"}, "data.upid is missing"),
        ("/cluster/status", {}, "data is no array"),
        ("/nodes/{node}/time", {"localtime": "noon"}, "data.localtime is 'noon', not integer"),
        ("/cluster/resources", [{"id": "a", "type": ["vm"]}], "data[0].type is ['vm'], not string"),
        ("/version", None, "data is null, not object"),
    ],
)  # fmt: skip
def test_the_judge_sees_an_answer_of_another_shape(path: str, answer: Any, problem: str):
    assert problem in reply_problems("GET", path, answer)


GOOD = Refused(
    "POST", CREATE, {"node": "pve1", "vmid": "100", "cores": "0"}, 400, "Parameter verification failed.",
    {"cores": "value must have a minimum value of 1\n"},
)  # fmt: skip
DENIED = replace(GOOD, given={"node": "pve1", "vmid": "100"}, status=403, errors={})
DESTROY = replace(DENIED, method="DELETE", route="/nodes/{node}/qemu/{vmid}")


@pytest.mark.parametrize(
    ("refused", "problem"),
    [
        (replace(GOOD, status=404), "404 is no refusal of Proxmox VE"),
        (replace(GOOD, errors={}), "400 with errors {}"),
        (replace(GOOD, reason="Bad Request"), "400 Bad Request"),
        (replace(GOOD, errors={"memory": "too much\n"}), "is not named"),
        (replace(GOOD, errors={"cores": "too few"}), "does not end its line"),
        (replace(GOOD, errors={"cores": UNKNOWN}), "cores: the contract does not say"),
        (replace(DENIED, reason="Forbidden"), "is no permission check"),
        (replace(DESTROY, reason="Permission check failed (/vms/100, VM.Audit)"), "['VM.Audit'] are not what"),
        (replace(DENIED, status=500, reason=""), "'' is no reason phrase"),
        (replace(DENIED, status=501, reason="Method 'POST /x' not implemented"), "is served and not implemented"),
    ],
)  # fmt: skip
def test_the_judge_sees_a_refusal_of_another_kind(refused: Refused, problem: str):
    found = refusal_problems(refused)

    assert any(problem in one for one in found), found


def test_the_judge_has_nothing_against_a_refusal_that_is_right():
    assert refusal_problems(GOOD) == []


@contextmanager
def planted(method: str, path: str, **different: Any) -> Generator[None]:
    """One route of the lab is another while the block runs."""
    place = next(
        n for n, route in enumerate(ROUTES) if (route.method, route.path) == (method, path)
    )
    right = ROUTES[place]
    ROUTES[place] = replace(right, **different)
    try:
        yield
    finally:
        ROUTES[place] = right


def asked_since(pve: Pve, before: int) -> list[dict[str, Any]]:
    return pve.requests()[before:]


def test_a_wrong_answer_of_the_lab_is_seen(pve: Pve, session: requests.Session):
    async def without_time(_call: Call) -> Any:
        return {"localtime": 1, "timezone": "UTC"}

    before = len(pve.requests())
    with planted("GET", "/nodes/{node}/time", handler=without_time):
        calls.windlass(pve, session).data("GET", "/nodes/pve1/time")

    assert answer_faults(asked_since(pve, before)) == {
        "GET /nodes/{node}/time: data.time is missing"
    }


def test_a_wrong_parameter_that_the_lab_would_take_is_seen(pve: Pve, session: requests.Session):
    before = len(pve.requests())
    with planted("GET", "/pools", parameters=table("poolid?:s pool?:s")):
        calls.windlass(pve, session).data("GET", "/pools", {"pool": "mine"})

    assert request_faults(asked_since(pve, before)) == {"GET /pools: pool: is not defined"}


def test_a_wrong_refusal_of_the_lab_is_seen(pve: Pve, session: requests.Session):
    async def not_found(_call: Call) -> Any:
        raise Refusal("Not Found", status=404)

    before = len(pve.requests())
    with planted("GET", "/version", handler=not_found):
        calls.windlass(pve, session).send("GET", "/version")

    assert answer_faults(asked_since(pve, before)) == {
        "GET /version: 404 is no refusal of Proxmox VE"
    }


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"data": None}, "the body has ['data']"),
        ({"data": [], "message": "no such thing\n"}, "data is []"),
        ({"data": None, "message": "another thing\n"}, "the reason is 'no such thing'"),
    ],
)
def test_a_refusal_with_another_body_is_seen(
    pve: Pve, session: requests.Session, monkeypatch: pytest.MonkeyPatch, body: Any, problem: str
):
    def refuse(_refusal: Refusal) -> web.Response:
        return web.json_response(body, status=500, reason="no such thing")

    monkeypatch.setattr(server, "refuse", refuse)
    answer = calls.windlass(pve, session).send("GET", "/nodes/pve9/status")

    found = body_problems(answer)
    assert found[0] == "the connection is not closed"
    assert found[1].startswith(problem)
