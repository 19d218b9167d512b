"""A Kubernetes API of the lab in a thread, with a kubeconfig for those who need one.

with serving(folder, "127.16.0.1") as lab:
    lab.kubeconfig, lab.url, lab.api, lab.world
"""

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from windlass.lab.kubernetes.server import KubernetesApi, Listener
from windlass.lab.world import World

T = TypeVar("T")


@dataclass(frozen=True)
class Identity:
    """A client certificate and its key, as files."""

    certificate: Path
    key: Path


@dataclass
class LabKubernetes:
    """A served API. `run` executes a function inside the lab's event loop."""

    api: KubernetesApi
    world: World
    listener: Listener
    url: str
    ca: Path
    admin: Identity
    kubeconfig: Path
    loop: asyncio.AbstractEventLoop
    folder: Path

    def run(self, function: Callable[[], T]) -> T:
        async def inside() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(inside(), self.loop).result(10)

    def tls(self, identity: Identity | None = None) -> ssl.SSLContext:
        """A client's TLS context; without an identity nobody in particular."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if identity:
            context.load_cert_chain(identity.certificate, identity.key)
        return context

    def identity(self, name: str, *groups: str) -> Identity:
        return issue(self.folder, name, groups)


def issue(folder: Path, name: str, groups: tuple[str, ...]) -> Identity:
    """A client certificate of the authority in `folder` (ca.pem, ca.key)."""
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .sign(signer, hashes.SHA256())
    )
    stem = name.replace(":", "-")
    crt, pem = folder / f"{stem}.client.pem", folder / f"{stem}.client.key"
    crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return Identity(crt, pem)


def write_kubeconfig(path: Path, url: str, ca: Path, identity: Identity) -> None:
    def data(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "lab", "cluster": {"server": url, "certificate-authority-data": data(ca)}}
        ],
        "users": [
            {
                "name": "admin",
                "user": {
                    "client-certificate-data": data(identity.certificate),
                    "client-key-data": data(identity.key),
                },
            }
        ],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
        "current-context": "lab",
    }
    path.write_text(json.dumps(config))


@contextmanager
def serving(
    folder: Path, address: str, *, version: str = "v1.34.4", speed: float = 1.0
) -> Generator[LabKubernetes, None, None]:
    """Serve a new or an old world from `folder` until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="lab-kubernetes", daemon=True)
    thread.start()

    async def stop() -> None:
        await lab.listener.close()
        lab.world.close()

    try:
        starting = _start(loop, folder, address, version=version, speed=speed)
        lab = asyncio.run_coroutine_threadsafe(starting, loop).result(30)
        try:
            yield lab
        finally:
            asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _start(
    loop: asyncio.AbstractEventLoop, folder: Path, address: str, *, version: str, speed: float
) -> LabKubernetes:
    """Run inside the loop: the world belongs to its thread, as SQLite does."""
    loopback = IPv4Network(f"{address}/16", strict=False)
    site = IPv4Network("10.25.150.0/24")
    world = World.open(folder, speed=speed, site=site, loopback=loopback)
    api = KubernetesApi(world, version)
    listener = await api.listen(address, 0, server_tls(world, address))
    ca = world.authority.ca_file
    admin = issue(ca.parent, "admin", ("system:masters",))
    url = f"https://{address}:{listener.port}"
    kubeconfig = folder / "kubeconfig"
    write_kubeconfig(kubeconfig, url, ca, admin)
    return LabKubernetes(api, world, listener, url, ca, admin, kubeconfig, loop, ca.parent)


def server_tls(world: World, address: str) -> ssl.SSLContext:
    certificate, key = world.authority.issue("kubernetes", [address, "kubernetes"])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    tls.load_verify_locations(world.authority.ca_file)
    tls.verify_mode = ssl.CERT_OPTIONAL
    return tls
