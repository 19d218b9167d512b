"""The simulated Proxmox VE speaks and acts as the real one: the life of a VM, and every refusal in its words."""

import hashlib
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import requests
from proxmoxer.core import ResourceException  # pyright: ignore[reportMissingTypeStubs]

from tests.lab.proxmox_fixture import (
    ISO_URL,
    SCHEMATIC,
    VERSION,
    VM,
    Pve,
    running_pve,
    with_image,
    with_vm,
)
from windlass.lab.factory import iso_bytes
from windlass.lab.machine import Medium

NETWORK = "127.15.0.0/16"


@pytest.fixture
def pve(tmp_path: Path) -> Iterator[Pve]:
    with running_pve(tmp_path, NETWORK) as running:
        yield running


def test_a_vm_is_created_started_and_boots_the_image_that_was_downloaded(pve: Pve):
    with_vm(pve)

    assert pve.do("POST", "/nodes/pve1/qemu/8101/status/start") == "OK"

    hardware = pve.guests.on[8101]
    assert hardware.cdrom == Medium(VERSION, SCHEMATIC, "nocloud")
    assert hardware.boot_order == ("local-lvm:vm-8101-disk-0", "local:iso/talos.iso")
    assert (hardware.address, hardware.gateway) == (
        IPv4Interface("10.25.150.11/24"),
        IPv4Address("10.25.150.1"),
    )
    assert [(disk.device, disk.size) for disk in hardware.disks] == [("/dev/sda", 20 * 1024**3)]
    assert [(nic.mac, nic.bridge, nic.vlan) for nic in hardware.nics] == [
        ("bc:24:11:25:00:0b", "vmbr0", 150)
    ]
    verbs = [line["verb"] for line in pve.oplog()]
    assert verbs == ["download", "vm_create", "vm_start"]


def test_a_created_vm_reads_back_as_proxmox_prints_it(pve: Pve):
    with_vm(pve)

    config = pve.data("GET", "/nodes/pve1/qemu/8101/config")

    assert config["memory"] == "2480"
    assert config["cores"] == 4
    assert config["scsi0"] == "local-lvm:vm-8101-disk-0,discard=on,ssd=1,size=20G"
    assert config["ide0"] == "local-lvm:vm-8101-cloudinit,media=cdrom,size=4M"
    assert config["tags"] == "controlplane;windlass-lab"
    assert config["smbios1"].startswith("uuid=")


def test_proxmoxer_reads_the_reason_phrase_of_a_taken_id(pve: Pve):
    with_vm(pve)

    with pytest.raises(ResourceException) as refused:
        pve.proxmoxer().nodes("pve2").qemu.post(vmid=8101)

    error: Any = refused.value
    assert error.status_code == 500
    assert error.content == "unable to create VM 8101 - VM 8101 already exists on node 'pve1'"


def test_a_download_with_the_known_checksum_is_kept_and_a_wrong_one_is_not(pve: Pve):
    good = hashlib.sha256(iso_bytes(VERSION, SCHEMATIC)).hexdigest()
    wanted = {"content": "iso", "url": ISO_URL, "checksum-algorithm": "sha256"}
    path = "/nodes/pve1/storage/local/download-url"

    right = pve.do("POST", path, data=wanted | {"filename": "good.iso", "checksum": good})
    wrong = pve.do("POST", path, data=wanted | {"filename": "bad.iso", "checksum": "0" * 64})

    assert right == "OK"
    assert wrong == f"checksum mismatch: got '{good}' != expect '{'0' * 64}'"
    volids = [
        entry["volid"] for entry in pve.data("GET", "/nodes/pve1/storage/local/content?content=iso")
    ]
    assert volids == ["local:iso/good.iso"]


def test_an_existing_file_is_not_downloaded_again(pve: Pve):
    with_image(pve)

    wanted = {"content": "iso", "filename": "talos.iso", "url": ISO_URL}
    exit_text = pve.do("POST", "/nodes/pve1/storage/local/download-url", data=wanted)

    assert exit_text == "refusing to override existing file '/var/lib/vz/template/iso/talos.iso'"


def test_a_truncated_image_boots_nothing(pve: Pve):
    pve.fault("download-truncated", times=1)
    with_vm(pve)

    pve.do("POST", "/nodes/pve1/qemu/8101/status/start")

    assert pve.guests.on[8101].cdrom is None


