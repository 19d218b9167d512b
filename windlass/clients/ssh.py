"""Commands on a Proxmox host over SSH, for the few things its API does not have.

The host is known by its key before anything is said: an unknown one gets no authentication attempt.
A command is a list of words; no shell string is ever built from data.
"""

import base64
import hashlib
import shlex
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import paramiko

from windlass.errors import AmbiguousError, BadInputError, RefusedError, UnreachableError

CONNECT = timedelta(seconds=10)
# Commands here answer in lines, not in files.
LARGEST_OUTPUT = 1024 * 1024
CHUNK = 64 * 1024
POLL_S = 0.05


@dataclass(frozen=True)
class Output:
    """How a command ended. A status other than 0 is the command's own word, not an error here."""

    status: int
    stdout: str
    stderr: str


class SshClient:
    """One host as one user. Connects with the first command; closed by its caller."""

    def __init__(
        self, host: str, port: int, user: str, *, key_file: Path, fingerprint: str
    ) -> None:
        """`fingerprint` is the host key's, as `ssh-keygen -l` writes it: SHA256:BASE64."""
        self._where = (host, port)
        self._user = user
        self._key_file = key_file
        self._fingerprint = fingerprint.removeprefix("SHA256:").rstrip("=")
        self._transport: paramiko.Transport | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def run(self, argv: Sequence[str], deadline: timedelta) -> Output:
        """Run one command to its end.

        Raises:
            UnreachableError: no connection. RefusedError: the host is not the pinned one, or it
            does not know our key. AmbiguousError: the command began and its end was not seen.
        """
        until = time.monotonic() + deadline.total_seconds()
        transport = self._transport or self._connect()
        command = shlex.join(argv)
        try:
            channel = transport.open_session(timeout=CONNECT.total_seconds())
        except (paramiko.SSHException, OSError, EOFError) as error:
            self.close()
            raise UnreachableError(f"SSH to {self._name}: {error}") from error
        try:
            with channel:
                channel.exec_command(command)
                return _output(channel, until)
        except (paramiko.SSHException, OSError, EOFError) as error:
            self.close()
            raise AmbiguousError(
                f"SSH to {self._name}: the end of {argv[0]} was not seen: "
                f"{error or type(error).__name__}"
            ) from error

    @property
    def _name(self) -> str:
        return f"{self._user}@{self._where[0]}:{self._where[1]}"

    def _connect(self) -> paramiko.Transport:
        key = self._key()
        try:
            plain = socket.create_connection(self._where, timeout=CONNECT.total_seconds())
            transport = paramiko.Transport(plain)
        except (OSError, paramiko.SSHException) as error:
            raise UnreachableError(f"SSH to {self._name}: {error}") from error
        transport.banner_timeout = transport.auth_timeout = CONNECT.total_seconds()
        try:
            transport.start_client(timeout=CONNECT.total_seconds())
            self._check_host(transport.get_remote_server_key())
            transport.auth_publickey(self._user, key)
        except paramiko.AuthenticationException as error:
            transport.close()
            raise RefusedError(f"SSH to {self._name}: the host does not accept our key") from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            transport.close()
            raise UnreachableError(f"SSH to {self._name}: {error}") from error
        except RefusedError:
            transport.close()
            raise
        self._transport = transport
        return transport

    def _check_host(self, key: paramiko.PKey) -> None:
        seen = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
        if seen != self._fingerprint:
            raise RefusedError(
                f"SSH to {self._name}: the host's key is SHA256:{seen}, pinned is "
                f"SHA256:{self._fingerprint}; nothing was tried. If the host was installed anew, "
                "compare on its console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
            )

    def _key(self) -> paramiko.PKey:
        try:
            return paramiko.PKey.from_path(self._key_file)
        except (OSError, paramiko.SSHException, ValueError) as error:
            raise BadInputError(f"SSH key {self._key_file} cannot be read: {error}") from error


def _output(channel: paramiko.Channel, until: float) -> Output:
    """Read both streams to their end, then the status; raise OSError when the time is over."""
    streams = {"stdout": bytearray(), "stderr": bytearray()}
    while True:
        # Asked before the streams are: what comes in between is taken in the next round.
        closed = channel.closed
        ended = channel.exit_status_ready() and (channel.eof_received or closed)
        channel.settimeout(POLL_S)
        got = _drain(channel, streams)
        if sum(map(len, streams.values())) > LARGEST_OUTPUT:
            raise OSError(f"more than {LARGEST_OUTPUT} bytes of output")
        if ended and not got:
            break
        if closed and not got:
            raise OSError("the connection ended before the command did")
        if time.monotonic() >= until:
            raise OSError("the deadline of the command is over")
    status = channel.recv_exit_status()
    if status < 0:
        raise OSError("the command was ended by a signal or the connection")
    return Output(status, *(bytes(one).decode("utf-8", "replace") for one in streams.values()))


def _drain(channel: paramiko.Channel, streams: dict[str, bytearray]) -> bool:
    """Take what has come; wait a moment for the first byte."""
    got = False
    if channel.recv_stderr_ready():
        streams["stderr"] += channel.recv_stderr(CHUNK)
        got = True
    try:
        data = channel.recv(CHUNK)
    except TimeoutError:
        return got
    streams["stdout"] += data
    return got or bool(data)
