"""A small site in a lab that can be broken by name, and what became of an operation on it."""

import http.client
import json
import ssl
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

from tests.labs import RunningLab, running_lab

PLANE, WORKER = 5611, 5621
SITE: dict[str, Any] = {
    "name": "faulty",
    "lab": True,
    "cluster": {
        "name": "faulty", "endpoint": "api.faulty.example.org", "network": "10.56.0.0/24",
        "gateway": "10.56.0.1", "nameservers": ["10.56.0.1"], "talos": "v1.13.9", "kubernetes": "v1.34.4",
        "secrets": "file:secrets.yaml",
    },
    "proxmox": {
        "endpoints": ["https://pve1.lab:8006"], "token_id": "windlass@pve!windlass",
        "token_secret": "file:credentials/proxmox-token", "ca_file": "pki/ca.pem",
        "storage": "local-lvm", "image_storage": "local",
    },
    "nodes": [
        {
            "name": "plane", "role": "controlplane", "host": "pve1", "address": "10.56.0.11", "vmid": PLANE,
            "mac": "bc:24:11:56:00:11", "cpu": 4, "memory": 2480, "disk": 20,
        },
        {
            "name": "worker", "role": "worker", "host": "pve2", "address": "10.56.0.21", "vmid": WORKER,
            "mac": "bc:24:11:56:00:21", "cpu": 4, "memory": 4096, "disk": 20,
        },
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a command ended and, where it made an operation, what the journal says of it."""

    code: int
    said: str
    operation: str
    state: str
    reason: str
    message: str
    steps: Mapping[str, Mapping[str, Any]]


class FaultyLab(RunningLab):
    """A running lab whose outcomes are read from the journal."""

    def boot(self, *more: str, env: Mapping[str, str] | None = None) -> Outcome:
        """Bootstrap, here, approved."""
        return self.outcome(self.bootstrap(*more, env=env))

    def resume(self, operation: str, env: Mapping[str, str] | None = None) -> Outcome:
        return self.outcome(self.windlass("resume", operation, "--local", "--yes", env=env))

    def outcome(self, done: "subprocess.CompletedProcess[str]") -> Outcome:
        said = done.stdout + done.stderr
        history = json.loads(self.windlass("history", "--json").stdout)
        if not history:
            return Outcome(done.returncode, said, "", "", "", "", {})
        shown = self.json("show", history[0]["id"])
        steps = {step["key"]: step for step in shown["steps"]}
        return Outcome(
            done.returncode, said, shown["id"], shown["state"], shown["reason"], shown["message"], steps
        )  # fmt: skip

    @property
    def document(self) -> dict[str, Any]:
        """The site file as it is now."""
        return yaml.safe_load(self.site_file.read_text())

    def hurry(self, **seconds: float) -> None:
        """Deadlines of this site, in real seconds: a test that waits for one should not wait long."""
        site = self.document
        site["pace"] |= {name: f"PT{value}S" for name, value in seconds.items()}
        self.rewrite(site)

    def describe(self, **changes: Any) -> None:
        """Change the site file: `proxmox__storage="fast"` sets one key of a section."""
        site = self.document
        for path, value in changes.items():
            section, _, key = path.partition("__")
            site[section][key] = value
        self.rewrite(site)

    def describe_reach(self, reach: Mapping[str, str]) -> None:
        """The site is reached over there from now on."""
        self.rewrite({**self.document, "reach": dict(reach)})

    def rewrite(self, site: Mapping[str, Any]) -> None:
        self.site_file.write_text(yaml.safe_dump(dict(site), sort_keys=False))

    def active_faults(self) -> list[dict[str, Any]]:
        return self.json("lab", "fault", "list", "--dir", str(self.folder))["active"]

    def fired(self, name: str) -> int:
        """How often the fault did its harm; it must still be set.

        A fault that is a state of the world (a lock that is shown, a quorum that is lost, a storage that is full) is
        looked at and does not fire: there the words about it, which nothing else brings forth, are the proof.
        """
        return next(fault["fired"] for fault in self.active_faults() if fault["name"] == name)

    def requests(self, *methods: str) -> list[dict[str, Any]]:
        """What Proxmox was asked, in order; writes unless said else."""
        lines = (self.folder / "proxmox-requests.jsonl").read_text().splitlines()
        wanted = methods or ("POST", "PUT", "DELETE")
        return [line for line in map(json.loads, lines) if line["method"] in wanted]

    def stranger(self, method: str, path: str, **settings: str | int) -> Any:
        """Somebody else changes something in Proxmox."""
        proxmox = self.contract["proxmox"]
        address = urlsplit(str(proxmox["url"])).netloc
        secret = Path(proxmox["token_secret_file"]).read_text()
        headers = {
            "Authorization": f"PVEAPIToken={proxmox['token_id']}={secret}",
            "User-Agent": "somebody",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        tls = ssl.create_default_context(cafile=proxmox["ca_file"])
        connection = http.client.HTTPSConnection(address, context=tls, timeout=10)
        body = urlencode(settings) if settings else None
        connection.request(method, f"/api2/json{path}", body, headers)
        answer = connection.getresponse()
        assert answer.status == http.HTTPStatus.OK, answer.reason
        found = json.loads(answer.read())["data"]
        connection.close()
        return found

    def vms(self) -> dict[str, Any]:
        return self.state()["proxmox"]["vms"]

    def tasks(self, kind: str) -> list[dict[str, Any]]:
        return [task for task in self.state()["proxmox"]["tasks"] if task["type"] == kind]

    def verbs(self) -> list[str]:
        """Every effect of Windlass, in order."""
        return [line["verb"] for line in self.effects()]

    def count(self, verb: str, target: str | None = None) -> int:
        """How often an effect took place, by whomever."""
        return sum(
            line["verb"] == verb and target in (None, line["target"]) for line in self.oplog()
        )


@contextmanager
def faulty_lab(
    folder: Path, network: str, site: Mapping[str, Any] = SITE, more: tuple[str, ...] = ()
) -> Generator[FaultyLab]:
    """A lab like the small site, or another, that is up inside the block."""
    written = folder / "wanted.yaml"
    written.write_text(yaml.safe_dump(dict(site), sort_keys=False))
    with running_lab(folder, network=network, more=("--site", str(written), *more)) as lab:
        yield FaultyLab(lab.folder, lab.home, lab.environment)
