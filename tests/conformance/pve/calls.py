"""Callers of a simulated Proxmox VE, and a walk that makes every call it serves."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

from tests.lab.proxmox_fixture import ISO_URL, VM, Pve

Given = dict[str, Any]
VMID, CLONE = VM["vmid"], 8102
QEMU = f"/nodes/pve1/qemu/{VMID}"
STORAGE = "/nodes/pve1/storage"
PCI = "node=pve1,path=0000:01:00.0,id=10de:13ba"


@dataclass(frozen=True)
class Caller:
    """Somebody who calls; `headers` say who. One connection as long as Proxmox keeps it."""

    pve: Pve
    headers: dict[str, str]
    session: requests.Session

    def send(self, method: str, path: str, given: Given | None = None) -> requests.Response:
        query = given if method in ("GET", "DELETE") else None
        return self.session.request(
            method, self.pve.url + path, params=query, data=None if query else given,
            headers=self.headers, verify=self.pve.ca, timeout=30,
        )  # fmt: skip

    def data(self, method: str, path: str, given: Given | None = None) -> Any:
        """The data of an answer; a task is waited for."""
        answer = self.send(method, path, given)
        assert answer.status_code == 200, (method, path, answer.status_code, answer.text)
        data = answer.json()["data"]
        if str(data).startswith("UPID:"):
            assert self.pve.finish(data) == "OK", (method, path)
        return data


def windlass(pve: Pve, session: requests.Session) -> Caller:
    return Caller(pve, pve.token, session)


def root(pve: Pve, session: requests.Session) -> Caller:
    """root@pam itself, with a ticket: the only one who may everything."""
    password = pve.credentials["password"]
    anybody = Caller(pve, {}, session)
    ticket = anybody.data("POST", "/access/ticket", {"username": "root@pam", "password": password})
    headers = {
        "Cookie": f"PVEAuthCookie={ticket['ticket']}",
        "CSRFPreventionToken": ticket["CSRFPreventionToken"],
    }
    return Caller(pve, headers, session)


def nobody(pve: Pve, session: requests.Session) -> Caller:
    """A token of a user who was granted nothing."""
    admin = root(pve, session)
    admin.data("POST", "/access/users", {"userid": "nobody@pve"})
    token = admin.data("POST", "/access/users/nobody@pve/token/none", {"privsep": 0})
    return Caller(
        pve, {"Authorization": f"PVEAPIToken={token['full-tokenid']}={token['value']}"}, session
    )


def walk(admin: Caller) -> None:
    """Make every call that the lab serves, each so that it succeeds. A new one has to be added here."""
    for method, path, given in _calls():
        admin.data(method, path, given)
    upid = admin.send("POST", f"{QEMU}/status/shutdown", {"timeout": 60}).json()["data"]
    admin.data("GET", f"/nodes/pve1/tasks/{upid}/status")
    admin.data("GET", f"/nodes/pve1/tasks/{upid}/log", {"limit": 0})
    admin.data("DELETE", f"/nodes/pve1/tasks/{upid}")
    admin.pve.finish(upid)
    admin.data("POST", f"{QEMU}/status/stop")
    admin.data("DELETE", QEMU, {"purge": 1})


def _calls() -> Iterator[tuple[str, str, Given]]:
    yield from _access()
    yield from _cluster()
    yield from _storage()
    yield from _vm()
    yield from _snapshots()
    yield from _power()


def _access() -> Iterator[tuple[str, str, Given]]:
    user, role = "/access/users/judge@pve", "/access/roles/Judge"
    for path in ("ticket", "domains", "permissions", "users", "roles", "acl"):
        yield "GET", f"/access/{path}", {}
    yield "POST", "/access/users", {"userid": "judge@pve", "comment": "for a while"}
    yield "GET", user, {}
    yield "POST", f"{user}/token/judge", {"privsep": 1}
    yield "GET", f"{user}/token", {}
    yield "GET", f"{user}/token/judge", {}
    yield "POST", "/access/roles", {"roleid": "Judge", "privs": "VM.Audit"}
    yield "PUT", role, {"append": 1, "privs": "VM.PowerMgmt"}
    yield "GET", role, {}
    yield "PUT", "/access/acl", {"path": "/vms", "roles": "Judge", "users": "judge@pve"}
    yield "GET", "/access/acl", {}
    yield (
        "PUT",
        "/access/acl",
        {"path": "/vms", "roles": "Judge", "users": "judge@pve", "delete": 1},
    )
    yield "DELETE", f"{user}/token/judge", {}
    yield "DELETE", user, {}
    yield "DELETE", role, {}


def _cluster() -> Iterator[tuple[str, str, Given]]:
    for path in (
        "/version", "/cluster/status", "/cluster/resources", "/cluster/nextid", "/cluster/tasks", "/nodes", "/storage",
    ):  # fmt: skip
        yield "GET", path, {}
    for part in ("status", "version", "time", "network", "certificates/info", "hardware/pci"):
        yield "GET", f"/nodes/pve1/{part}", {}
    yield "POST", "/cluster/mapping/pci", {"id": "judged", "map": PCI}
    yield "GET", "/cluster/mapping/pci", {"check-node": "pve1"}
    yield "GET", "/cluster/mapping/pci/judged", {}
    yield "DELETE", "/cluster/mapping/pci/judged", {}


def _storage() -> Iterator[tuple[str, str, Given]]:
    iso = {"content": "iso", "filename": "talos.iso", "url": ISO_URL}
    yield "GET", "/storage/local", {}
    yield "GET", STORAGE, {}
    yield "GET", f"{STORAGE}/local/status", {}
    yield "GET", "/nodes/pve1/query-url-metadata", {"url": ISO_URL}
    yield "POST", f"{STORAGE}/local/download-url", iso
    yield "GET", f"{STORAGE}/local/content", {"content": "iso"}
    yield "GET", f"{STORAGE}/local/content/local:iso/talos.iso", {}
    disk = {"filename": f"vm-{CLONE}-disk-9", "size": "1G", "vmid": CLONE}
    yield "POST", f"{STORAGE}/local-lvm/content", disk
    yield "DELETE", f"{STORAGE}/local-lvm/content/local-lvm:vm-{CLONE}-disk-9", {}


def _vm() -> Iterator[tuple[str, str, Given]]:
    yield "POST", "/pools", {"poolid": "judged"}
    yield "POST", "/nodes/pve1/qemu", VM
    yield "PUT", "/pools", {"poolid": "judged", "vms": VMID}
    yield "GET", "/pools", {"poolid": "judged"}
    yield "PUT", "/pools", {"poolid": "judged", "vms": VMID, "delete": 1}
    yield "DELETE", "/pools", {"poolid": "judged"}
    yield "GET", "/nodes/pve1/qemu", {"full": 1}
    for part in ("", "/config", "/pending", "/status", "/status/current", "/snapshot"):
        yield "GET", f"{QEMU}{part}", {}
    yield "GET", f"{QEMU}/feature", {"feature": "snapshot"}
    yield "PUT", f"{QEMU}/config", {"cores": 2}
    yield "POST", f"{QEMU}/config", {"description": "judged"}
    yield "PUT", f"{QEMU}/resize", {"disk": "scsi0", "size": "+1G"}
    yield "POST", f"{QEMU}/clone", {"newid": CLONE, "full": 1}
    yield "GET", f"/nodes/pve1/qemu/{CLONE}/config", {}
    yield "DELETE", f"/nodes/pve1/qemu/{CLONE}", {"destroy-unreferenced-disks": 0}
    yield "GET", "/cluster/resources", {"type": "vm"}


def _power() -> Iterator[tuple[str, str, Given]]:
    yield "POST", f"{QEMU}/status/start", {}
    yield "GET", f"{QEMU}/status/current", {}
    yield "POST", f"{QEMU}/agent/ping", {}
    yield "GET", f"{QEMU}/agent/network-get-interfaces", {}
    yield "POST", f"{QEMU}/status/reset", {}
    yield "POST", f"{QEMU}/status/reboot", {}
    yield "GET", f"{QEMU}/config", {}
    yield "GET", "/nodes/pve1/tasks", {"source": "all", "vmid": VMID}
    yield "GET", "/cluster/tasks", {}


def _snapshots() -> Iterator[tuple[str, str, Given]]:
    yield "POST", f"{QEMU}/snapshot", {"snapname": "before", "description": "as it was"}
    yield "GET", f"{QEMU}/snapshot", {}
    yield "GET", f"{QEMU}/snapshot/before/config", {}
    yield "POST", f"{QEMU}/snapshot/before/rollback", {}
    yield "DELETE", f"{QEMU}/snapshot/before", {}