def test_hosts_resolve_only_the_names_of_the_lab(pve: Pve):
    known = pve.data("GET", "/nodes/pve2/query-url-metadata", params={"url": ISO_URL})
    unknown = pve.call(
        "GET", "/nodes/pve2/query-url-metadata", params={"url": "https://example.org/x.iso"}
    )
    absent = pve.call(
        "GET",
        "/nodes/pve2/query-url-metadata",
        params={"url": ISO_URL.replace("v1.13.9", "v1.99.0")},
    )

    assert known["size"] == len(iso_bytes(VERSION, SCHEMATIC))
    assert (
        unknown.reason
        == "invalid server response: '500 unable to resolve host address 'example.org''"
    )
    assert absent.reason == "invalid server response: '404 Not Found'"


@pytest.mark.parametrize(
    ("method", "path", "data", "status", "reason"),
    [
        ("GET", "/nodes/pve1/qemu/777/config", None, 500, "Configuration file 'nodes/pve1/qemu-server/777.conf' does not exist"),
        ("GET", "/nope", None, 501, "Method 'GET /nope' not implemented"),
        ("GET", "/nodes/pve9/status", None, 500, "hostname lookup 'pve9' failed - failed to get address info for: pve9: Name or service not known"),
        ("GET", "/nodes/pve1/storage/nope/status", None, 500, "storage 'nope' does not exist"),
        ("POST", "/nodes/pve1/qemu", {"vmid": 100, "onboot": True}, 400, "Parameter verification failed."),
        ("DELETE", "/nodes/pve1/qemu/8101", {"x": 1}, 501, "Unexpected content for method 'DELETE'"),
        ("POST", "/cluster/mapping/pci", {"id": "x", "map": "y"}, 403, "Permission check failed (/mapping/pci, Mapping.Modify)"),
        ("PATCH", "/version", None, 501, "method 'PATCH' not available"),
    ],
)  # fmt: skip
def test_no_is_said_in_the_reason_phrase(
    pve: Pve, method: str, path: str, data: dict[str, object] | None, status: int, reason: str
):
    answered = pve.call(method, path, data=data)

    assert (answered.status_code, answered.reason) == (status, reason)
    assert answered.headers["Connection"] == "close"


def test_a_python_boolean_in_a_form_is_refused_by_name(pve: Pve):
    answered = pve.call("POST", "/nodes/pve1/qemu", data={"vmid": 100, "onboot": True, "nope": 1})

    assert answered.json()["errors"] == {
        "onboot": "type check ('boolean') failed - got 'True'\n",
        "nope": "property is not defined in schema and the schema does not allow additional properties\n",
    }


def test_a_full_storage_ends_the_create_and_leaves_nothing(pve: Pve):
    with_image(pve)
    pve.fault("pve-storage-full", storage="local-lvm")

    exit_text = pve.do("POST", "/nodes/pve1/qemu", data=VM)

    assert "insufficient free space" in exit_text
    assert pve.state()["vms"] == {}
    assert pve.state()["volumes"] == ["pve1/local:iso/talos.iso"]


def test_a_host_without_room_does_not_start_a_vm(pve: Pve):
    with_vm(pve, memory=70000)

    assert pve.do("POST", "/nodes/pve1/qemu/8101/status/start").startswith(
        "start failed: QEMU exited with code 1"
    )
    assert pve.guests.on == {}


def test_a_locked_vm_does_not_start_and_shows_its_lock(pve: Pve):
    with_vm(pve)
    pve.fault("pve-lock", vmid=8101, lock="backup")

    assert pve.do("POST", "/nodes/pve1/qemu/8101/status/start") == "VM is locked (backup)"
    assert pve.data("GET", "/nodes/pve1/qemu/8101/status/current")["lock"] == "backup"


def test_a_shutdown_waits_for_the_guest_and_then_gives_up(pve: Pve):
    with_vm(pve)
    pve.do("POST", "/nodes/pve1/qemu/8101/status/start")
    pve.guests.obeys = False

    given_up = pve.do("POST", "/nodes/pve1/qemu/8101/status/shutdown", data={"timeout": 5})
    forced = pve.do(
        "POST", "/nodes/pve1/qemu/8101/status/shutdown", data={"timeout": 5, "forceStop": 1}
    )

    assert (given_up, forced) == ("VM quit/powerdown failed - got timeout", "OK")
    assert pve.guests.on == {}


