"""Simulated Talos machines for tests: a lab with nothing but Talos in it, configs, credentials, a plain client."""

import asyncio
import base64
import secrets
import ssl
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any, TypeVar

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID
from grpclib.client import Channel
from grpclib.exceptions import GRPCError, StreamTerminatedError

from windlass.lab.machine import Disk, Hardware, Medium, Nic
from windlass.lab.talos import TalosGuests
from windlass.lab.talos.images import VANILLA
from windlass.lab.talos.pki import CLIENT, Identity, Subject, issue
from windlass.lab.world import World
from windlass.protos.talosapi import machine_pb2 as pb
from windlass.protos.talosapi.cosi_grpc import StateStub
from windlass.protos.talosapi.cosi_pb2 import GetRequest
from windlass.protos.talosapi.machine_grpc import MachineServiceStub

T = TypeVar("T")
SITE = IPv4Network("10.5.0.0/24")
VERSION = "v1.13.9"
KUBERNETES = "v1.34.4"
# Lab seconds pass this much faster.
SPEED = 100.0
PATIENCE_S = 30.0


def authority(subject: Subject, *, elliptic: bool) -> Identity:
    """A self-signed authority as the secrets of a Talos cluster have them."""
    key = (
        ec.generate_private_key(ec.SECP256R1())
        if elliptic
        else ed25519.Ed25519PrivateKey.generate()
    )
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject.x509_name())
        .issuer_name(subject.x509_name())
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectKeyIdentifier(secrets.token_bytes(20)), critical=False)
        .sign(key, hashes.SHA256() if elliptic else None)
    )
    return Identity(certificate, key)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _pair(identity: Identity) -> dict[str, str]:
    return {"crt": _b64(identity.certificate_pem), "key": _b64(identity.talos_key_pem)}


@dataclass
class Cluster:
    """The secrets of one Talos cluster and the configs made from them."""

    endpoint: str = "api.example.test"
    vip: str | None = None
    cni: str = "none"
    version: str = VERSION
    extra: tuple[str, ...] = ()
    os: Identity = field(
        default_factory=lambda: authority(Subject(None, ("talos",)), elliptic=False)
    )
    etcd: Identity = field(
        default_factory=lambda: authority(Subject(None, ("etcd",)), elliptic=True)
    )
    k8s: Identity = field(
        default_factory=lambda: authority(Subject(None, ("kubernetes",)), elliptic=True)
    )
    token: str = "abcdef.0123456789abcdef"

    def document(self, hardware: Hardware, role: str) -> dict[str, Any]:
        """The v1alpha1 document of a machine."""
        plane = role == "controlplane"
        interface: dict[str, Any] = {
            "deviceSelector": {"hardwareAddr": hardware.nics[0].mac},
            "addresses": [str(hardware.address)],
            "routes": [{"network": "0.0.0.0/0", "gateway": str(SITE[1])}],
        }
        if plane and self.vip:
            interface["vip"] = {"ip": self.vip}
        bare: dict[str, Any] = {
            "id": _b64(b"i" * 32), "secret": _b64(b"s" * 32), "clusterName": "test", "token": self.token,
            "controlPlane": {"endpoint": f"https://{self.endpoint}:6443"},
            "network": {
                "cni": {"name": self.cni}, "dnsDomain": "cluster.local", "podSubnets": ["10.244.0.0/16"],
                "serviceSubnets": ["10.96.0.0/12"],
            },
            "ca": _pair(self.k8s) if plane else {"crt": _pair(self.k8s)["crt"], "key": ""},
        }  # fmt: skip
        if plane:
            bare |= {
                name: {"image": f"registry.k8s.io/{image}:{KUBERNETES}"}
                for name, image in (
                    ("apiServer", "kube-apiserver"), ("controllerManager", "kube-controller-manager"),
                    ("proxy", "kube-proxy"), ("scheduler", "kube-scheduler"),
                )
            } | {"etcd": {"ca": _pair(self.etcd)}, "extraManifests": list(self.extra)}  # fmt: skip
        return {
            "version": "v1alpha1",
            "persist": True,
            "machine": {
                "type": role, "token": self.token, "certSANs": ["127.0.0.1"],
                "ca": _pair(self.os) if plane else {"crt": _pair(self.os)["crt"], "key": ""},
                "kubelet": {"image": f"ghcr.io/siderolabs/kubelet:{KUBERNETES}"},
                "network": {"interfaces": [interface]},
                "install": {
                    "disk": "/dev/sda", "image": f"factory.talos.dev/nocloud-installer/{VANILLA}:{self.version}",
                },
                "features": {"kubePrism": {"enabled": True, "port": 7445}},
            },
            "cluster": bare,
        }  # fmt: skip

    def config(self, hardware: Hardware, role: str) -> bytes:
        hostname = {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "hostname": hardware.name}
        return yaml.safe_dump_all(
            [self.document(hardware, role), hostname], sort_keys=False
        ).encode()

    def client(self, *roles: str) -> Identity:
        return issue(self.os, Subject(None, roles or ("os:admin",)), [CLIENT], timedelta(days=365))

    def talosconfig(self, endpoints: Iterable[str], nodes: Iterable[str] = ()) -> str:
        client = self.client()
        context = {
            "endpoints": list(endpoints),
            "nodes": list(nodes),
            "ca": _b64(self.os.certificate_pem),
        }
        context |= _pair(client)
        return yaml.safe_dump({"context": "test", "contexts": {"test": context}}, sort_keys=False)


