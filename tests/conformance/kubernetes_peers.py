"""The two API servers that one behavioural suite asks: the real control plane, and the lab."""

import json
import os
import shutil
import subprocess
import uuid
from base64 import b64decode
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.lab.kubernetes_fixture import serving
from tests.peers import missing

REALPLANE = Path(__file__).parents[3] / "shared" / "realplane"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"

Document = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What came back: status code, parsed body, headers."""

    code: int
    doc: Document
    headers: dict[str, str]

    def ok(self) -> Document:
        assert self.code < 300, (self.code, self.doc)
        return self.doc


class Plane:
    """An API server to ask, as an administrator."""

    def __init__(self, name: str, kubeconfig: Path, folder: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.name = name
        self.kubeconfig = kubeconfig
        self.url: str = cluster["server"]
        self._ca = _file(folder / "ca.crt", cluster["certificate-authority-data"])
        certificate = _file(folder / "admin.crt", user["client-certificate-data"])
        key = _file(folder / "admin.key", user["client-key-data"])
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(self._ca)
        self.session.cert = (str(certificate), str(key))
        self.session.headers["User-Agent"] = "suite/1"

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        media: str = "application/json",
        **query: Any,
    ) -> Answer:
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.session.request(
            method, self.url + path, data=raw, params=query, timeout=20,
            headers={"Content-Type": media, "Accept": "application/json"},
        )  # fmt: skip
        parsed: Document = answer.json() if "json" in answer.headers.get("Content-Type", "") else {}
        return Answer(answer.status_code, parsed, dict(answer.headers))

    def get(self, path: str, **query: Any) -> Answer:
        return self.call("GET", path, **query)

    def post(self, path: str, body: Any, **query: Any) -> Answer:
        return self.call("POST", path, body, **query)

    def put(self, path: str, body: Any, **query: Any) -> Answer:
        return self.call("PUT", path, body, **query)

    def delete(self, path: str, body: Any = None, **query: Any) -> Answer:
        return self.call("DELETE", path, body, **query)

    def merge(self, path: str, body: Any, **query: Any) -> Answer:
        return self.call("PATCH", path, body, MERGE, **query)

    def strategic(self, path: str, body: Any, **query: Any) -> Answer:
        return self.call("PATCH", path, body, STRATEGIC, **query)

    def json_patch(self, path: str, body: Any, **query: Any) -> Answer:
        return self.call("PATCH", path, body, JSON_PATCH, **query)

    def apply(self, path: str, body: Any, manager: str, **query: Any) -> Answer:
        return self.call("PATCH", path, body, APPLY, fieldManager=manager, **query)

    def events(self, path: str, *, seconds: int = 3, **query: Any) -> list[Document]:
        """All events of a watch that the server ends after `seconds`."""
        with self.session.get(
            self.url + path, params={"watch": "1", "timeoutSeconds": seconds, **query},
            stream=True, timeout=seconds + 10,
        ) as answer:  # fmt: skip
            return [json.loads(line) for line in answer.iter_lines() if line]

    def table(self, path: str) -> Document:
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        answer = self.session.get(self.url + path, headers={"Accept": accept}, timeout=20)
        return answer.json()

    def space(self) -> str:
        """The name of a new namespace."""
        name = f"s-{uuid.uuid4().hex[:8]}"
        self.post("/api/v1/namespaces", {"metadata": {"name": name}}).ok()
        return name


def _file(path: Path, encoded: str) -> Path:
    path.write_bytes(b64decode(encoded))
    return path


def need_realplane() -> None:
    """Skip on a machine that cannot build it; in CI that is a failure."""
    lacks = [
        what
        for what, there in (
            ("Go 1.24 or later (go)", shutil.which("go") or _built()),
            ("../shared/realplane", (REALPLANE / "up").exists()),
            ("openssl", shutil.which("openssl")),
        )
        if not there
    ]
    if lacks:
        missing(f"the real control plane needs {' and '.join(lacks)}")


def _built() -> bool:
    cache = Path(os.environ.get("REALPLANE_CACHE", Path.home() / ".cache" / "realplane"))
    return any(cache.glob("*/kube-apiserver"))


@contextmanager
def real_plane(folder: Path, address: str, *flags: str) -> Generator[Plane, None, None]:
    """The real control plane until the block ends."""
    need_realplane()
    command = [str(REALPLANE / "up"), "--dir", str(folder), "--address", address, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout
        ready = up.stdout.readline().strip()
        assert ready, "the plane did not start: see its logs"
        try:
            plane = Plane("realplane", Path(ready), folder)
            yield plane
            plane.session.close()
        finally:
            up.terminate()
            up.wait(30)


@contextmanager
def lab_plane(folder: Path, address: str) -> Generator[Plane, None, None]:
    with serving(folder, address) as lab:
        plane = Plane("lab", lab.kubeconfig, folder)
        yield plane
        plane.session.close()
