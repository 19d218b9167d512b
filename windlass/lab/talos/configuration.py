"""Machine configs as a machine reads them: decoding with Talos' own complaints, and the facts the lab acts on.

Whether a config may be used on this machine is asked in `validation.py`.
"""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any
from urllib.parse import urlsplit

import yaml

from windlass.lab.talos.pki import Identity
from windlass.lab.talos.schema import DOCUMENTS, V1ALPHA1, kinds, unknown_keys

Document = dict[str, Any]


class ConfigError(ValueError):
    """The config is refused; the message is what Talos says."""


@dataclass(frozen=True)
class MachineConfig:
    """One decoded config: `main` is the v1alpha1 document, `others` are the documents beside it."""

    text: str
    main: Document
    others: tuple[Document, ...]

    @property
    def machine(self) -> Document:
        return self.main.get("machine") or {}

    @property
    def cluster(self) -> Document:
        return self.main.get("cluster") or {}

    @property
    def role(self) -> str:
        return str(self.machine.get("type") or "")

    @property
    def is_control_plane(self) -> bool:
        return self.role in {"controlplane", "init"}

    @cached_property
    def os_ca(self) -> bytes:
        """PEM of the authority that signs API certificates; the key is there on control planes only."""
        return _pem(self.machine, "ca", "crt")

    @property
    def os_authority(self) -> Identity:
        return Identity.from_pem(self.os_ca, _pem(self.machine, "ca", "key"))

    @property
    def cluster_ca(self) -> bytes:
        return _pem(self.cluster, "ca", "crt")

    @property
    def cluster_authority(self) -> Identity:
        return Identity.from_pem(self.cluster_ca, _pem(self.cluster, "ca", "key"))

    @property
    def token(self) -> str:
        return str(self.machine.get("token", ""))

    @property
    def cluster_id(self) -> str:
        return str(self.cluster.get("id", ""))

    @property
    def cluster_name(self) -> str:
        return str(self.cluster.get("clusterName", ""))

    @property
    def endpoint(self) -> str:
        return str((self.cluster.get("controlPlane") or {}).get("endpoint", ""))

    @property
    def endpoint_host(self) -> str:
        return urlsplit(self.endpoint).hostname or ""

    @property
    def installer(self) -> str:
        return str((self.machine.get("install") or {}).get("image", ""))

    @property
    def install_disk(self) -> str:
        return str((self.machine.get("install") or {}).get("disk", ""))

    @property
    def hostname(self) -> str | None:
        named = [d["hostname"] for d in self.documents("HostnameConfig") if d.get("hostname")]
        if named:
            return str(named[0])
        static = (self.machine.get("network") or {}).get("hostname")
        return str(static) if static else None

    @property
    def cert_sans(self) -> tuple[str, ...]:
        return tuple(map(str, self.machine.get("certSANs") or ()))

    def documents(self, kind: str) -> Iterator[Document]:
        return (document for document in self.others if document.get("kind") == kind)

    def addresses(self) -> tuple[IPv4Interface, ...]:
        """Static IPv4 addresses, in the order of the config."""
        found = [a for i in self._interfaces() for a in i.get("addresses") or ()]
        found += [
            a["address"] for d in self.documents("LinkConfig") for a in d.get("addresses") or ()
        ]
        return tuple(IPv4Interface(a) for a in found if ":" not in a)

    def vip(self) -> IPv4Address | None:
        shared = [i["vip"]["ip"] for i in self._interfaces() if (i.get("vip") or {}).get("ip")]
        shared += [d["name"] for d in self.documents("Layer2VIPConfig")]
        return IPv4Address(shared[0]) if shared else None

    def image(self, component: str) -> str:
        """The image of kubelet, apiServer, controllerManager, scheduler or proxy."""
        section = self.machine if component == "kubelet" else self.cluster
        return str((section.get(component) or {}).get("image", ""))

    @property
    def runs_proxy(self) -> bool:
        return not (self.cluster.get("proxy") or {}).get("disabled")

    @property
    def runs_coredns(self) -> bool:
        return not (self.cluster.get("coreDNS") or {}).get("disabled")

    @property
    def cni(self) -> str:
        return str(((self.cluster.get("network") or {}).get("cni") or {}).get("name") or "flannel")

    @property
    def dns_domain(self) -> str:
        return str((self.cluster.get("network") or {}).get("dnsDomain") or "cluster.local")

    @property
    def api_cert_sans(self) -> tuple[str, ...]:
        return tuple(map(str, (self.cluster.get("apiServer") or {}).get("certSANs") or ()))

    @property
    def api_service_address(self) -> str:
        """The address of the service `kubernetes`."""
        return str(self._services.network_address + 1)

    @property
    def dns_service_address(self) -> str:
        return str(self._services.network_address + 10)

    @property
    def _services(self) -> IPv4Network:
        subnets = (self.cluster.get("network") or {}).get("serviceSubnets") or ["10.96.0.0/12"]
        return IPv4Network(subnets[0])

    @property
    def node_labels(self) -> tuple[tuple[str, str], ...]:
        return tuple((str(k), str(v)) for k, v in (self.machine.get("nodeLabels") or {}).items())

    @property
    def node_taints(self) -> tuple[tuple[str, str, str], ...]:
        """Key, value and effect of each."""
        found: list[tuple[str, str, str]] = []
        for key, text in (self.machine.get("nodeTaints") or {}).items():
            value, _, effect = str(text).rpartition(":")
            found.append((str(key), value, effect))
        return tuple(found)

    @property
    def extra_manifests(self) -> tuple[str, ...]:
        return tuple(map(str, self.cluster.get("extraManifests") or ()))

    @property
    def inline_manifests(self) -> list[str]:
        return [
            str(manifest.get("contents") or "")
            for manifest in self.cluster.get("inlineManifests") or ()
        ]

    def _interfaces(self) -> list[Document]:
        top: list[Document] = (self.machine.get("network") or {}).get("interfaces") or []
        return [*top, *(vlan for interface in top for vlan in interface.get("vlans") or ())]


