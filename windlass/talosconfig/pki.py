"""Certificates and keys as Talos makes them: Ed25519 for its own API, ECDSA P-256 for etcd and Kubernetes.

Entropy and time are arguments, and signing is deterministic: the same arguments give the same bytes. The one
exception is the RSA key of the service accounts, whose primes OpenSSL draws itself.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from windlass.errors import BadInputError

Entropy = Callable[[int], bytes]
SigningKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey

AUTHORITY_LIFETIME = timedelta(hours=87600)
CLIENT_LIFETIME = timedelta(hours=8760)
# A peer whose clock is a little behind ours still accepts the certificate.
CLIENT_BACKDATE = timedelta(seconds=10)
# Order of the P-256 group (FIPS 186-4, D.1.2.3): private keys are 1 .. order-1.
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# Talos labels its PKCS#8 Ed25519 keys so; OpenSSL and `cryptography` refuse that label.
TALOS_LABEL = " ED25519 PRIVATE KEY-----"
PKCS8_LABEL = " PRIVATE KEY-----"


@dataclass(frozen=True)
class Mint:
    """What new keys and certificates are made from: a source of random bytes and the time."""

    entropy: Entropy
    now: datetime


class Algorithm(StrEnum):
    """What a key is made of."""

    ED25519 = "ed25519"
    P256 = "p256"


@dataclass(frozen=True, repr=False)
class KeyPair:
    """A certificate and its private key, both PEM with the labels that Talos writes."""

    crt: str
    key: str

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.crt.encode())


@dataclass(frozen=True)
class Leaf:
    """What a certificate that signs nothing says. `names` are DNS names and addresses; an Organization is a role."""

    lifetime: timedelta
    common_name: str = ""
    organizations: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    server: bool = False
    client: bool = False
    # How long before `now` it begins to be valid: peers' clocks differ.
    backdate: timedelta = timedelta()


def relabelled(key: str) -> str:
    """The same key under the label that OpenSSL reads."""
    return key.replace(TALOS_LABEL, PKCS8_LABEL)


def load_key(pem: str) -> SigningKey:
    """A private key that signs certificates.

    Raises:
        BadInputError: not a PEM key, or neither Ed25519 nor ECDSA.
    """
    try:
        key = load_pem_private_key(relabelled(pem).encode(), None)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"not a private key in PEM: {error}") from error
    if isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        return key
    raise BadInputError(f"a {type(key).__name__} signs no certificates here")


def new_key(algorithm: Algorithm, entropy: Entropy) -> SigningKey:
    """A private key drawn from `entropy`."""
    if algorithm is Algorithm.ED25519:
        return Ed25519PrivateKey.from_private_bytes(entropy(32))
    # Eight bytes more than the order has: the modulo bias vanishes (FIPS 186-4, B.4.1).
    drawn = int.from_bytes(entropy(40), "big") % (P256_ORDER - 1) + 1
    return ec.derive_private_key(drawn, ec.SECP256R1())


def new_rsa_key() -> str:
    """A 4096-bit RSA key in PKCS#1 PEM, from OpenSSL's own generator."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=4096)
    return _pem(key, PrivateFormat.TraditionalOpenSSL)


def key_pem(key: SigningKey) -> str:
    """PEM under Talos' label: PKCS#8 for Ed25519, SEC1 for ECDSA."""
    if isinstance(key, Ed25519PrivateKey):
        return _pem(key, PrivateFormat.PKCS8).replace(PKCS8_LABEL, TALOS_LABEL)
    return _pem(key, PrivateFormat.TraditionalOpenSSL)


def make_authority(algorithm: Algorithm, organization: str, mint: Mint) -> KeyPair:
    """A self-signed CA for ten years; without an `organization` its subject is empty."""
    key = new_key(algorithm, mint.entropy)
    subject = _name("", (organization,) if organization else ())
    builder = (
        _begin(subject, subject, mint.entropy, (mint.now, mint.now + AUTHORITY_LIFETIME))
        .public_key(key.public_key())
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(_purposes(server=True, client=True), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(mint.entropy(20)), critical=False)
    )
    return KeyPair(crt=_sign(builder, key), key=key_pem(key))


def client_certificate(
    authority: KeyPair, *, organization: tuple[str, ...], common_name: str | None, mint: Mint
) -> KeyPair:
    """A client certificate for a year. Talos reads roles from `organization`, Kubernetes groups."""
    leaf = Leaf(
        lifetime=CLIENT_LIFETIME,
        common_name=common_name or "",
        organizations=organization,
        client=True,
        backdate=CLIENT_BACKDATE,
    )
    return issue(authority, leaf, mint)


def issue(authority: KeyPair, leaf: Leaf, mint: Mint) -> KeyPair:
    """A new key and its certificate, of the same algorithm as the authority's."""
    signer = load_key(authority.key)
    algorithm = Algorithm.ED25519 if isinstance(signer, Ed25519PrivateKey) else Algorithm.P256
    key = new_key(algorithm, mint.entropy)
    subject = _name(leaf.common_name, leaf.organizations)
    issuer = authority.certificate
    validity = (mint.now - leaf.backdate, mint.now + leaf.lifetime)
    builder = (
        _begin(subject, issuer.subject, mint.entropy, validity)
        .public_key(key.public_key())
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(_purposes(server=leaf.server, client=leaf.client), critical=False)
        .add_extension(_identifier(issuer), critical=False)
    )
    if leaf.names:
        alternative = x509.SubjectAlternativeName([_general_name(name) for name in leaf.names])
        builder = builder.add_extension(alternative, critical=not subject.rdns)
    return KeyPair(crt=_sign(builder, signer), key=key_pem(key))


def _begin(
    subject: x509.Name, issuer: x509.Name, entropy: Entropy, validity: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(int.from_bytes(entropy(16), "big") or 1)
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )


def _sign(builder: x509.CertificateBuilder, key: SigningKey) -> str:
    if isinstance(key, Ed25519PrivateKey):
        certificate = builder.sign(key, None)
    else:
        certificate = builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    return certificate.public_bytes(Encoding.PEM).decode()


def _name(common_name: str, organizations: tuple[str, ...]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in sorted(organizations)]
    if common_name:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs, crl_sign=False, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _purposes(*, server: bool, client: bool) -> x509.ExtendedKeyUsage:
    purposes: list[x509.ObjectIdentifier] = []
    if server:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    if client:
        purposes.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    return x509.ExtendedKeyUsage(purposes)


def _identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        known = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        key = issuer.public_key()
        if not isinstance(key, Ed25519PublicKey | ec.EllipticCurvePublicKey):
            raise BadInputError("the authority's key is neither Ed25519 nor ECDSA") from None
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known.value)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(
    key: SigningKey | rsa.RSAPrivateKey,
    form: PrivateFormat,
) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
