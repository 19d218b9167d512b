"""A TLS server that says exactly what a test tells it to, byte by byte, and remembers what it was sent.

with Peer("127.18.0.1", crt, key, lambda request: ok({"version": "9.1"})) as peer:
    peer.port, peer.requests, peer.received
"""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class Reset:
    """The connection is reset after the request was read."""


@dataclass(frozen=True)
class Drip:
    """The answer comes one byte at a time, `pause_s` apart."""

    content: bytes
    pause_s: float = 0.05


Says = bytes | Reset | Drip


def answer(status: int, reason: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def ok(data: Any) -> bytes:
    """A Proxmox answer."""
    return answer(200, "OK", orjson.dumps({"data": data}))


def no(status: int, reason: str, message: str | None = None, **errors: str) -> bytes:
    """A Proxmox refusal: the reason phrase says why."""
    body: dict[str, Any] = {"data": None}
    if message is not None:
        body["message"] = message
    if errors:
        body["errors"] = errors
    return answer(status, reason, orjson.dumps(body))


@dataclass
class Peer:
    address: str
    certificate: Path
    key: Path
    says: Callable[[Request], Says]
    port: int = 0
    requests: list[Request] = field(default_factory=list[Request])
    received: int = 0
    """Bytes of requests, TLS taken off."""
    connections: int = 0

    def __enter__(self) -> Self:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, self.key)
        self._listening = socket.create_server((self.address, self.port))
        self.port = self._listening.getsockname()[1]
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, plain)

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(5)
        with (
            plain,
            contextlib.suppress(OSError),
            self._context.wrap_socket(plain, server_side=True) as tls,
        ):
            tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls.settimeout(0.2)
            while not self._stop.is_set() and self._one(tls):
                pass

    def _one(self, tls: ssl.SSLSocket) -> bool:
        request = self._read(tls)
        if request is None:
            return False
        self.requests.append(request)
        says = self.says(request)
        if isinstance(says, Reset):
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if isinstance(says, bytes):
            tls.sendall(says)
            return True
        for byte in says.content:
            if self._stop.wait(says.pause_s):
                return False
            tls.sendall(bytes([byte]))
        return True

    def _read(self, tls: ssl.SSLSocket) -> Request | None:
        head = self._until(tls, lambda data: b"\r\n\r\n" in data)
        if head is None:
            return None
        top, _, body = head.partition(b"\r\n\r\n")
        first, *lines = top.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(body) < length:
            body += self._until(tls, lambda data: len(data) >= length - len(body)) or b""
        method, path, _ = first.split(" ")
        return Request(method, path, headers, body.decode())

    def _until(self, tls: ssl.SSLSocket, enough: Callable[[bytes], bool]) -> bytes | None:
        data = b""
        while not enough(data):
            try:
                got = tls.recv(65536)
            except TimeoutError:
                if self._stop.is_set():
                    return None
                continue
            if not got:
                return None
            self.received += len(got)
            data += got
        return data


def self_signed(
    folder: Path,
    subjects: Iterable[str],
    *,
    begins: timedelta = timedelta(hours=-1),
    ends: timedelta = timedelta(days=1),
) -> tuple[Path, Path]:
    """Certificate and key of a server that vouches for itself, valid from `begins` to `ends` as seen from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([_subject(s) for s in subjects]), critical=False)
        .sign(key, hashes.SHA256())
    )
    crt, pem = folder / f"{made.serial_number}.pem", folder / f"{made.serial_number}.key"
    crt.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return crt, pem


def fingerprint(certificate: Path) -> str:
    """SHA-256 of the leaf, as Proxmox writes it."""
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    return leaf.fingerprint(hashes.SHA256()).hex(":").upper()


def _subject(subject: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(subject))
    except ValueError:
        return x509.DNSName(subject)
