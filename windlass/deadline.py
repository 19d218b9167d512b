"""Total deadlines for TLS: a server that sends one byte a second is as late as a silent one.

A socket timeout starts anew with every byte; what a client promises is the time of the whole call.
`Trust` makes sockets that look at the deadline before each read and write, and that check the
server's certificate before the first byte of a request leaves. Looking up a name is the resolver's
time and not inside the deadline.
"""

import hashlib
import math
import os
import ssl
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509

_until: ContextVar[float] = ContextVar("until", default=math.inf)


@contextmanager
def within(limit: timedelta) -> Generator[None]:
    """Everything inside ends after `limit`, or earlier where an outer deadline says so."""
    token = _until.set(min(_until.get(), time.monotonic() + limit.total_seconds()))
    try:
        yield
    finally:
        _until.reset(token)


def remaining() -> float | None:
    """Seconds that are left; None without a deadline.

    Raises:
        TimeoutError: nothing is left.
    """
    until = _until.get()
    if math.isinf(until):
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline of the call is over")
    return left


def identify(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Give a context its client certificate, both PEM.

    `ssl` reads only files: these are in memory, so that a process that is killed leaves no key behind.
    """
    fd = os.memfd_create("windlass-client", os.MFD_CLOEXEC)
    try:
        os.write(fd, certificate.rstrip() + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


class Trust(ssl.SSLContext):
    """Whom a client believes: an authority and the server's name, or leaf certificates one by one.

    Sockets it makes keep the deadline of `within`. With fingerprints the leaf must be one of them
    and in its time; where there is also a CA, both must hold.
    """

    fingerprints: frozenset[str]

    @classmethod
    def of(
        cls,
        *,
        ca_file: Path | None = None,
        ca_pem: str | None = None,
        fingerprints: tuple[str, ...] = (),
        system: bool = False,
    ) -> "Trust":
        """Trust these and nothing else: the authorities that this machine believes only with `system`.

        Raises:
            OSError: `ca_file` cannot be read. ssl.SSLError: it holds no certificate.
            ValueError: there is nothing to trust.
        """
        has_ca = ca_file is not None or ca_pem is not None
        if not (has_ca or system or fingerprints):
            raise ValueError("neither a CA nor a fingerprint: TLS is never left unverified")
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.sslsocket_class = DeadlineSocket
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.fingerprints = frozenset(map(_normal, fingerprints))
        if system:
            context.load_default_certs()
        if not (has_ca or system):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # the fingerprint decides
        if has_ca:
            context.load_verify_locations(cafile=ca_file, cadata=ca_pem)
        return context

    def check(self, leaf: bytes | None) -> None:
        """Refuse a leaf (DER) that is not pinned, or is out of its time."""
        if not self.fingerprints:
            return
        seen = hashlib.sha256(leaf or b"").hexdigest()
        if seen not in self.fingerprints:
            raise ssl.SSLCertVerificationError(f"fingerprint {_written(seen)} is not pinned")
        certificate = x509.load_der_x509_certificate(leaf or b"")
        if (
            not certificate.not_valid_before_utc
            <= datetime.now(UTC)
            <= certificate.not_valid_after_utc
        ):
            ends = certificate.not_valid_after_utc
            raise ssl.SSLCertVerificationError(
                f"the pinned certificate is out of its time, it ends {ends}"
            )


class DeadlineSocket(ssl.SSLSocket):
    """A TLS socket whose every wait ends with the deadline of `within`."""

    def do_handshake(self, block: bool = False) -> None:
        self.settimeout(remaining())
        super().do_handshake(block)
        if isinstance(self.context, Trust):
            self.context.check(self.getpeercert(binary_form=True))

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(remaining())
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(remaining())
        return super().send(*args, **kwargs)


def _normal(fingerprint: str) -> str:
    return fingerprint.replace(":", "").strip().lower()


def _written(digest: str) -> str:
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2)).upper()