def minor(version: str) -> tuple[int, int]:
    """(1, 13) of v1.13.9."""
    major, second, *_ = version.removeprefix("v").split(".")
    return int(major), int(second)


def decode(data: bytes, version: str) -> MachineConfig:
    """The config in `data`, as the decoder of this Talos version reads it.

    Raises:
        ConfigError: it does not decode, in Talos' words.
    """
    main: Document | None = None
    others: list[Document] = []
    seen: set[str] = set()
    for document, line in _documents(data):
        name = _identity(document, line, version)
        if name in seen:
            raise ConfigError(f"duplicate document {name} is not allowed (line {line})")
        seen.add(name)
        if "kind" in document:
            others.append(document)
        else:
            main = document
    if not seen:
        raise ConfigError("expected a YAML document at line 1")
    return MachineConfig(data.decode(), main or {}, tuple(others))


def _documents(data: bytes) -> Iterator[tuple[Document, int]]:
    try:
        loader = yaml.SafeLoader(data)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"error decoding document: yaml: {error}") from error
    try:
        while loader.check_node():
            node = loader.get_node()
            line = node.start_mark.line + 1
            document = loader.construct_document(node)
            if not isinstance(document, dict):
                raise ConfigError(f"expected a YAML document at line {line}")
            yield document, line
    except yaml.YAMLError as error:
        raise ConfigError(f"yaml: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()


def _identity(document: Document, line: int, version: str) -> str:
    """Checks that this Talos knows the document and its keys; returns its identity."""
    kind = document.get("kind")
    if kind is None:
        if "apiVersion" in document:
            raise ConfigError("missing kind")
        if document.get("version") != "v1alpha1":
            raise ConfigError(
                "missing apiVersion" if "version" not in document else "unsupported config version"
            )
        name, shape = "/v1alpha1/", V1ALPHA1
    else:
        if "apiVersion" not in document:
            raise ConfigError("missing apiVersion")
        name = f"/{kind}/{document.get('name', '')}"
        if kind not in kinds(minor(version)):
            reason = f'"{kind}" "{document["apiVersion"]}": not registered'
            raise ConfigError(f"error decoding document {name} (line {line}): {reason}")
        shape = {"apiVersion": None, "kind": None, **DOCUMENTS[kind]} if kind in DOCUMENTS else None
    if (unknown := unknown_keys(document, shape)) is not None:
        listed = yaml.safe_dump(unknown, indent=4, sort_keys=False)
        raise ConfigError(
            f"error decoding document {name} (line {line}): unknown keys found during decoding:\n{listed}"
        )
    return name


def _pem(section: Document, authority: str, part: str) -> bytes:
    try:
        return base64.b64decode((section.get(authority) or {}).get(part) or "", validate=True)
    except binascii.Error as error:
        raise ConfigError(f"illegal base64 data in {authority}.{part}: {error}") from error
