"""What a call of the simulated Proxmox VE is given is obeyed, or refused by name."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.proxmox_fixture import Pve, running_pve, with_vm

NETWORK = "127.15.0.0/16"
QEMU = "/nodes/pve1/qemu"
SMALL = {"vmid": 8102, "memory": 512, "scsi0": "local-lvm:1"}
# Settings of Proxmox VE that no VM of the lab can have.
NOT_HERE: list[dict[str, Any]] = [
    {"amd-sev": "type=std"}, {"intel-tdx": "type=tdx"}, {"ivshmem": "size=32,name=shared"}, {"migrate_downtime": 0.5},
    {"migrate_speed": 10}, {"smp": 2}, {"spice_enhancements": "videostreaming=all"}, {"virtiofs9": "share,cache=never"},
    {"vmstatestorage": "tank"},
]  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pve]:
    with running_pve(tmp_path_factory.mktemp("pve"), NETWORK) as pve:
        with_vm(pve)
        pve.data("POST", "/pools", data={"poolid": "one"})
        pve.data("POST", "/pools", data={"poolid": "two"})
        yield pve


@pytest.fixture
def pve(running: Pve) -> Iterator[Pve]:
    """A cluster with VM 8101, which stays, and two pools; other VMs go."""
    yield running
    for vmid in running.state()["vms"]:
        if vmid != "8101":
            running.do("DELETE", f"{QEMU}/{vmid}")


def members(pve: Pve, pool: str) -> list[int]:
    (found,) = pve.data("GET", "/pools", params={"poolid": pool})
    return [one["vmid"] for one in found["members"]]


@pytest.mark.parametrize(
    ("method", "path", "given", "name"),
    [
        ("POST", QEMU, {**SMALL, "ha-managed": 1}, "ha-managed"),
        ("POST", QEMU, {**SMALL, "bwlimit": 100}, "bwlimit"),
        ("POST", QEMU, {**SMALL, "storage": "tank"}, "storage"),
        ("POST", f"{QEMU}/8101/clone", {"newid": 8102, "bwlimit": 100}, "bwlimit"),
        ("POST", f"{QEMU}/8101/status/start", {"machine": "q35"}, "machine"),
        ("POST", f"{QEMU}/8101/status/stop", {"keepActive": 1}, "keepActive"),
        *(("POST", QEMU, {**SMALL, **given}, next(iter(given))) for given in NOT_HERE),
        *(("PUT", f"{QEMU}/8101/config", given, next(iter(given))) for given in NOT_HERE),
        ("POST", f"{QEMU}/8101/status/start", {"with-conntrack-state": 1}, "with-conntrack-state"),
        ("POST", f"{QEMU}/8101/status/start", {"nets-host-mtu": "net0=1500"}, "nets-host-mtu"),
        ("PUT", "/pools", {"poolid": "one", "storage": "tank"}, "storage"),
        ("POST", f"{QEMU}/8101/config", {"cores": 2, "import-working-storage": "nas"},
         "import-working-storage"),
    ],
)  # fmt: skip
def test_what_the_lab_does_not_obey_is_refused_by_name(
    pve: Pve, method: str, path: str, given: dict[str, Any], name: str
):
    before = pve.state()

    refused = pve.call(method, path, data=given)

    assert (refused.status_code, refused.reason) == (501, f"the lab does not obey {name}")
    assert pve.state() == before


@pytest.mark.parametrize(
    ("method", "path", "given", "errors"),
    [
        ("POST", QEMU, {**SMALL, "force": 1},
         {"archive": "missing property required by 'force'\n"}),
        ("PUT", f"{QEMU}/8101/config", {"cores": 2, "force": 1},
         {"delete": "missing property required by 'force'\n"}),
        ("PUT", f"{QEMU}/8101/resize", {"disk": "scsi0", "size": "+1G", "skiplock": 1},
         {"skiplock": "Only root may use this option.\n"}),
        ("DELETE", f"{QEMU}/8101?skiplock=1", {}, {"skiplock": "Only root may use this option.\n"}),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_as_proxmox_does(
    pve: Pve, method: str, path: str, given: dict[str, Any], errors: dict[str, str]
):
    refused = pve.call(method, path, data=given)

    assert (refused.status_code, refused.json()["errors"]) == (400, errors)


def test_settings_that_are_well_formed_are_kept(pve: Pve):
    settings = {
        "machine": "pc-q35-10.1+pve1,viommu=intel", "vga": "virtio,memory=64", "serial0": "socket",
        "usb0": "spice,usb3=1", "usb1": "mapping=Stick", "numa0": "cpus=0-1;3,memory=512,policy=bind",
        "audio0": "device=AC97,driver=none", "keyboard": "de-ch",
        "startdate": "2026-01-31T02:00:00", "parallel0": "/dev/parport0", "bootdisk": "scsi0",
        "vmgenid": "00000000-0000-4000-8000-00000000000a",
    }  # fmt: skip

    assert pve.do("POST", QEMU, data={**SMALL, **settings}) == "OK"

    config = pve.data("GET", f"{QEMU}/8102/config")
    assert {name: config[name] for name in settings} == settings


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"net0": "bridge=vmbr0"}, "format error\nnet0.model: property is missing and it is not optional"),
        ({"net0": "virtio,bridge=a,bridge=b"}, "duplicate key in comma-separated list property: bridge"),
        ({"net0": "virtio=BC:24:11:00:00:01,model=e1000"}, "duplicate key in comma-separated list property: model"),
        ({"net0": "virtio=BC:24:11:00:00:01,macaddr=BC:24:11:00:00:02"},
         "duplicate key in comma-separated list property: macaddr"),
        ({"net0": "virtio,macaddr=BC:24:11:00:00:02,e1000=BC:24:11:00:00:01"}, "key alias 'model' is already defined"),
        ({"net0": "virtio=01:24:11:00:00:01"},
         "format error\nnet0.macaddr: invalid format - value does not look like a valid unicast MAC address"),
        ({"net0": "virtio,bridge="}, "missing key in comma-separated list property"),
        ({"numa0": "0-1"}, "value without key, but schema does not define a default key"),
        ({"vga": "virtio,qxl"}, "duplicate key in comma-separated list property: type"),
        ({"machine": "q35,kernel=1"}, "invalid key in comma-separated list property: kernel"),
        ({"machine": "i8086"}, "format error\nmachine.type: value does not match the regex pattern"),
        ({"unused0": "nowhere"}, "format error\nunused0.file: invalid format - unable to parse volume ID 'nowhere'"),
    ],
)  # fmt: skip
def test_a_property_string_that_is_not_is_refused_in_the_words_of_proxmox(
    pve: Pve, given: dict[str, str], says: str
):
    (name,) = given

    refused = pve.call("PUT", f"{QEMU}/8101/config", data=given)

    assert refused.status_code == 400
    assert refused.json()["errors"] == {name: f"invalid format - {says}\n"}


def test_a_pool_has_no_members_of_another_type(pve: Pve):
    assert pve.do("POST", QEMU, data={**SMALL, "pool": "one"}) == "OK"

    found = {
        kind: pve.data("GET", "/pools", params={"poolid": "one", "type": kind})[0]["members"]
        for kind in ("qemu", "lxc", "storage")
    }

    assert [one["vmid"] for one in found["qemu"]] == [8102]
    assert (found["lxc"], found["storage"]) == ([], [])


def test_a_stale_digest_stops_a_resize(pve: Pve):
    size = pve.data("GET", f"{QEMU}/8101/config")["scsi0"]
    digest = pve.data("GET", f"{QEMU}/8101/config")["digest"]
    wanted = {"disk": "scsi0", "size": "+1G"}

    stale = pve.do("PUT", f"{QEMU}/8101/resize", data={**wanted, "digest": "0" * 40})
    unchanged = pve.data("GET", f"{QEMU}/8101/config")["scsi0"]
    fresh = pve.do("PUT", f"{QEMU}/8101/resize", data={**wanted, "digest": digest})

    assert stale == "checksum missmatch (file change by other user?)"
    assert unchanged == size
    assert fresh == "OK"


def test_a_clone_has_what_it_was_asked_for(pve: Pve):
    given = {"newid": 8102, "name": "copy", "pool": "one", "storage": "tank", "description": "d"}

    assert pve.do("POST", f"{QEMU}/8101/clone", data=given) == "OK"

    config = pve.data("GET", f"{QEMU}/8102/config")
    assert (config["name"], config["description"]) == ("copy", "d")
    assert config["scsi0"].startswith("tank:vm-8102-disk-0,")
    assert config["ide0"].startswith("tank:vm-8102-cloudinit,media=cdrom")
    assert members(pve, "one") == [8102]
    source = pve.data("GET", f"{QEMU}/8101/config")
    assert config["net0"] != source["net0"]
    assert config["smbios1"] != source["smbios1"]


def test_a_clone_is_called_a_copy_of_its_source(pve: Pve):
    assert pve.do("POST", f"{QEMU}/8101/clone", data={"newid": 8102}) == "OK"

    assert pve.data("GET", f"{QEMU}/8102/config")["name"] == "Copy-of-ctrl-00"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"full": 0}, "Linked clone feature is not supported for drive 'scsi0'"),
        ({"full": 0, "storage": "tank"}, "parameter 'storage' not allowed for linked clones"),
        ({"pool": "none"}, "pool 'none' does not exist"),
        ({"storage": "nas", "format": "vmdk"}, "the lab makes qcow2 images only on 'nas'"),
    ],
)
def test_a_clone_that_cannot_be_is_refused(pve: Pve, given: dict[str, Any], says: str):
    refused = pve.call("POST", f"{QEMU}/8101/clone", data={"newid": 8102, **given})

    assert refused.reason == says
    assert list(pve.state()["vms"]) == ["8101"]


def test_a_change_that_is_done_within_the_delay_has_no_task(pve: Pve):
    given = {"cores": 3, "background_delay": 30}

    assert pve.data("POST", f"{QEMU}/8101/config", data=given) is None

    assert pve.data("GET", f"{QEMU}/8101/config")["cores"] == 3


def test_a_change_that_fails_within_the_delay_says_so(pve: Pve):
    given = {"cores": 3, "digest": "0" * 40, "background_delay": 30}

    refused = pve.call("POST", f"{QEMU}/8101/config", data=given)

    blame = "failed to update VM 8101: "
    assert refused.reason == f"{blame}checksum mismatch (file change by other user?)"


def test_a_vm_moves_to_another_pool_only_when_that_is_allowed(pve: Pve):
    assert pve.do("POST", QEMU, data={**SMALL, "pool": "one"}) == "OK"
    wanted = {"poolid": "two", "vms": "8102"}

    refused = pve.call("PUT", "/pools", data=wanted)
    stays = members(pve, "one")
    pve.data("PUT", "/pools", data={**wanted, "allow-move": 1})

    assert refused.status_code == 500
    assert "VM 8102 belongs already to pool 'one'" in refused.reason
    assert stays == [8102]
    assert (members(pve, "one"), members(pve, "two")) == ([], [8102])


def test_devices_of_unwanted_classes_are_left_out(pve: Pve):
    path = "/nodes/pve3/hardware/pci"

    assert pve.data("GET", path, params={"pci-class-blacklist": "05,03"}) == []
    brief = pve.data("GET", path, params={"verbose": 0, "pci-class-blacklist": "05"})
    assert brief
    assert all(list(one) == ["id"] for one in brief)
