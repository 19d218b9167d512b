"""A machine config as a machine reads it: the facts the lab acts on.

How it is decoded is in `decoding.py`; whether it may be used on a machine is asked in `validation.py`.
"""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from urllib.parse import urlsplit

from windlass.lab.talos.pki import Identity
from windlass.lab.talos.trees import Tree, flag, rows, table, tables, text


class ConfigError(ValueError):
    """The config is refused; the message is what Talos says."""


@dataclass(frozen=True)
class MachineConfig:
    """One decoded config: `main` is the v1alpha1 document, `others` are the documents beside it."""

    text: str
    main: Tree
    others: tuple[Tree, ...]

    @property
    def machine(self) -> Tree:
        return table(self.main, "machine")

    @property
    def cluster(self) -> Tree:
        return table(self.main, "cluster")

    @property
    def role(self) -> str:
        return text(self.machine, "type")

    @property
    def is_control_plane(self) -> bool:
        return self.role in {"controlplane", "init"}

    def documents(self, kind: str) -> Iterator[Tree]:
        return (document for document in self.others if document.get("kind") == kind)

    # Authorities: their keys are there on control planes only.

    @cached_property
    def os_ca(self) -> bytes:
        """PEM of the authority that signs API certificates."""
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
    def etcd_ca(self) -> bytes:
        return _pem(table(self.cluster, "etcd"), "ca", "crt")

    @property
    def token(self) -> str:
        return text(self.machine, "token")

    # The cluster

    @property
    def cluster_name(self) -> str:
        return text(self.cluster, "clusterName")

    @property
    def endpoint(self) -> str:
        return text(self.cluster, "controlPlane", "endpoint")

    @property
    def endpoint_host(self) -> str:
        return urlsplit(self.endpoint).hostname or ""

    @property
    def runs_proxy(self) -> bool:
        return not flag(self.cluster, "proxy", "disabled")

    @property
    def runs_coredns(self) -> bool:
        return not flag(self.cluster, "coreDNS", "disabled")

    @property
    def cni(self) -> str:
        return text(self.cluster, "network", "cni", "name") or "flannel"

    @property
    def dns_domain(self) -> str:
        return text(self.cluster, "network", "dnsDomain") or "cluster.local"

    @property
    def api_cert_sans(self) -> tuple[str, ...]:
        return tuple(map(str, rows(self.cluster, "apiServer", "certSANs")))

    @property
    def api_service_address(self) -> str:
        """The address of the service `kubernetes`."""
        return str(self._services.network_address + 1)

    @property
    def dns_service_address(self) -> str:
        return str(self._services.network_address + 10)

    @property
    def pod_network(self) -> IPv4Network:
        return IPv4Network(next(iter(rows(self.cluster, "network", "podSubnets")), "10.244.0.0/16"))

    @property
    def _services(self) -> IPv4Network:
        return IPv4Network(
            next(iter(rows(self.cluster, "network", "serviceSubnets")), "10.96.0.0/12")
        )

    @property
    def extra_manifests(self) -> tuple[str, ...]:
        return tuple(map(str, rows(self.cluster, "extraManifests")))

    @property
    def extra_manifest_headers(self) -> dict[str, str]:
        return {str(k): str(v) for k, v in table(self.cluster, "extraManifestHeaders").items()}

    @property
    def inline_manifests(self) -> tuple[tuple[str, str], ...]:
        """Names and contents."""
        listed = tables(self.cluster, "inlineManifests")
        return tuple((text(manifest, "name"), text(manifest, "contents")) for manifest in listed)

    # The machine

    @property
    def installer(self) -> str:
        return text(self.machine, "install", "image")

    @property
    def install_disk(self) -> str:
        return text(self.machine, "install", "disk")

    @property
    def hostname(self) -> str | None:
        named = [text(document, "hostname") for document in self.documents("HostnameConfig")]
        return next(filter(None, [*named, text(self.machine, "network", "hostname")]), None)

    @property
    def cert_sans(self) -> tuple[str, ...]:
        return tuple(map(str, rows(self.machine, "certSANs")))

    @property
    def node_labels(self) -> tuple[tuple[str, str], ...]:
        return tuple(
            (str(key), str(value)) for key, value in table(self.machine, "nodeLabels").items()
        )

    @property
    def node_taints(self) -> tuple[tuple[str, str, str], ...]:
        """Key, value and effect of each."""
        found: list[tuple[str, str, str]] = []
        for key, written in table(self.machine, "nodeTaints").items():
            value, _, effect = str(written).rpartition(":")
            found.append((str(key), value, effect))
        return tuple(found)

    def addresses(self) -> tuple[IPv4Interface, ...]:
        """Static IPv4 addresses, in the order of the config. Raises ValueError for what is none."""
        found = [
            str(address)
            for interface in self._interfaces()
            for address in rows(interface, "addresses")
        ]
        found += [
            text(a, "address")
            for link in self.documents("LinkConfig")
            for a in tables(link, "addresses")
        ]
        return tuple(IPv4Interface(address) for address in found if ":" not in address)

    def vip(self) -> IPv4Address | None:
        """The shared address of the control planes. Raises ValueError for what is none."""
        shared = [text(interface, "vip", "ip") for interface in self._interfaces()]
        shared += [text(document, "name") for document in self.documents("Layer2VIPConfig")]
        first = next(filter(None, shared), None)
        return IPv4Address(first) if first is not None else None

    def image(self, component: str) -> str:
        """The image of kubelet, apiServer, controllerManager, scheduler or proxy."""
        return text(self.machine if component == "kubelet" else self.cluster, component, "image")

    def _interfaces(self) -> list[Tree]:
        top = tables(self.machine, "network", "interfaces")
        return [*top, *(vlan for interface in top for vlan in tables(interface, "vlans"))]


def minor(version: str) -> tuple[int, int]:
    """(1, 13) of v1.13.9."""
    major, second, *_ = version.removeprefix("v").split(".")
    return int(major), int(second)


def _pem(section: Tree, authority: str, part: str) -> bytes:
    try:
        return base64.b64decode(text(section, authority, part), validate=True)
    except binascii.Error as error:
        raise ConfigError(f"illegal base64 data in {authority}.{part}: {error}") from error
