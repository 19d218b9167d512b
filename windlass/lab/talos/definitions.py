"""Which kinds of resources a machine has, and what people call them."""

import re
from dataclasses import dataclass

from windlass.protos.talosapi import specs_pb2

DEFINITIONS = "ResourceDefinitions.meta.cosi.dev"


@dataclass(frozen=True)
class Kind:
    """One type of resource. `columns` are pairs of title and path, as `get` prints them."""

    type: str
    display: str
    namespace: str
    columns: tuple[tuple[str, str], ...] = ()
    is_sensitive: bool = False
    extra_aliases: tuple[str, ...] = ()

    @property
    def aliases(self) -> list[str]:
        """Singular, plural and the capitals, in lower case; what a person types."""
        plural, _, domain = self.type.partition(".")
        capitals = "".join(re.findall(r"[A-Z]", self.display)).lower()
        names = [
            self.display.lower(),
            plural.lower(),
            f"{plural.lower()}.{domain.partition('.')[0]}",
        ]
        names += [capitals] if capitals.endswith("s") else [capitals, f"{capitals}s"]
        return list(dict.fromkeys([*names, *self.extra_aliases]))

    def yaml(self) -> dict[str, object]:
        return {
            "type": self.type,
            "displayType": self.display,
            "aliases": self.aliases,
            "allAliases": self.aliases,
            "printColumns": [{"name": name, "jsonPath": path} for name, path in self.columns],
            "defaultNamespace": self.namespace,
            **({"sensitivity": "sensitive"} if self.is_sensitive else {}),
        }

    def proto(self) -> specs_pb2.ResourceDefinition:
        return specs_pb2.ResourceDefinition(
            type=self.type,
            display_type=self.display,
            default_namespace=self.namespace,
            aliases=self.aliases,
            all_aliases=self.aliases,
            print_columns=[specs_pb2.PrintColumn(name=n, json_path=p) for n, p in self.columns],
            sensitivity=int(self.is_sensitive),
        )


def _columns(**paths: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name.replace("_", " ").title(), "{." + path + "}") for name, path in paths.items()
    )


KINDS: tuple[Kind, ...] = (
    Kind(
        DEFINITIONS,
        "ResourceDefinition",
        "meta",
        _columns(aliases="aliases[:]"),
        extra_aliases=("api-resources",),
    ),
    Kind(
        "MachineStatuses.runtime.talos.dev",
        "MachineStatus",
        "runtime",
        _columns(stage="stage", ready="status.ready"),
    ),
    Kind("MachineConfigs.config.talos.dev", "MachineConfig", "config", is_sensitive=True),
    Kind("MachineTypes.config.talos.dev", "MachineType", "config", _columns(type="")),
    Kind(
        "Services.v1alpha1.talos.dev",
        "Service",
        "runtime",
        _columns(running="running", healthy="healthy", health_unknown="unknown"),
        extra_aliases=("svc",),
    ),
    Kind("Versions.runtime.talos.dev", "Version", "runtime", _columns(version="version")),
    Kind(
        "ExtensionStatuses.runtime.talos.dev",
        "ExtensionStatus",
        "runtime",
        _columns(name="metadata.name", version="metadata.version"),
        extra_aliases=("extensions",),
    ),
    Kind("Diagnostics.runtime.talos.dev", "Diagnostic", "runtime", _columns(message="message")),
    Kind("SecurityStates.talos.dev", "SecurityState", "runtime", _columns(secureboot="secureBoot")),
    Kind(
        "PlatformMetadatas.talos.dev",
        "PlatformMetadata",
        "runtime",
        _columns(platform="platform", hostname="hostname"),
    ),
    Kind("TimeStatuses.v1alpha1.talos.dev", "TimeStatus", "runtime", _columns(synced="synced")),
    Kind(
        "SystemInformations.hardware.talos.dev",
        "SystemInformation",
        "hardware",
        _columns(manufacturer="manufacturer", productname="productName", uuid="uuid"),
    ),
    Kind(
        "Processors.hardware.talos.dev",
        "Processor",
        "hardware",
        _columns(cores="coreCount"),
        extra_aliases=("cpus", "cpu"),
    ),
    Kind(
        "MemoryModules.hardware.talos.dev",
        "MemoryModule",
        "hardware",
        _columns(size="sizeMiB"),
        extra_aliases=("ram",),
    ),
    Kind(
        "LinkStatuses.net.talos.dev",
        "LinkStatus",
        "network",
        _columns(type="type", oper_state="operationalState", hw_addr="hardwareAddr"),
        extra_aliases=("link", "links"),
    ),
    Kind(
        "AddressStatuses.net.talos.dev",
        "AddressStatus",
        "network",
        _columns(address="address", link="linkName"),
        extra_aliases=("address", "addresses"),
    ),
    Kind("NodeAddresses.net.talos.dev", "NodeAddress", "network", _columns(addresses="addresses")),
    Kind(
        "HostnameStatuses.net.talos.dev",
        "HostnameStatus",
        "network",
        _columns(hostname="hostname"),
        extra_aliases=("hostname",),
    ),
    Kind(
        "Disks.block.talos.dev",
        "Disk",
        "runtime",
        _columns(size="pretty_size", read_only="readonly"),
    ),
    Kind("SystemDisks.block.talos.dev", "SystemDisk", "runtime", _columns(disk="diskID")),
    Kind(
        "VolumeStatuses.block.talos.dev",
        "VolumeStatus",
        "runtime",
        _columns(phase="phase", location="location", size="size"),
    ),
    Kind(
        "Members.cluster.talos.dev",
        "Member",
        "cluster",
        _columns(
            hostname="hostname",
            machine_type="machineType",
            os="operatingSystem",
            addresses="addresses",
        ),
    ),
    Kind("EtcdMembers.etcd.talos.dev", "EtcdMember", "etcd", _columns(id="memberID")),
    Kind("Nodenames.kubernetes.talos.dev", "Nodename", "k8s", _columns(nodename="nodename")),
    Kind(
        "NodeStatuses.kubernetes.talos.dev",
        "NodeStatus",
        "k8s",
        _columns(ready="nodeReady", unschedulable="unschedulable"),
    ),
    Kind("KubeletSpecs.kubernetes.talos.dev", "KubeletSpec", "k8s", _columns(image="image")),
    Kind("StaticPods.kubernetes.talos.dev", "StaticPod", "k8s"),
    Kind(
        "StaticPodStatuses.kubernetes.talos.dev",
        "StaticPodStatus",
        "k8s",
        _columns(ready='conditions[?(@.type=="Ready")].status'),
    ),
    Kind("APIServerConfigs.kubernetes.talos.dev", "APIServerConfig", "controlplane"),
    Kind(
        "ControllerManagerConfigs.kubernetes.talos.dev", "ControllerManagerConfig", "controlplane"
    ),
    Kind("SchedulerConfigs.kubernetes.talos.dev", "SchedulerConfig", "controlplane"),
    Kind(
        "BootstrapManifestsConfigs.kubernetes.talos.dev", "BootstrapManifestsConfig", "controlplane"
    ),
)
BY_TYPE = {kind.type: kind for kind in KINDS}
