"""Ansible's Proxmox modules make, start, read, snapshot, stop and delete a VM in the lab, as they would anywhere."""

import json
import os
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.labs import ROOT, RunningLab, running_lab
from tests.peers import missing

ANSIBLE = ROOT / ".cache" / "ansible"
NETWORK = "127.65.0.0/16"
VMID = 9001


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningLab]:
    if not (ANSIBLE / ".ready").exists():
        missing("Ansible is not there: make ansible")
    with running_lab(tmp_path_factory.mktemp("ansible"), network=NETWORK) as lab:
        yield lab


def module(lab: RunningLab, module_name: str, /, **arguments: Any) -> dict[str, Any]:
    """Run one module against the lab and return what it says."""
    proxmox = lab.contract["proxmox"]
    user, _, token = proxmox["token_id"].partition("!")
    host, _, port = proxmox["url"].removeprefix("https://").partition(":")
    access = {
        "api_host": host,
        "api_port": int(port),
        "api_user": user,
        "api_token_id": token,
        "api_token_secret": Path(proxmox["token_secret_file"]).read_text(),
        "validate_certs": True,
    }
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(lab.home),
        "LANG": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(ANSIBLE / "collections"),
        "ANSIBLE_PYTHON_INTERPRETER": str(ANSIBLE / "bin" / "python"),
        "REQUESTS_CA_BUNDLE": proxmox["ca_file"],
    }
    command = [
        str(ANSIBLE / "bin" / "ansible"),
        "localhost",
        "-c",
        "local",
        "-m",
        f"community.proxmox.{module_name}",
    ]
    done = subprocess.run(
        [*command, "--one-line", "-a", json.dumps(access | arguments)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    told = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    said: dict[str, Any] = json.loads(done.stdout.partition(" => ")[2])
    return said


def status(lab: RunningLab) -> str:
    found = module(lab, "proxmox_vm_info", vmid=VMID, type="qemu")["proxmox_vms"]
    return found[0]["status"] if found else "absent"


def snapshots(lab: RunningLab, node: str) -> dict[str, str]:
    """Names and descriptions, from the API itself: the collection has no module that reads them."""
    proxmox = lab.contract["proxmox"]
    secret = Path(proxmox["token_secret_file"]).read_text()
    answer = requests.get(
        f"{proxmox['url']}/api2/json/nodes/{node}/qemu/{VMID}/snapshot",
        headers={"Authorization": f"PVEAPIToken={proxmox['token_id']}={secret}"},
        verify=proxmox["ca_file"],
        timeout=20,
    )
    answer.raise_for_status()
    # Proxmox lists the VM as it is now among its snapshots.
    return {
        one["name"]: one["description"] for one in answer.json()["data"] if one["name"] != "current"
    }


def test_ansible_takes_a_vm_through_its_life(lab: RunningLab):
    proxmox = lab.contract["proxmox"]
    node = proxmox["hosts"][0]
    kvm: dict[str, Any] = {"vmid": VMID, "node": node, "name": "judged"}

    made = module(
        lab, "proxmox_kvm", **kvm, cores=2, memory=2048, net={"net0": f"virtio,bridge={proxmox['bridge']}"},
        scsi={"scsi0": f"{proxmox['storages'][0]}:4"},
    )  # fmt: skip
    assert made["changed"]
    assert status(lab) == "stopped"

    module(lab, "proxmox_kvm", **kvm, state="started")
    assert status(lab) == "running"

    snap: dict[str, Any] = {"vmid": VMID, "snapname": "before"}
    taken = module(lab, "proxmox_snap", **snap, state="present", description="as it was")
    assert taken["changed"]
    assert snapshots(lab, node) == {"before": "as it was"}
    assert not module(lab, "proxmox_snap", **snap, state="present")["changed"]
    assert "before" in module(lab, "proxmox_snap", **snap, state="absent")["msg"]
    assert snapshots(lab, node) == {}

    module(lab, "proxmox_kvm", **kvm, state="stopped", force=True)
    assert status(lab) == "stopped"

    module(lab, "proxmox_kvm", **kvm, state="absent")
    assert status(lab) == "absent"


def test_a_second_creation_changes_nothing(lab: RunningLab):
    kvm: dict[str, Any] = {
        "vmid": VMID + 1, "node": lab.contract["proxmox"]["hosts"][1], "name": "twice", "memory": 1024,
    }  # fmt: skip
    module(lab, "proxmox_kvm", **kvm)

    assert not module(lab, "proxmox_kvm", **kvm)["changed"]