def test_a_destroyed_vm_is_gone_with_its_disks(pve: Pve):
    with_vm(pve)

    assert pve.do("DELETE", "/nodes/pve1/qemu/8101", params={"purge": 1}) == "OK"

    assert pve.guests.removed == ["local-lvm:vm-8101-cloudinit", "local-lvm:vm-8101-disk-0"]
    assert pve.call("GET", "/nodes/pve1/qemu/8101/status/current").status_code == 500


def test_a_running_or_protected_vm_is_not_destroyed(pve: Pve):
    with_vm(pve)
    pve.do("POST", "/nodes/pve1/qemu/8101/status/start")

    running = pve.call("DELETE", "/nodes/pve1/qemu/8101").reason
    pve.data("PUT", "/nodes/pve1/qemu/8101/config", data={"protection": 1})
    protected = pve.call("DELETE", "/nodes/pve1/qemu/8101").reason

    assert running == "VM 8101 is running - destroy failed"
    assert protected == "can't remove VM 8101 - protection mode enabled"


def test_changes_to_a_running_vm_wait_for_its_next_start(pve: Pve):
    with_vm(pve)
    pve.do("POST", "/nodes/pve1/qemu/8101/status/start")

    pve.data("PUT", "/nodes/pve1/qemu/8101/config", data={"memory": 4096})

    pending = {row["key"]: row for row in pve.data("GET", "/nodes/pve1/qemu/8101/pending")}
    assert (pending["memory"]["value"], pending["memory"]["pending"]) == ("2480", "4096")
    pve.do("POST", "/nodes/pve1/qemu/8101/status/stop")
    pve.do("POST", "/nodes/pve1/qemu/8101/status/start")
    assert pve.guests.on[8101].memory == 4096


def test_a_stale_digest_is_refused(pve: Pve):
    with_vm(pve)

    refused = pve.call(
        "PUT", "/nodes/pve1/qemu/8101/config", data={"memory": 4096, "digest": "0" * 40}
    )

    assert refused.reason == "checksum mismatch (file change by other user?)"


def test_a_gpu_goes_to_one_running_vm_only(pve: Pve):
    with_image(pve, "pve3")
    for vmid in (1, 2):
        given = {
            "vmid": 8200 + vmid,
            "machine": "q35",
            "hostpci0": "mapping=gpu,pcie=1",
            "memory": 2048,
        }
        assert pve.do("POST", "/nodes/pve3/qemu", data=given) == "OK"

    first = pve.do("POST", "/nodes/pve3/qemu/8201/status/start")
    second = pve.do("POST", "/nodes/pve3/qemu/8202/status/start")

    assert (first, second) == ("OK", "PCI device '0000:01:00.0' already in use by VMID '8201'")
    assert pve.guests.on[8201].pci == ("0000:01:00.0",)


def test_a_snapshot_is_listed_before_the_current_state(pve: Pve):
    with_vm(pve)

    made = pve.do("POST", "/nodes/pve1/qemu/8101/snapshot", data={"snapname": "before"})

    names = [row["name"] for row in pve.data("GET", "/nodes/pve1/qemu/8101/snapshot")]
    assert (made, names) == ("OK", ["before", "current"])
    again = pve.do("POST", "/nodes/pve1/qemu/8101/snapshot", data={"snapname": "before"})
    assert again == "snapshot name 'before' already used"


def test_a_lab_that_died_leaves_its_tasks_unexpected_and_its_vms_running(tmp_path: Path):
    with running_pve(tmp_path, NETWORK) as pve:
        with_vm(pve)
        pve.do("POST", "/nodes/pve1/qemu/8101/status/start")
        upid = pve.data("POST", "/nodes/pve1/qemu", data={"vmid": 8102, "memory": 2048})

    with running_pve(tmp_path, NETWORK) as again:
        ended = again.finish(upid)
        lock = again.state()["vms"]["8102"]["lock"]
        on = list(again.guests.on)

    assert (ended, lock, on) == ("unexpected status", "create", [8101])


def test_a_host_without_power_answers_nobody_until_it_is_back(pve: Pve):
    own = f"https://{pve.world.network.host(2)}:8006/api2/json/version"
    pve.fault("pve-host-offline", node="pve2")
    eventually(lambda: pve.call("GET", "/nodes/pve2/status").status_code == 595)

    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(own, headers=pve.token, verify=pve.ca, timeout=5)
    pve.clear("pve-host-offline")
    eventually(lambda: pve.call("GET", "/nodes/pve2/status").status_code == 200)

    assert requests.get(own, headers=pve.token, verify=pve.ca, timeout=5).status_code == 200


