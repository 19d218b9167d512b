"""How Proxmox's strings are read: the typing traps of its answers, and what must not be repeated of its logs."""

from datetime import timedelta
from ipaddress import IPv4Address

import pytest

from windlass.clients.proxmox.meaning import redacted, translate
from windlass.clients.proxmox.wire import RefusalError
from windlass.models.proxmox import TaskStatus, VmConfig, VmRef, VmStatus, properties


def config(**raw: str) -> VmConfig:
    return VmConfig(raw=raw)


@pytest.mark.parametrize(("text", "mib"), [("21504", 21504), ("current=2480", 2480)])
def test_memory_is_a_property_string(text: str, mib: int):
    assert config(memory=text).memory == mib
    assert config().memory == 512


def test_cores_are_those_of_all_sockets():
    assert config(cores="4", sockets="2").cores == 8
    assert config().cores == 1


@pytest.mark.parametrize(
    "net",
    [
        "virtio=BC:24:11:E6:BA:07,bridge=vmbr0,tag=150",
        "model=virtio,bridge=vmbr0,firewall=0,macaddr=bc:24:11:e6:ba:07,tag=150",
        "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:E6:BA:07,ip=dhcp,type=veth",
    ],
)
def test_a_mac_is_found_however_it_is_written(net: str):
    assert config(net0=net).macs == {"bc:24:11:e6:ba:07"}


def test_disks_are_without_cdroms_and_cloud_init():
    disks = config(
        scsi0="tank:vm-101-disk-0,size=40G",
        scsihw="virtio-scsi-single",
        ide0="tank:vm-101-cloudinit,media=cdrom",
        ide2="local:iso/talos.iso,media=cdrom",
        unused0="tank:vm-101-disk-9",
    ).disks

    assert disks == {"scsi0": "tank:vm-101-disk-0,size=40G"}


def test_addresses_are_the_static_ones():
    found = config(
        ipconfig0="ip=10.25.150.11/24,gw=10.25.150.1", ipconfig1="ip=dhcp,ip6=auto"
    ).addresses

    assert found == {IPv4Address("10.25.150.11")}
    assert config(net0="name=eth0,hwaddr=BC:24:11:00:00:01,ip=10.0.0.7/8").addresses == {
        IPv4Address("10.0.0.7")
    }


def test_identity_lock_tags_and_mappings_are_read():
    vm = config(
        name="cp-1",
        smbios1="uuid=AB12CD34-0000-4000-8000-000000000001",
        tags="controlplane;windlass-lab",
        lock="backup",
        hostpci0="mapping=gpu,pcie=1",
        hostpci1="0000:01:00.0",
        digest="abc",
        protection="1",
    )

    assert vm.smbios_uuid == "ab12cd34-0000-4000-8000-000000000001"
    assert vm.tags == {"controlplane", "windlass-lab"}
    assert (vm.lock, vm.digest, vm.is_protected) == ("backup", "abc", True)
    assert vm.pci == {"gpu"}


def test_a_guest_is_read_before_anything_is_known_of_it():
    vm = VmRef.model_validate({"vmid": 101, "node": "pve1", "type": "qemu", "id": "qemu/101"})

    assert (vm.name, vm.status, vm.tags, vm.template) == ("", "unknown", frozenset(), False)


def test_a_name_of_digits_stays_a_name():
    vm = VmRef.model_validate({"vmid": 101, "node": "pve1", "name": 42})

    assert vm.name == "42"


def test_uptime_is_seconds():
    status = VmStatus.model_validate({"status": "running", "uptime": 61})

    assert status.uptime == timedelta(seconds=61)
    assert status.is_running


@pytest.mark.parametrize(
    ("running", "text", "ok"),
    [
        (False, "OK", True),
        (False, "WARNINGS: 3", True),
        (False, "unexpected status", False),
        (False, "WARNINGS: 3 and more", False),
        (True, "", False),
    ],
)
def test_a_task_ended_well_or_it_did_not(running: bool, text: str, ok: bool):
    assert TaskStatus(running=running, exit_status=text).ok is ok


def test_a_property_string_keeps_its_first_word():
    assert properties("tank:vm-101-disk-0,size=40G") == {"": "tank:vm-101-disk-0", "size": "40G"}
    assert properties("") == {}


@pytest.mark.parametrize(
    "line",
    [
        "cipassword=canary",
        "password: canary",
        "Authorization: PVEAPIToken=a@pve!t=canary",
        "wget https://user:canary@mirror.test/x",
        "secret = canary",
    ],
)
def test_credentials_are_not_repeated(line: str):
    assert "canary" not in redacted(line)


def test_an_ordinary_line_is_repeated_as_it_is():
    line = "TASK ERROR: storage 'tank' is not available on node 'pve2'"

    assert redacted(line) == line


def test_a_refusal_of_alternatives_asks_for_all_of_them():
    reason = "Permission check failed (/storage/x, Datastore.Audit|Datastore.AllocateSpace)"

    said = str(translate(RefusalError(403, reason, {}), "GET", "/nodes", "w@pve!t"))

    assert "--privs 'Datastore.Audit,Datastore.AllocateSpace'" in said
    assert "--users 'w@pve' --tokens 'w@pve!t'" in said
