"""Certificates of simulated machines, in the algorithms, names and usages of real ones."""

import base64
import hashlib
import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
# Talos writes PKCS#8 under a label of its own, which no other library reads.
_TALOS_LABEL, _PKCS8_LABEL = b"ED25519 PRIVATE KEY", b"PRIVATE KEY"
DAY = timedelta(days=1)
YEAR = timedelta(hours=8760)


@dataclass(frozen=True)
class Subject:
    """Who a certificate is for. Talos reads roles, Kubernetes reads groups from `organizations`."""

    name: str | None = None
    organizations: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()

    def x509_name(self) -> x509.Name:
        parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in self.organizations]
        if self.name is not None:
            parts.append(x509.NameAttribute(NameOID.COMMON_NAME, self.name))
        return x509.Name(parts)


@dataclass(frozen=True)
class Identity:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """As OpenSSL reads it."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def talos_key_pem(self) -> bytes:
        """As Talos writes it."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key_pem.replace(_PKCS8_LABEL, _TALOS_LABEL)
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )

    @property
    def fingerprint(self) -> str:
        """Base64 of the SHA-256 of the public key: what the console prints and clients pin."""
        spki = self.certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(hashlib.sha256(spki).digest()).decode()

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes) -> Self:
        """Raises ValueError when either is not what it should be."""
        private = serialization.load_pem_private_key(key.replace(_TALOS_LABEL, _PKCS8_LABEL), None)
        if not isinstance(
            private, (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)
        ):
            raise TypeError(f"unsupported key type {type(private).__name__}")
        return cls(x509.load_pem_x509_certificate(certificate), private)

    def files(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Certificate and key in private files: the only way Python's ssl takes them."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_bytes(self.certificate_pem)
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem)
        return certificate, key


def issue(
    authority: Identity | None,
    subject: Subject,
    usages: Iterable[x509.ObjectIdentifier],
    lifetime: timedelta = DAY,
) -> Identity:
    """A new key with its certificate: of the authority's algorithm, or self-signed Ed25519 without one."""
    elliptic = authority is not None and not isinstance(authority.key, ed25519.Ed25519PrivateKey)
    key: Key = (
        ec.generate_private_key(ec.SECP256R1())
        if elliptic
        else ed25519.Ed25519PrivateKey.generate()
    )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject.x509_name())
        .issuer_name(authority.certificate.subject if authority else subject.x509_name())
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=10))
        .not_valid_after(now + lifetime)
        .add_extension(_digital_signature(), critical=True)
        .add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
    )
    signer = authority.key if authority else key
    if authority is not None:
        builder = builder.add_extension(_key_identifier(authority), critical=False)
    if subject.alternatives:
        names = x509.SubjectAlternativeName([_general_name(name) for name in subject.alternatives])
        builder = builder.add_extension(names, critical=False)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Identity(builder.sign(signer, algorithm), key)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server that asks for no client certificate: add trust for one that does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    return context


def is_client_only(der: bytes) -> bool:
    """Talos takes a client certificate only when it is for nothing but client authentication."""
    certificate = x509.load_der_x509_certificate(der)
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return list(usage) == [CLIENT]


def _key_identifier(authority: Identity) -> x509.AuthorityKeyIdentifier:
    """What the authority calls its key: Talos gives its authorities random identifiers."""
    try:
        named = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(named.value)


def _digital_signature() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