def test_a_host_that_loses_its_power_takes_its_guests_and_tasks_along(pve: Pve):
    with_vm(pve)
    pve.do("POST", "/nodes/pve1/qemu/8101/status/start")
    pve.fault("pve-host-offline", node="pve1")

    eventually(lambda: not pve.state()["hosts"]["pve1"]["online"])

    assert pve.guests.on == {}
    assert pve.state()["vms"]["8101"]["running"] is False


def test_the_host_that_is_asked_calls_itself_local(pve: Pve):
    own = f"https://{pve.world.network.host(3)}:8006/api2/json/cluster/status"
    rows = requests.get(own, headers=pve.token, verify=pve.ca, timeout=5).json()["data"]

    assert [row["name"] for row in rows if row.get("local")] == ["pve3"]


def test_a_password_makes_a_ticket_that_writes_only_with_its_csrf_token(pve: Pve):
    login = {"username": "root@pam", "password": pve.credentials["password"]}
    ticket = pve.data("POST", "/access/ticket", data=login, headers={})
    cookie = {"PVEAuthCookie": ticket["ticket"]}
    csrf = {"CSRFPreventionToken": ticket["CSRFPreventionToken"]}

    without = pve.call("POST", "/pools", data={"poolid": "a"}, cookies=cookie, headers={})
    with_it = pve.call("POST", "/pools", data={"poolid": "a"}, cookies=cookie, headers=csrf)

    assert (without.status_code, without.reason) == (401, "Permission denied - invalid csrf token")
    assert with_it.status_code == 200


def test_proxmoxer_logs_in_with_a_password_and_not_with_a_wrong_one(pve: Pve):
    known = pve.as_root()
    unknown = pve.call(
        "POST", "/access/ticket", data={"username": "root@pam", "password": "x"}, headers={}
    )

    assert [row["node"] for row in known.nodes.get()] == ["pve1", "pve2", "pve3"]
    assert (unknown.status_code, unknown.reason) == (401, "authentication failure")


def test_a_token_of_its_own_privileges_has_none_until_it_is_given_some(pve: Pve):
    root = pve.as_root()
    made = root.access.users("windlass@pve").token("weak").post()
    headers = {"Authorization": f"PVEAPIToken={made['full-tokenid']}={made['value']}"}

    before = pve.call("GET", "/nodes/pve1/status", headers=headers)
    root.access.acl.put(path="/", roles="PVEAuditor", tokens="windlass@pve!weak")
    after = pve.call("GET", "/nodes/pve1/status", headers=headers)

    assert (before.status_code, before.reason) == (
        403,
        "Permission check failed (/nodes/pve1, Sys.Audit)",
    )
    assert after.status_code == 200


def test_a_token_of_root_is_not_root(pve: Pve):
    root = pve.as_root()
    made = root.access.users("root@pam").token("all").post(privsep=0)
    headers = {"Authorization": f"PVEAPIToken={made['full-tokenid']}={made['value']}"}

    given = {"vmid": 9000, "hostpci0": "host=0000:01:00.0"}
    refused = pve.call("POST", "/nodes/pve3/qemu", data=given, headers=headers)

    assert refused.reason == "only root can set 'hostpci0' config for non-mapped devices"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("expired", "certificate has expired"),
        ("wrong-name", "mismatch"),
        ("self-signed", "self-signed"),
    ],
)
def test_a_wrong_certificate_is_wrong_in_that_one_way(pve: Pve, kind: str, says: str):
    pve.fault("tls-wrong-certificate", kind=kind)

    with pytest.raises(requests.exceptions.SSLError, match=says):
        pve.call("GET", "/version")


def test_longer_answers_are_packed(pve: Pve):
    answered = pve.call("GET", "/cluster/resources")

    assert answered.headers["Content-Encoding"] == "gzip"
    assert len(answered.json()["data"]) == 15


def test_without_quorum_nothing_is_written(pve: Pve):
    pve.fault("pve-no-quorum")

    refused = pve.call("POST", "/nodes/pve1/qemu", data={"vmid": 100})

    assert refused.reason == "cluster not ready - no quorum?"
    assert pve.data("GET", "/cluster/status")[0]["quorate"] == 0
    assert pve.state()["vms"] == {}


def eventually(holds: Callable[[], bool]) -> None:
    """Return once `holds`; the lab notices a fault of a host within a tenth of a second."""
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until, "it never came true"
        Event().wait(0.05)