def hardware(number: int, name: str, **changes: Any) -> Hardware:
    """A VM with one disk, one network card and a Talos ISO in its drive. `number` is its last octet."""
    facts: dict[str, Any] = {
        "vmid": 100 + number, "name": name, "host": "pve1", "cores": 4,
        "uuid": f"00000000-0000-4000-8000-{number:012x}",
        "memory": 4096, "nics": (Nic(f"bc:24:11:00:00:{number:02x}", "vmbr0", None),),
        "disks": (Disk("/dev/sda", 20 << 30, f"local-lvm:vm-{100 + number}-disk-0"),),
        "cdrom": Medium(VERSION, VANILLA, "nocloud"), "boot_order": (f"local-lvm:vm-{100 + number}-disk-0", "ide2"),
        "address": IPv4Interface(f"{SITE[number]}/24"), "gateway": IPv4Address(SITE[1]), "pci": (),
    }  # fmt: skip
    return Hardware(**(facts | changes))


class Unplugged:
    """A hypervisor that only notices."""

    def __init__(self) -> None:
        self.stopped: list[int] = []

    async def guest_stopped(self, vmid: int) -> None:
        self.stopped.append(vmid)


@dataclass
class TalosLab:
    """Machines on loopback addresses. `cluster` has their secrets."""

    world: World
    guests: TalosGuests
    cluster: Cluster
    hypervisor: Unplugged

    def address(self, vm: Hardware) -> str:
        """Where the machine is reached in this process."""
        if vm.address is None:
            raise ValueError(f"{vm.name} has no address of its own")
        return str(self.world.network.of(vm.address.ip))

    @asynccontextmanager
    async def channel(
        self, vm: Hardware, client: Identity | None = None
    ) -> AsyncGenerator[Channel]:
        """A connection to one machine: with a client certificate, or as anybody."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])
        if client is None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        else:
            context.load_verify_locations(cadata=self.cluster.os.certificate_pem.decode())
            context.load_cert_chain(*client.files(self.world.folder / "client", "client"))
        channel = Channel(self.address(vm), 50000, ssl=context)
        try:
            yield channel
        finally:
            channel.close()

    async def apply(self, vm: Hardware, role: str) -> pb.ApplyConfiguration:
        """Gives a machine in maintenance mode its config."""
        async with self.channel(vm) as channel:
            request = pb.ApplyConfigurationRequest(
                data=self.cluster.config(vm, role), mode=pb.ApplyConfigurationRequest.AUTO
            )
            reply = await MachineServiceStub(channel).ApplyConfiguration(request, timeout=10)
        return reply.messages[0]

    async def stage(self, vm: Hardware, *stages: str, client: Identity | None = None) -> str:
        """Waits until the machine says it is in one of `stages`; anonymous means maintenance mode."""

        async def ask() -> str:
            async with self.channel(vm, client) as channel:
                request = GetRequest(
                    namespace="runtime", type="MachineStatuses.runtime.talos.dev", id="machine"
                )
                reply = await StateStub(channel).Get(request, timeout=5)
            return yaml.safe_load(reply.resource.spec.yaml_spec)["stage"]

        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    if (stage := await ask()) in stages:
                        return stage
                except (OSError, GRPCError, StreamTerminatedError, TimeoutError):
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.02)

    async def bootstrap(self, vm: Hardware) -> None:
        async with self.channel(vm, self.cluster.client()) as channel:
            await MachineServiceStub(channel).Bootstrap(pb.BootstrapRequest(), timeout=10)

    async def install(self, *vms: tuple[Hardware, str]) -> None:
        """Brings machines from power on to booted with their config."""
        for vm, _ in vms:
            await self.guests.power_on(vm)
        for vm, role in vms:
            await self.stage(vm, "maintenance")
            await self.apply(vm, role)
        admin = self.cluster.client()
        for vm, _ in vms:
            await self.stage(vm, "booting", "running", client=admin)

    async def up(self, *vms: tuple[Hardware, str]) -> None:
        """A whole cluster: all machines run, the first control plane is bootstrapped."""
        await self.install(*vms)
        first = next(vm for vm, role in vms if role == "controlplane")
        await self.bootstrap(first)
        admin = self.cluster.client()
        for vm, _ in vms:
            await self.stage(vm, "running", client=admin)


@asynccontextmanager
async def talos_lab(
    folder: Path,
    loopback: str = "127.14.0.0/16",
    speed: float = SPEED,
    *,
    kubernetes: bool = False,
    **cluster: Any,
) -> AsyncGenerator[TalosLab]:
    """A lab with simulated Talos machines only, with Kubernetes if wanted; nothing runs until a VM is switched on."""
    world = World.open(folder, speed=speed, site=SITE, loopback=IPv4Network(loopback))
    guests, hypervisor = TalosGuests(world, kubernetes=kubernetes), Unplugged()
    guests.hypervisor = hypervisor
    await guests.start()
    try:
        yield TalosLab(world, guests, Cluster(**cluster), hypervisor)
    finally:
        await guests.stop()
        world.close()


class Running:
    """A lab in a thread of its own, for tests and programs that block."""

    def __init__(self, loop: asyncio.AbstractEventLoop, talos: TalosLab) -> None:
        self._loop = loop
        self.talos = talos

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns, done inside the lab."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S * 2)

    def look(self, function: Callable[[], T]) -> T:
        """What `function` returns, called inside the lab: its store belongs to its thread."""

        async def inside() -> T:
            return function()

        return self.run(inside())


@contextmanager
def running(folder: Path, **options: Any) -> Generator[Running]:
    """`talos_lab` with these options, running beside the caller."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="talos lab", daemon=True)
    thread.start()
    lab = talos_lab(folder, **options)
    try:
        talos = asyncio.run_coroutine_threadsafe(lab.__aenter__(), loop).result(PATIENCE_S)
        try:
            yield Running(loop, talos)
        finally:
            asyncio.run_coroutine_threadsafe(lab.__aexit__(None, None, None), loop).result(
                PATIENCE_S
            )
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
