"""Every refusal that the published contract tells: wrong parameters, missing privileges, calls that are not there."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.conformance.pve import calls
from tests.conformance.pve.calls import Caller, Given
from tests.conformance.pve.contract import COUNTS, Schema, contract, parameters, wrong_parameters
from tests.conformance.pve.refusals import (
    body_problems,
    denial_of_nobody,
    refusal_problems,
    refused_by,
)
from tests.lab.proxmox_fixture import ISO_URL, VM, Pve, with_vm
from windlass.lab.proxmox.routing import ROUTES, Route

ROUTE = {f"{route.method} {route.path}": route for route in ROUTES}
# What a call needs, wherever it needs it.
NEEDED: Given = {
    "node": "pve1", "vmid": str(VM["vmid"]), "storage": "local", "volume": "local:iso/talos.iso", "snapname": "before",
    "userid": "windlass@pve", "tokenid": "windlass", "roleid": "Windlass", "id": "gpu", "username": "root@pam",
    "password": "not this", "path": "/vms", "roles": "Windlass", "poolid": "some", "map": calls.PCI,
    "filename": "talos.iso", "size": "1G", "url": ISO_URL, "content": "iso", "newid": "8102", "disk": "scsi0",
    "feature": "snapshot",
}  # fmt: skip
# Wrong for one parameter or another; the contract says for which.
CANDIDATES = ("True", "-1", "0", "99999999999", "!", "nokey=1", "x" * 5000)


@pytest.fixture(scope="module")
def given(pve: Pve) -> Given:
    """With a VM, an image and a task that is over."""
    with_vm(pve)
    return NEEDED | {"upid": pve.data("GET", "/cluster/tasks")[0]["upid"]}


@pytest.fixture(scope="module")
def admin(pve: Pve, session: requests.Session) -> Caller:
    return calls.root(pve, session)


@pytest.fixture(scope="module")
def nobody(pve: Pve, session: requests.Session) -> Caller:
    return calls.nobody(pve, session)


def smallest(route: Route, values: Given) -> Given:
    """What the contract insists on, and what stands in the path."""
    return {
        name: values[name]
        for name, one in parameters(route.method, route.path).items()
        if f"{{{name}}}" in route.path or (not one.get("optional") and "[n]" not in name)
    }


def send(caller: Caller, route: Route, given: Given) -> requests.Response:
    inside = {name for name in given if f"{{{name}}}" in route.path}
    rest = {name: value for name, value in given.items() if name not in inside}
    return caller.send(route.method, route.path.format_map(given), rest)


def problems(route: Route, given: Given, answer: requests.Response) -> list[str]:
    refused = refused_by(route.method, route.path, given, answer)
    return [*refusal_problems(refused), *body_problems(answer)]


def single(known: dict[str, Schema], *, beyond: bool = True) -> Iterator[str]:
    """Each parameter; of the numbered ones the first and, `beyond`, the one after the last."""
    for name in known:
        base, numbered, _ = name.partition("[n]")
        yield f"{base}0" if numbered else name
        if numbered and beyond:
            yield f"{base}{COUNTS[base]}"


def is_refused_by_name(caller: Caller, route: Route, asked: Given) -> bool:
    """Whether the lab has against a request what the contract has, and says it as Proxmox does."""
    answer = send(caller, route, asked)
    refused = refused_by(route.method, route.path, asked, answer)
    named = set(wrong_parameters(route.method, route.path, asked))
    if (refused.status, set(refused.errors)) != (400, named):
        return False
    return not [*refusal_problems(refused), *body_problems(answer)]


def test_the_lab_takes_no_parameter_that_proxmox_has_not():
    invented = {
        call: found
        for call, route in ROUTE.items()
        if (
            found := {
                name
                for name in route.parameters
                if wrong_parameters(route.method, route.path, {name: "1"}).get(name)
                == ["is not defined"]
            }
        )
    }

    assert invented == {}


@pytest.mark.parametrize("call", list(ROUTE))
def test_the_lab_knows_every_parameter_of_a_call(call: str):
    route = ROUTE[call]

    assert set(single(parameters(route.method, route.path), beyond=False)) <= set(route.parameters)


@pytest.mark.parametrize("call", list(ROUTE))
def test_what_the_contract_calls_wrong_is_refused_by_name(admin: Caller, given: Given, call: str):
    route = ROUTE[call]
    least = smallest(route, given)
    in_path = {name for name in least if f"{{{name}}}" in route.path}
    lax: set[str] = set()

    for name in {"nope", *single(parameters(route.method, route.path))} - in_path:
        wrong = [
            asked
            for value in CANDIDATES
            if wrong_parameters(route.method, route.path, asked := least | {name: value})
        ]
        if not all(is_refused_by_name(admin, route, asked) for asked in wrong):
            lax.add(name)

    assert lax == set()


def test_what_is_missing_is_refused_by_name(admin: Caller, given: Given):
    wrong: set[str] = set()
    tried = 0

    for call, route in ROUTE.items():
        least = smallest(route, given)
        asked = {name: value for name, value in least.items() if f"{{{name}}}" in route.path}
        if asked != least:
            tried += 1
            if not is_refused_by_name(admin, route, asked):
                wrong.add(call)

    assert tried > 15
    assert wrong == set()


@pytest.mark.parametrize("call", list(ROUTE))
def test_who_was_granted_nothing_is_told_what_is_lacking(nobody: Caller, given: Given, call: str):
    route = ROUTE[call]
    asked = smallest(route, given)
    expected = denial_of_nobody(route.method, route.path, asked)
    if expected is not None:
        # Proxmox looks at privileges before it looks at parameters.
        asked |= {"nope": "1"}

    answer = send(nobody, route, asked)

    if expected is not None:
        assert answer.status_code == 403
        assert re.fullmatch(expected, answer.reason), (answer.reason, expected)
    if answer.status_code != 200:
        assert problems(route, asked, answer) == []


@pytest.mark.parametrize("call", [call for call, route in ROUTE.items() if "{" not in route.path])
def test_who_was_granted_nothing_is_denied_what_is_not_named(nobody: Caller, call: str):
    route = ROUTE[call]
    expected = denial_of_nobody(route.method, route.path, {})

    answer = send(nobody, route, {})

    if expected is not None:
        assert re.fullmatch(expected, answer.reason), (answer.reason, expected)
    if answer.status_code != 200:
        assert problems(route, {}, answer) == []


def test_what_the_lab_lacks_of_proxmox_is_not_implemented(admin: Caller):
    lacking = [
        (method, path)
        for path, methods in contract().items()
        for method in methods
        if f"{method} {path}" not in ROUTE
    ]
    wrong: dict[str, Any] = {}

    for method, path in lacking:
        where = path.replace("{", "zz").replace("}", "")
        answer = admin.send(method, where)
        refused = refused_by(method, None, {}, answer)
        found = [*refusal_problems(refused), *body_problems(answer)]
        if found or answer.reason != f"Method '{method} {where}' not implemented":
            wrong[f"{method} {path}"] = (answer.status_code, answer.reason, found)

    assert len(lacking) > 500
    assert wrong == {}


def test_ids_may_have_capital_letters(admin: Caller):
    admin.data("POST", "/cluster/mapping/pci", {"id": "A-Card_1", "map": calls.PCI})

    assert admin.data("GET", "/cluster/mapping/pci/A-Card_1")["id"] == "A-Card_1"
    unknown = admin.send("GET", f"{calls.STORAGE}/Big.Tank-1/status")
    assert (unknown.status_code, unknown.reason) == (500, "storage 'Big.Tank-1' does not exist")
    admin.data("DELETE", "/cluster/mapping/pci/A-Card_1")


def test_each_entry_of_a_mapping_is_looked_at(admin: Caller):
    given = {"id": "cards", "map": [calls.PCI, "node=pve1,path=0000:01:00.0"]}

    refused = admin.send("POST", "/cluster/mapping/pci", given)

    missing = "map[1].id: property is missing and it is not optional"
    assert refused.json()["errors"] == {"map[1]": f"invalid format - format error\n{missing}\n"}


def test_permissions_are_somebodys(admin: Caller):
    nobodys = {"path": "/", "roles": "PVEAuditor"}

    refused = admin.send("PUT", "/access/acl", nobodys)
    lacking = admin.send("PUT", "/access/acl", nobodys | {"groups": "admins"})

    wrong = "either 'users', 'groups' or 'tokens' is required.\n"
    assert refused.json()["errors"] == dict.fromkeys(("users", "groups", "tokens"), wrong)
    assert (lacking.status_code, lacking.reason) == (501, "the lab does not obey groups")


def test_the_statuses_of_the_wire(pve: Pve, admin: Caller, session: requests.Session):
    stranger = Caller(pve, {"Authorization": "PVEAPIToken=root@pam!none=none"}, session)
    no_csrf = Caller(pve, {"Cookie": admin.headers["Cookie"]}, session)
    no_ticket = {"username": "root@pam", "password": "not this"}
    xml = pve.token | {"Content-Type": "text/xml"}

    answers = {
        "a token that is not there": stranger.send("GET", "/version"),
        "no login": Caller(pve, {}, session).send("GET", "/version"),
        "a wrong password": admin.send("POST", "/access/ticket", no_ticket),
        "no csrf token": no_csrf.send("POST", "/pools"),
        "no such host": admin.send("GET", "/nodes/pve9/status"),
        "no such VM": admin.send("GET", "/nodes/pve1/qemu/9999/config"),
        "a body where none belongs": pve.call("DELETE", "/pools", data={"poolid": "x"}),
        "a form of another kind": pve.call("POST", "/pools", data="<a/>", headers=xml),
        "an unknown format": admin.send("GET", "/../xml/version"),
        "no format": admin.send("GET", "/../XML/version"),
    }

    assert {name: answer.status_code for name, answer in answers.items()} == {
        "a token that is not there": 401,
        "no login": 401,
        "a wrong password": 401,
        "no csrf token": 401,
        "no such host": 500,
        "no such VM": 500,
        "a body where none belongs": 501,
        "a form of another kind": 506,
        "an unknown format": 501,
        "no format": 501,
    }
    assert answers["an unknown format"].reason == "no formatter for uri /version, xml"
    assert answers["no format"].reason == "no such uri"
    assert {name: found for name, one in answers.items() if (found := body_problems(one))} == {}


@pytest.mark.parametrize("status", range(595, 600))
def test_a_silent_host_leaves_the_proxy_to_say_so(pve: Pve, admin: Caller, status: int):
    pve.fault("pve-proxy-error", times=1, status=status)

    answer = admin.send("GET", "/nodes/pve2/status")

    refused = refused_by("GET", "/nodes/{node}/status", {"node": "pve2"}, answer)
    assert answer.status_code == status
    assert [*refusal_problems(refused), *body_problems(answer)] == []


FLOCK = f"can't lock file '/var/lock/qemu-server/lock-{VM['vmid']}.conf' - got timeout"


@pytest.mark.parametrize(
    ("fault", "args", "reason"),
    [
        ("pve-no-quorum", {}, "cluster not ready - no quorum?"),
        ("pve-lock", {"vmid": VM["vmid"], "lock": "backup"}, "VM is locked (backup)"),
        ("pve-flock", {"vmid": VM["vmid"]}, FLOCK),
    ],
)
@pytest.mark.usefixtures("given")
def test_what_waiting_would_cure_is_said_in_the_reason(
    pve: Pve, admin: Caller, fault: str, args: dict[str, Any], reason: str
):
    pve.fault(fault, **args)

    try:
        answer = admin.send("PUT", calls.QEMU + "/config", {"cores": 3})
    finally:
        pve.clear(fault)

    assert (answer.status_code, answer.reason) == (500, reason)
    assert body_problems(answer) == []
