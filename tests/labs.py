"""A lab as a process of its own, and the command as a person runs it: for tests of flows, sweeps and benchmarks."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SPEED = 100.0
COMMAND_S = 600


@dataclass
class RunningLab:
    """A lab in `folder` and a WINDLASS_HOME beside it."""

    folder: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def site_file(self) -> Path:
        return self.folder / "site.yaml"

    @property
    def contract(self) -> dict[str, Any]:
        return json.loads((self.folder / "lab.json").read_text())

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "windlass.cli", *arguments]

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, "WINDLASS_HOME": str(self.home), **self.environment, **(more or {})}

    def windlass(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run the command to its end."""
        return subprocess.run(
            self.command(*arguments), cwd=ROOT, env=self.env(env), text=True, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=COMMAND_S, check=False,
        )  # fmt: skip

    def start(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """Start the command and leave it running."""
        return subprocess.Popen(
            self.command(*arguments), cwd=ROOT, env=self.env(env), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def json(self, *arguments: str) -> Any:
        done = self.windlass(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def bootstrap(
        self, *more: str, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """The whole thing, here, approved."""
        return self.windlass(
            "bootstrap", str(self.site_file), "--apply", "--local", "--yes", *more, env=env
        )

    def fault(self, name: str, *arguments: str, times: int | None = None) -> None:
        often = ["--times", str(times)] if times is not None else []
        done = self.windlass(
            "lab", "fault", "set", "--dir", str(self.folder), *often, name, *arguments
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def heal(self) -> None:
        assert self.windlass("lab", "fault", "clear", "--dir", str(self.folder)).returncode == 0

    def oplog(self) -> list[dict[str, Any]]:
        """What really happened, in order."""
        return [json.loads(line) for line in (self.folder / "oplog.jsonl").read_text().splitlines()]

    def effects(self, *verbs: str, by_windlass: bool = True) -> list[dict[str, Any]]:
        found = [e for e in self.oplog() if e["verb"] in verbs] if verbs else self.oplog()
        return [e for e in found if e["epoch"] is not None] if by_windlass else found

    def state(self) -> dict[str, Any]:
        """Ground truth, from the lab itself."""
        connection = _Unix(self.folder / "control.sock")
        connection.request("GET", "/state")
        try:
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("lab")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


@contextmanager
def running_lab(
    folder: Path, *, network: str, speed: float = SPEED, more: Iterable[str] = ()
) -> Generator[RunningLab]:
    """A lab that is up inside the block and gone after it."""
    lab = RunningLab(folder / "lab", folder / "home")
    lab.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    up = lab.windlass(
        "lab",
        "up",
        "--dir",
        str(lab.folder),
        "--speed",
        str(speed),
        "--network",
        network,
        "--detach",
        *more,
    )
    assert up.returncode == 0, up.stdout + up.stderr
    try:
        yield lab
    finally:
        down = lab.windlass("lab", "down", "--dir", str(lab.folder))
        assert down.returncode == 0, down.stderr


def forget(lab: RunningLab) -> None:
    """A new journal for the same lab."""
    shutil.rmtree(lab.home)
    lab.home.mkdir(mode=0o700)
