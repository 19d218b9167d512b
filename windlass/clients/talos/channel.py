"""The connection to one Talos machine: TLS that proves who answers before anything is sent."""

import asyncio
import base64
import hashlib
import ssl
from collections.abc import Callable, Collection
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from grpclib.client import Channel
from grpclib.protocol import H2Protocol

from windlass.deadline import identify
from windlass.models.talos import TalosCredentials

# A machine that is well closes within milliseconds; one that went away never does.
GOODBYE_S = 0.5
# OpenSSL's X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT.
SELF_SIGNED = 18
# What a server says that wants another client certificate, or one at all.
UNWANTED = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED", "UNKNOWN_CA")


class NotConnectedError(Exception):
    """Nothing was sent: there was no connection to send it on."""


class NotConfiguredError(Exception):
    """A machine that no authority signed for answers where one of this site was expected. Nothing was sent."""


class WrongCertificateError(Exception):
    """Something answered, and it is not who it must be. Nothing was sent."""


class PinnedChannel(Channel):
    """A channel that looks at the certificate of the very connection it uses, before anything is sent on it."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ssl: ssl.SSLContext,
        pins: frozenset[str],
        server_hostname: str,
    ) -> None:
        super().__init__(host, port, ssl=ssl)  # pyright: ignore[reportUnknownMemberType] - grpclib leaves ssl open
        self._context = ssl
        self._pins = pins
        self._name = server_hostname
        self.seen = ""
        # What TLS said when the connection was lost; empty where it ended in any other way.
        self.alert = ""
        self._open: dict[H2Protocol, asyncio.BaseTransport] = {}
        self._all_closed = asyncio.Event()

    @classmethod
    def to(cls, context: ssl.SSLContext, pins: Collection[str]) -> "Callable[..., PinnedChannel]":
        """A channel of this trust, to be made inside the loop that it will live in."""
        return partial(cls, ssl=context, pins=frozenset(pins))

    async def _create_connection(self) -> H2Protocol:
        try:
            _, protocol = await self._loop.create_connection(
                self._noting_protocol,
                self._host,
                self._port,
                ssl=self._context,
                server_hostname=self._name,
            )
        except ssl.SSLCertVerificationError as error:
            if error.verify_code == SELF_SIGNED:
                raise NotConfiguredError(
                    "its certificate is its own, as in maintenance: it has no config of this site yet"
                ) from error
            raise WrongCertificateError(
                f"its certificate is not this site's: {error.verify_message}"
            ) from error
        except OSError as error:
            raise NotConnectedError(str(error)) from error
        transport = protocol.connection._transport  # type: ignore[attr-defined] # noqa: SLF001 - pinned version
        der = transport.get_extra_info("ssl_object").getpeercert(True)
        self.seen = _fingerprint(der)
        if self._pins and self.seen not in self._pins:
            protocol.processor.close()
            raise WrongCertificateError(
                f"its certificate has fingerprint {self.seen}, {', '.join(self._pins)} was seen before: "
                "something else answers now, or it was restarted. Nothing was sent"
            )
        return protocol

    def _noting_protocol(self) -> H2Protocol:
        protocol: H2Protocol = self._protocol_factory()
        made, lost = protocol.connection_made, protocol.connection_lost

        def connection_made(transport: asyncio.BaseTransport) -> None:
            self._open[protocol] = transport
            made(transport)

        def connection_lost(exc: BaseException | None) -> None:
            if isinstance(exc, ssl.SSLError):
                self.alert = exc.reason or ""
            self._open.pop(protocol, None)
            self._all_closed.set()
            lost(exc)

        protocol.connection_made, protocol.connection_lost = connection_made, connection_lost
        return protocol

    async def finish(self) -> None:
        """Every connection is closed: politely, and after `GOODBYE_S` without waiting for the other end."""
        self.close()
        # A connection that was given up while it was being made needs a turn of the loop to go.
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._none_open()
        except TimeoutError:
            for transport in tuple(self._open.values()):
                if isinstance(transport, asyncio.Transport):
                    transport.abort()
            await self._none_open()
        # The sockets under TLS are closed one turn later.
        await asyncio.sleep(0)

    async def _none_open(self) -> None:
        while self._open:
            self._all_closed.clear()
            await self._all_closed.wait()

    @property
    def unwanted(self) -> bool:
        """The machine refused our certificate, or that we have none."""
        return any(word in self.alert for word in UNWANTED)


def _fingerprint(der: bytes) -> str:
    public = x509.load_der_x509_certificate(der).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


def authenticated(credentials: TalosCredentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=credentials.ca)
    # OpenSSL refuses the label that Talos writes.
    key = credentials.key.replace(" ED25519 PRIVATE KEY-----", " PRIVATE KEY-----")
    identify(context, credentials.crt.encode(), key.encode())
    context.set_alpn_protocols(["h2"])
    return context


def maintenance() -> ssl.SSLContext:
    """A machine without a configuration signs its own certificate; trust is the caller's pin."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context
