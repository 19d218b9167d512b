"""SSH on the lab's Proxmox hosts, for the few things that the Proxmox API does not have.

One host, one key of its own; root logs in with the key in `credentials/ssh-key`. There is no shell: `hostname`,
`pveversion` and `qm list|status|unlock` are all it knows, and anything else ends as it does where it is not installed.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import asyncssh
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from windlass.lab.oplog import Actor
from windlass.lab.world import World

PORT = 2222
USER = "root"
PVE_VERSION = "pve-manager/9.2.11/6b1d1c9e8b4a2f70 (running kernel: 6.17.4-1-pve)"
NOT_FOUND, WRONG_USE = 127, 255
# What only a shell could do. A word with one of these in quotes is a word.
SHELL = frozenset(";|&<>`$()")


@dataclass(frozen=True)
class VmLine:
    """One line of `qm list`. `memory` in MiB, `disk` in GiB; `pid` is 0 for a stopped VM."""

    vmid: int
    name: str
    status: str
    memory: int
    disk: float
    pid: int
    lock: str | None = None


class Qm(Protocol):
    """What `qm` does to the simulated Proxmox."""

    def qm_list(self, host: str) -> Sequence[VmLine]:
        """List the VMs of one host."""
        ...

    def qm_unlock(self, host: str, vmid: int) -> None:
        """Drop the lock of a VM's configuration, whoever holds it."""
        ...


@dataclass(frozen=True)
class Ended:
    """How a command ended: what it wrote, and its status."""

    status: int
    stdout: str = ""
    stderr: str = ""


class SshServer:
    """sshd on every Proxmox host of the lab, port 2222. `names` are the hosts' names, in their order.

    Without `qm` the hosts have no such program.
    """

    def __init__(
        self, world: World, hosts: int, names: Sequence[str] = (), *, qm: Qm | None = None
    ) -> None:
        self._world = world
        self._names = list(names) or [f"pve{number}" for number in range(1, hosts + 1)]
        self._qm = qm
        self._listening: list[asyncssh.SSHAcceptor] = []
        self._connected: set[asyncssh.SSHServerConnection] = set()
        self._folder = world.folder / "ssh"
        self.attempts: list[str] = []
        """Who tried to log in, on any host: what a pinned host key must keep empty."""

    @property
    def key_file(self) -> Path:
        """The private key that root's authorized_keys knows."""
        return self._world.folder / "credentials" / "ssh-key"

    def contract(self) -> dict[str, Any]:
        """What `lab.json` says: who logs in with what, and where which host key is expected."""
        return {
            "user": USER,
            "port": PORT,
            "key_file": str(self.key_file),
            "hosts": {
                name: {
                    "address": str(self._world.network.host(number)),
                    "fingerprint": self._host_key(name).get_fingerprint(),
                }
                for number, name in enumerate(self._names, start=1)
            },
        }

    async def start(self) -> None:
        known = _key(self.key_file).convert_to_public().public_data
        for number, name in enumerate(self._names, start=1):
            listening = await asyncssh.listen(
                str(self._world.network.host(number)),
                PORT,
                server_factory=lambda: _Login(known, self.attempts, self._connected),
                server_host_keys=[self._host_key(name)],
                process_factory=_serving(self, name),
                server_version="OpenSSH_10.0",
                sftp_factory=None,
                allow_scp=False,
            )
            self._listening.append(listening)

    async def stop(self) -> None:
        for listening in self._listening:
            listening.close()
            await listening.wait_closed()
        self._listening.clear()
        for connection in list(self._connected):
            connection.abort()
            await connection.wait_closed()

    def run(self, host: str, command: str) -> Ended:
        """Run one command line on a host."""
        try:
            argv = _words(command)
        except ValueError as error:
            return Ended(WRONG_USE, stderr=f"bash: -c: {error}\n")
        match argv:
            case ["hostname"]:
                return Ended(0, f"{host}\n")
            case ["pveversion"]:
                return Ended(0, f"{PVE_VERSION}\n")
            case ["qm", *words] if self._qm is not None:
                return self._run_qm(self._qm, host, words)
            case _:
                program = argv[0] if argv else ""
                return Ended(NOT_FOUND, stderr=f"bash: line 1: {program}: command not found\n")

    def _run_qm(self, qm: Qm, host: str, words: list[str]) -> Ended:
        lines = {str(line.vmid): line for line in qm.qm_list(host)}
        match words:
            case ["list"]:
                return Ended(0, _table(list(lines.values())))
            case ["status" | "unlock", vmid] if vmid not in lines:
                missing = (
                    f"Configuration file 'nodes/{host}/qemu-server/{vmid}.conf' does not exist\n"
                )
                return Ended(2, stderr=missing)
            case ["status", vmid]:
                return Ended(0, f"status: {lines[vmid].status}\n")
            case ["unlock", vmid]:
                line = lines[vmid]
                qm.qm_unlock(host, line.vmid)
                self._world.oplog.append(
                    "vm_unlock", f"{host}/{vmid}", before=line.lock, after=None, actor=Actor("ssh")
                )
                return Ended(0)
            case _:
                said = f"the lab's qm has list, status and unlock, not {shlex.join(words)}\n"
                return Ended(WRONG_USE, stderr=said)

    def _host_key(self, name: str) -> asyncssh.SSHKey:
        return _key(self._folder / f"{name}.key")


class _Login(asyncssh.SSHServer):
    """Only root, only with the lab's key."""

    def __init__(
        self, known: bytes, attempts: list[str], connected: set[asyncssh.SSHServerConnection]
    ) -> None:
        self._known = known
        self._attempts = attempts
        self._connected = connected
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connected.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh's own signature
        if self._connection is not None:
            self._connected.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        self._attempts.append(username)
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == USER and key.public_data == self._known


def _serving(server: SshServer, host: str) -> Any:
    async def serve(process: asyncssh.SSHServerProcess[str]) -> None:
        if process.command is None:
            process.stderr.write("the lab's hosts have no shell\n")
            process.exit(WRONG_USE)
            return
        ended = server.run(host, process.command)
        process.stdout.write(ended.stdout)
        process.stderr.write(ended.stderr)
        process.exit(ended.status)

    return serve


def _key(path: Path) -> asyncssh.SSHKey:
    """Return the private key in a file, made on first use."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        made = ed25519.Ed25519PrivateKey.generate()
        path.write_bytes(
            made.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
        )
    return asyncssh.read_private_key(path)


def _words(command: str) -> list[str]:
    """Split a command line as a shell would that can do nothing but quoting; ValueError says what it cannot."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    if any(word and set(word) <= SHELL for word in words):
        raise ValueError("the lab's hosts have no shell: one command, its words quoted")
    return words


def _table(lines: list[VmLine]) -> str:
    if not lines:
        return ""
    head = f"{'VMID':>10} {'NAME':<20} {'STATUS':<10} {'MEM(MB)':<10} {'BOOTDISK(GB)':>12} {'PID':<10}\n"
    return head + "".join(
        f"{one.vmid:>10} {one.name:<20} {one.status:<10} {one.memory:<10} {one.disk:>12.2f} {one.pid:<10}\n"
        for one in lines
    )
