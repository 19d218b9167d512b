"""The SSH client against the lab's hosts: a pinned host, words instead of shell strings, ends that are told apart."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.lab.in_thread import Loop
from windlass.clients.ssh import SshClient
from windlass.errors import AmbiguousError, BadInputError, RefusedError, UnreachableError
from windlass.lab.ssh import SshServer, VmLine
from windlass.lab.world import World

NETWORK = IPv4Network("127.18.0.0/16")
SOON = timedelta(seconds=5)


class Vms:
    """One locked VM on pve1."""

    def __init__(self) -> None:
        self.lock: str | None = "backup"

    def qm_list(self, host: str) -> Sequence[VmLine]:
        line = VmLine(101, "cp-1", "stopped", 2480, 20, 0, self.lock)
        return [line] if host == "pve1" else []

    def qm_unlock(self, host: str, vmid: int) -> None:
        assert (host, vmid) == ("pve1", 101)
        self.lock = None


class Hosts:
    """Two hosts with sshd."""

    def __init__(self, world: World, server: SshServer, vms: Vms) -> None:
        self.world = world
        self.server = server
        self.vms = vms
        self.contract: dict[str, Any] = server.contract()

    def client(self, name: str = "pve1", **changed: Any) -> SshClient:
        host = self.contract["hosts"][name]
        user = changed.pop("user", "root")
        settings: dict[str, Any] = {
            "key_file": Path(self.contract["key_file"]),
            "fingerprint": host["fingerprint"],
        }
        return SshClient(host["address"], self.contract["port"], user, **(settings | changed))


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with Loop() as loop:

        async def start() -> Hosts:
            site = IPv4Network("10.25.150.0/24")
            world = World.open(tmp_path / "lab", speed=1, site=site, loopback=NETWORK)
            vms = Vms()
            server = SshServer(world, 2, qm=vms)
            await server.start()
            return Hosts(world, server, vms)

        async def stop() -> None:
            await hosts.server.stop()
            hosts.world.close()

        hosts = loop.run(start())
        yield hosts
        loop.run(stop())


def test_a_host_tells_its_name_and_version(hosts: Hosts):
    with hosts.client("pve2") as ssh:
        name = ssh.run(["hostname"], SOON)
        version = ssh.run(["pveversion"], SOON)

    assert (name.status, name.stdout, name.stderr) == (0, "pve2\n", "")
    assert version.stdout.startswith("pve-manager/9.")


def test_an_unknown_host_gets_no_authentication_attempt(hosts: Hosts):
    other = hosts.contract["hosts"]["pve2"]["fingerprint"]

    with (
        hosts.client(fingerprint=other) as ssh,
        pytest.raises(RefusedError, match="nothing was tried"),
    ):
        ssh.run(["hostname"], SOON)

    assert hosts.server.attempts == []


def test_a_key_that_the_host_does_not_know_is_refused(hosts: Hosts, tmp_path: Path):
    stranger = tmp_path / "stranger"
    stranger.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )

    with hosts.client(key_file=stranger) as ssh, pytest.raises(RefusedError, match="our key"):
        ssh.run(["hostname"], SOON)


def test_only_root_logs_in(hosts: Hosts):
    with hosts.client(user="admin") as ssh, pytest.raises(RefusedError, match="our key"):
        ssh.run(["hostname"], SOON)


def test_a_word_is_a_word_whatever_stands_in_it(hosts: Hosts):
    with hosts.client() as ssh:
        ended = ssh.run(["qm", "status", "101; hostname"], SOON)

    assert ended.status != 0
    assert "pve1\n" not in ended.stdout


def test_a_program_that_is_not_there_ends_as_in_bash(hosts: Hosts):
    with hosts.client() as ssh:
        ended = ssh.run(["reboot"], SOON)

    assert (ended.status, ended.stderr) == (127, "bash: line 1: reboot: command not found\n")


def test_qm_lists_and_unlocks_and_the_lab_remembers(hosts: Hosts):
    with hosts.client() as ssh:
        listed = ssh.run(["qm", "list"], SOON)
        status = ssh.run(["qm", "status", "101"], SOON)
        unlocked = ssh.run(["qm", "unlock", "101"], SOON)
        missing = ssh.run(["qm", "unlock", "102"], SOON)

    assert "101 cp-1" in listed.stdout
    assert status.stdout == "status: stopped\n"
    assert (unlocked.status, hosts.vms.lock) == (0, None)
    assert "does not exist" in missing.stderr
    assert '"verb":"vm_unlock"' in (hosts.world.folder / "oplog.jsonl").read_text()


def test_nobody_there_is_unreachable(hosts: Hosts):
    key = Path(hosts.contract["key_file"])
    with (
        SshClient("127.18.1.9", 2222, "root", key_file=key, fingerprint="SHA256:x") as ssh,
        pytest.raises(UnreachableError),
    ):
        ssh.run(["hostname"], SOON)


def test_a_key_that_cannot_be_read_is_named(tmp_path: Path):
    key = tmp_path / "absent"

    with pytest.raises(BadInputError, match="absent"):
        SshClient("127.18.1.9", 2222, "root", key_file=key, fingerprint="x").run(["hostname"], SOON)


@pytest.mark.parametrize("how", ["silent", "cut"])
def test_a_command_whose_end_is_not_seen_is_ambiguous(tmp_path: Path, how: str):
    """A host of its own, whose commands never end or die with the connection."""
    key = asyncssh.read_private_key(_new_key(tmp_path / "key"))
    began = threading.Event()

    async def serve(process: asyncssh.SSHServerProcess[str]) -> None:
        began.set()
        if how == "cut":
            process.get_extra_info("connection").abort()
        await ended.wait()

    async def start() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.18.0.9",
            0,
            server_host_keys=[key],
            authorized_client_keys=_authorized(tmp_path, key),
            process_factory=serve,
        )

    async def stop() -> None:
        ended.set()
        listening.close()
        await listening.wait_closed()

    with Loop() as loop:
        ended = asyncio.Event()
        listening = loop.run(start())
        ssh = SshClient(
            "127.18.0.9",
            listening.get_port(),
            "root",
            key_file=tmp_path / "key",
            fingerprint=key.get_fingerprint(),
        )
        with ssh, pytest.raises(AmbiguousError, match="the end of qm was not seen"):
            ssh.run(["qm", "unlock", "101"], timedelta(seconds=0.5))
        loop.run(stop())

    assert began.is_set()


def _new_key(path: Path) -> Path:
    made = ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(
        made.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    return path


def _authorized(folder: Path, key: asyncssh.SSHKey) -> str:
    path = folder / "authorized_keys"
    path.write_bytes(key.export_public_key())
    return str(path)
