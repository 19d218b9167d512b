"""An API server with its controllers: upstream's on the real one, the lab's on the lab's."""

import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.kubernetes_peers import Plane, lab_plane, real_plane
from tests.lab.in_thread import Loop
from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Access
from windlass.lab.controllers.loops import ControlLoops

NAMES = ("realplane", "lab")
# Upstream looks every thirty seconds which kinds there are.
PATIENCE_SECONDS = 60


@contextmanager
def controlled_plane(name: str, folder: Path, last: int, speed: float) -> Generator[Plane]:
    """One of `NAMES`, on addresses that end with `last`; `speed` is that of the lab's clock."""
    if name == "realplane":
        with real_plane(folder, f"127.27.0.{last}") as real:
            yield real
    else:
        with lab_plane(folder, f"127.18.0.{last}") as lab, Loop() as loop:
            loop.start(ControlLoops(_access_to(lab, folder), Clock(speed)).run())
            yield lab


def _access_to(plane: Plane, folder: Path) -> Access:
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    tls.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    return Access(plane.url, tls, "suite/1")


def until(what: str, holds: Callable[[], bool]) -> None:
    for _ in range(PATIENCE_SECONDS * 10):
        if holds():
            return
        threading.Event().wait(0.1)
    pytest.fail(f"never came true: {what}")
