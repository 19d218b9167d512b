"""Certificates that no client should take: out of their time, for another name, signed by nobody or by another."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from windlass.lab.pki import general_name


def wrong_certificate(folder: Path, kind: str, names: list[str]) -> ssl.SSLContext:
    """A server's TLS with a certificate of that kind; `folder` is the authority's."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    end = now - timedelta(days=1) if kind == "expired" else now + timedelta(days=30)
    begin = now + timedelta(days=1) if kind == "not-yet-valid" else now - timedelta(days=60)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pve")])
    if kind == "self-signed":
        issuer, signer = subject, key
    elif kind == "wrong-ca":
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Somebody Else CA")])
        signer = ec.generate_private_key(ec.SECP256R1())
    else:
        authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        loaded = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{folder / 'ca.key'} is not an EC key")
        issuer, signer = authority.subject, loaded
    said = ["somebody-else.example"] if kind == "wrong-name" else names
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(
            x509.SubjectAlternativeName([general_name(name) for name in said]), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    return _context(folder, certificate, key)


def _context(
    folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> ssl.SSLContext:
    path = folder / "wrong.pem"
    path.touch(mode=0o600)
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
