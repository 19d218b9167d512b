"""Every call that the lab serves, and every one that Windlass's client can make, judged by the published contract."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import requests
from pydantic import SecretStr

from tests.conformance.pve import calls
from tests.conformance.pve.contract import entry
from tests.conformance.pve.verdict import Line, answer_faults, request_faults
from tests.lab.proxmox_fixture import ISO_URL, Pve
from windlass.clients.proxmox import ProxmoxClient
from windlass.errors import RefusedError
from windlass.lab.proxmox.routing import ROUTES
from windlass.models.proxmox import Upid


def test_every_route_of_the_lab_is_one_of_proxmox():
    strange = [f"{r.method} {r.path}" for r in ROUTES if entry(r.method, r.path) is None]

    assert len(ROUTES) > 50
    assert strange == []


def test_every_call_that_the_lab_serves_answers_as_the_contract_has_it(
    pve: Pve, session: requests.Session
):
    calls.walk(calls.root(pve, session))

    asked = pve.requests()
    assert request_faults(asked) == set()
    assert answer_faults(asked) == set()
    answered = {(one["method"], one["route"]) for one in asked if one["status"] == 200}
    assert answered == {(route.method, route.path) for route in ROUTES}


SETTINGS: dict[str, str | int | bool] = {
    "name": "cp-1", "cores": 4, "memory": 2480, "scsihw": "virtio-scsi-single", "scsi0": "local-lvm:20",
    "net0": "virtio=BC:24:11:25:00:0C,bridge=vmbr0", "onboot": True, "tags": "windlass-test;controlplane",
}  # fmt: skip
VMID = 9001
Finish = Callable[[Upid], object]
LIFE: dict[str, Callable[[ProxmoxClient, Finish], object]] = {
    "version": lambda pve, _: pve.version(),
    "cluster": lambda pve, _: pve.cluster(),
    "host": lambda pve, _: pve.host("pve1"),
    "host_time": lambda pve, _: pve.host_time("pve1"),
    "permissions": lambda pve, _: pve.permissions(),
    "storages": lambda pve, _: pve.storages("pve1"),
    "bridges": lambda pve, _: pve.bridges("pve1"),
    "pci_mappings": lambda pve, _: pve.pci_mappings(),
    "pool": lambda pve, _: pve.pool("kept"),
    "image_metadata": lambda pve, _: pve.image_metadata("pve1", ISO_URL),
    "download": lambda pve, end: end(pve.download("pve1", "local", ISO_URL, "new.iso", None)),
    "content": lambda pve, _: pve.content("pve1", "local", "iso"),
    "create_vm": lambda pve, end: end(pve.create_vm("pve1", VMID, SETTINGS)),
    "vms": lambda pve, _: pve.vms(),
    "find_vm": lambda pve, _: pve.find_vm(VMID),
    "vm_config": lambda pve, _: pve.vm_config("pve1", VMID),
    "update_config": lambda pve, _: pve.update_config(
        "pve1", VMID, {"cores": 2}, pve.vm_config("pve1", VMID).digest
    ),
    "start_vm": lambda pve, end: end(pve.start_vm("pve1", VMID)),
    "vm_status": lambda pve, _: pve.vm_status("pve1", VMID),
    "stop_vm": lambda pve, end: end(pve.stop_vm("pve1", VMID, overrule_shutdown=True)),
    "tasks": lambda pve, _: pve.tasks("pve1", VMID, "qmcreate", datetime.now(UTC) - timedelta(1)),
    "task": lambda pve, _: pve.task(last_task(pve)),
    "task_log": lambda pve, _: pve.task_log(last_task(pve), 5),
    "check_task": lambda pve, _: pve.check_task(last_task(pve)),
    "destroy_vm": lambda pve, end: end(pve.destroy_vm("pve1", VMID)),
}  # fmt: skip


def last_task(pve: ProxmoxClient) -> Upid:
    return Upid(pve.tasks("pve1", VMID, None, datetime.now(UTC) - timedelta(1))[0].upid)


def client(pve: Pve, agent: str) -> ProxmoxClient:
    address = str(pve.world.network.host(1))
    return ProxmoxClient(
        (f"https://{address}:8006",),
        pve.credentials["token_id"],
        SecretStr(pve.credentials["token_secret"]),
        ca_file=pve.world.authority.ca_file,
        fingerprints=(),
        reach=lambda host, port: (host, port),
        agent=agent,
        probe=timedelta(seconds=10),
        call=timedelta(seconds=10),
    )


def sent_by(pve: Pve, agent: str) -> list[Line]:
    return [one for one in pve.requests() if one["agent"] == agent]


def test_every_call_that_windlass_can_make_is_valid_and_so_is_its_answer(
    pve: Pve, session: requests.Session
):
    admin = calls.root(pve, session)
    admin.data("POST", "/pools", {"poolid": "kept"})
    admin.data("POST", "/cluster/mapping/pci", {"id": "card", "map": calls.PCI})
    public = {name for name in vars(ProxmoxClient) if not name.startswith("_")}
    per_call: dict[str, int] = {}

    with client(pve, "windlass/life") as proxmox:
        for name, call in LIFE.items():
            before = len(sent_by(pve, "windlass/life"))
            call(proxmox, pve.finish)
            per_call[name] = len(sent_by(pve, "windlass/life")) - before

    asked = sent_by(pve, "windlass/life")
    assert set(LIFE) == public - {"close"}
    assert all(per_call.values()), per_call
    assert {one["status"] for one in asked} == {200}
    assert request_faults(asked) == set()
    assert answer_faults(asked) == set()


REFUSED: dict[str, Callable[[ProxmoxClient], object]] = {
    "no such VM": lambda pve: pve.vm_config("pve1", 9999),
    "nothing to start": lambda pve: pve.start_vm("pve1", 9999),
    "nothing to destroy": lambda pve: pve.destroy_vm("pve1", 9999),
    "no such host": lambda pve: pve.host("pve9"),
    "no such storage": lambda pve: pve.content("pve1", "nope", "iso"),
    "no containers here": lambda pve: pve.vm_config("pve1", 9999, "lxc"),
    "a wrong option": lambda pve: pve.create_vm("pve1", VMID, SETTINGS | {"memoryy": 1}),
    "a wrong value": lambda pve: pve.create_vm("pve1", VMID, SETTINGS | {"cores": 0}),
    "no such task": lambda pve: pve.task(
        Upid("UPID:pve1:00000001:00000001:00000001:qmstart:9999:root@pam:")
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_windlass_is_refused_is_refused_as_proxmox_does_it(pve: Pve, name: str):
    agent = f"windlass/{name}"

    with client(pve, agent) as proxmox, pytest.raises(RefusedError):
        REFUSED[name](proxmox)

    (line,) = sent_by(pve, agent)
    assert line["status"] != 200
    assert answer_faults([line]) == set()
