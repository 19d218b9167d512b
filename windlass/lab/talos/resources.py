"""What a machine says about itself as COSI resources, computed from what it is."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import yaml
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from windlass.lab.talos.definitions import DEFINITIONS, KINDS
from windlass.lab.talos.images import extensions
from windlass.protos.talosapi import specs_pb2 as specs

if TYPE_CHECKING:
    from windlass.lab.talos.machine import Machine

VOLUME_READY = 6
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
MACHINE_TYPES = {"init": 1, "controlplane": 2, "worker": 3}
MIB, GIB = 1 << 20, 1 << 30
# What the system partitions take from a disk before EPHEMERAL gets the rest.
SYSTEM_PARTITIONS = 2 * GIB + 250 * MIB


@dataclass(frozen=True)
class Described:
    """One resource as it is now. `yaml` is its spec for people, `proto` for typed clients that need one."""

    type: str
    id: str
    yaml: Any
    proto: Message | None = None
    annotations: tuple[tuple[str, str], ...] = ()

    def yaml_spec(self) -> str:
        text = yaml.dump(self.yaml, Dumper=_DUMPER, sort_keys=False, width=1 << 20)
        return text.removesuffix("...\n")

    def proto_spec(self) -> bytes:
        return self.proto.SerializeToString(deterministic=True) if self.proto is not None else b""


class Part(Protocol):
    """Some resources of a machine."""

    def __call__(self, machine: "Machine") -> Iterable[Described]: ...


def describe(machine: "Machine", kind: str) -> Iterator[Described]:
    """What a machine that has booted says about itself, of one kind of resource."""
    return (resource for part in PARTS for resource in part(machine) if resource.type == kind)


def _definitions(machine: "Machine") -> Iterator[Described]:
    del machine  # every machine has the same
    for kind in KINDS:
        yield Described(DEFINITIONS, kind.type.lower(), kind.yaml(), kind.proto())


def _runtime(machine: "Machine") -> Iterator[Described]:
    unmet = machine.unmet()
    listed = [specs.UnmetCondition(name=name, reason=reason) for name, reason in unmet]
    yield Described(
        "MachineStatuses.runtime.talos.dev",
        "machine",
        {
            "stage": machine.stage,
            "status": {
                "ready": not unmet,
                "unmetConditions": [{"name": name, "reason": reason} for name, reason in unmet],
            },
        },
        specs.MachineStatus(
            stage=machine.stage_number,
            status=specs.Readiness(ready=not unmet, unmet_conditions=listed),
        ),
    )
    yield Described("Versions.runtime.talos.dev", "version", {"version": machine.medium.version})
    yield Described(
        "SecurityStates.talos.dev", "securitystate", {"secureBoot": False, "bootedWithUKI": False}
    )
    yield Described(
        "TimeStatuses.v1alpha1.talos.dev",
        "node",
        {"synced": True, "epoch": 1, "syncDisabled": False},
    )
    platform = {
        "platform": machine.medium.platform,
        "hostname": machine.label,
        "instanceId": machine.hardware.uuid,
    }
    yield Described("PlatformMetadatas.talos.dev", "platformmetadata", platform)
    for service in machine.services:
        running, unknown, healthy = (
            service.state == "Running",
            service.healthy is None,
            bool(service.healthy),
        )
        if running:
            yield Described(
                "Services.v1alpha1.talos.dev",
                service.name,
                {"running": running, "healthy": healthy, "unknown": unknown},
                specs.Service(running=running, healthy=healthy, unknown=unknown),
            )


def _extensions(machine: "Machine") -> Iterator[Described]:
    schematic = machine.medium.schematic
    named = [
        (name.rpartition("/")[2], machine.medium.version)
        for name in extensions(machine.fleet.world, schematic)
    ]
    for number, (name, version) in enumerate([*named, ("schematic", schematic)]):
        metadata = {"name": name, "version": version, "author": "Sidero Labs", "description": name}
        yield Described(
            "ExtensionStatuses.runtime.talos.dev",
            str(number),
            {"image": f"{number:03}.sqsh", "metadata": metadata},
        )


def _config(machine: "Machine") -> Iterator[Described]:
    config = machine.config
    if config is None:
        return
    for name in ("v1alpha1", "persistent"):
        yield Described(
            "MachineConfigs.config.talos.dev",
            name,
            config.text,
            specs.MachineConfig(yaml=config.text.encode()),
            (("talos.dev/yaml-spec", "string"),),
        )
    yield Described("MachineTypes.config.talos.dev", "machine-type", config.role)


def _hardware(machine: "Machine") -> Iterator[Described]:
    hardware = machine.hardware
    if machine.fault("talos-other-machine"):
        stranger = tuple(replace(nic, mac=f"52:54:00{nic.mac[8:]}") for nic in hardware.nics)
        hardware = replace(
            hardware, uuid=str(uuid.uuid5(uuid.NAMESPACE_OID, hardware.uuid)), nics=stranger
        )
    yield Described(
        "SystemInformations.hardware.talos.dev",
        "systeminformation",
        {
            "manufacturer": "QEMU", "productName": "Standard PC (Q35 + ICH9, 2009)", "version": "pc-q35-9.2+pve1",
            "serialnumber": "", "uuid": hardware.uuid, "wakeUpType": "Power Switch",
        },
    )  # fmt: skip
    processor = {
        "socket": "CPU 0",
        "manufacturer": "QEMU",
        "coreCount": hardware.cores,
        "threadCount": hardware.cores,
    }
    yield Described("Processors.hardware.talos.dev", "CPU-0", processor)
    yield Described(
        "MemoryModules.hardware.talos.dev",
        "DIMM-0",
        {"sizeMiB": hardware.memory, "manufacturer": "QEMU"},
    )
    for number, nic in enumerate(hardware.nics):
        yield Described(
            "LinkStatuses.net.talos.dev",
            f"ens{18 + number}",
            {
                "index": number + 2, "type": "ether", "flags": "UP,BROADCAST,RUNNING,MULTICAST,LOWER_UP",
                "hardwareAddr": nic.mac, "permanentAddr": nic.mac, "broadcastAddr": "ff:ff:ff:ff:ff:ff", "mtu": 1500,
                "operationalState": "up", "kind": "", "driver": "virtio_net", "linkState": True,
            },
        )  # fmt: skip


def _network(machine: "Machine") -> Iterator[Described]:
    address, loopback = machine.interface, f"{machine.loopback}/32"
    for link, cidr in (("ens18", str(address)), ("lo", loopback), ("lo", "127.0.0.1/8")):
        yield Described(
            "AddressStatuses.net.talos.dev",
            f"{link}/{cidr}",
            {
                "address": cidr,
                "linkName": link,
                "family": "inet4",
                "scope": "global",
                "flags": "permanent",
            },
        )
    for name in ("default", "current", "routed", "accumulative"):
        listed = [str(address)] if name == "default" else [str(address), loopback]
        yield Described(
            "NodeAddresses.net.talos.dev", name, {"addresses": listed, "sortAlgorithm": "v1"}
        )
    yield Described(
        "HostnameStatuses.net.talos.dev",
        "hostname",
        {"hostname": machine.hostname, "domainname": ""},
    )


def _storage(machine: "Machine") -> Iterator[Described]:
    system = machine.system_disk
    for disk in machine.hardware.disks:
        name = disk.device.rpartition("/")[2]
        yield Described(
            "Disks.block.talos.dev",
            name,
            {
                "dev_path": disk.device, "size": disk.size, "pretty_size": f"{disk.size / 1e9:.0f} GB", "io_size": 512,
                "sector_size": 512, "readonly": False, "cdrom": False, "model": "QEMU HARDDISK", "transport": "scsi",
            },
        )  # fmt: skip
    if system is None:
        return
    name = system.device.rpartition("/")[2]
    yield Described(
        "SystemDisks.block.talos.dev", "system-disk", {"diskID": name, "devPath": system.device}
    )
    sizes = {
        "EFI": 2 * GIB,
        "META": MIB,
        "STATE": 100 * MIB,
        "EPHEMERAL": max(0, system.size - SYSTEM_PARTITIONS),
    }
    for number, (label, size) in enumerate(sizes.items(), start=1):
        location = f"{system.device}{number}"
        yield Described(
            "VolumeStatuses.block.talos.dev",
            label,
            {
                "phase": "ready",
                "type": "partition",
                "location": location,
                "size": size,
                "prettySize": f"{size / 1e9:.1f} GB",
            },
            specs.VolumeStatus(phase=VOLUME_READY, location=location, size=size),
        )


def _cluster(machine: "Machine") -> Iterator[Described]:
    if machine.config is None:
        return
    for member in [machine, *machine.fleet.peers(machine)]:
        if member.config is None or member.boot is None:
            continue
        addresses = [str(member.address), str(member.loopback)]
        control_plane = specs.ControlPlane(port=6443) if member.is_control_plane else None
        os = f"Talos ({member.medium.version})"
        yield Described(
            "Members.cluster.talos.dev",
            member.hostname,
            {
                "nodeId": member.hardware.uuid, "addresses": addresses, "hostname": member.hostname,
                "machineType": member.config.role, "operatingSystem": os,
                **({"controlPlane": {"port": 6443}} if control_plane else {}),
            },
            specs.Member(
                node_id=member.hardware.uuid, hostname=member.hostname, operating_system=os,
                machine_type=MACHINE_TYPES.get(member.config.role, 0), control_plane=control_plane,
                addresses=[specs.Address(ip=member.address.packed), specs.Address(ip=member.loopback.packed)],
            ),
        )  # fmt: skip
    data = machine.content.etcd
    if data is not None:
        yield Described("EtcdMembers.etcd.talos.dev", "local", {"memberID": f"{data.member:016x}"})


def _kubernetes(machine: "Machine") -> Iterator[Described]:
    config = machine.config
    if config is None:
        return
    nodename = {"nodename": machine.hostname, "hostnameVersion": "1", "skipNodeRegistration": False}
    yield Described(
        "Nodenames.kubernetes.talos.dev",
        "nodename",
        nodename,
        specs.Nodename(nodename=machine.hostname, hostname_version="1"),
    )
    image = config.image("kubelet")
    yield Described(
        "KubeletSpecs.kubernetes.talos.dev",
        "kubelet",
        {"image": image, "args": []},
        specs.Kubelet(image=image),
    )
    if not machine.is_control_plane:
        return
    yield from _control_plane(machine)


def _control_plane(machine: "Machine") -> Iterator[Described]:
    config = machine.config
    if config is None:
        return
    server, manager, scheduler = (
        config.image(c) for c in ("apiServer", "controllerManager", "scheduler")
    )
    yield Described(
        "APIServerConfigs.kubernetes.talos.dev",
        "kube-apiserver",
        {"image": server},
        specs.APIServer(image=server),
    )
    for type_, name, image in (
        ("ControllerManagerConfigs", "kube-controller-manager", manager),
        ("SchedulerConfigs", "kube-scheduler", scheduler),
    ):
        spec = {"enabled": True, "image": image}
        yield Described(
            f"{type_}.kubernetes.talos.dev", name, spec, specs.Component(enabled=True, image=image)
        )
    proxy, coredns, cni = config.runs_proxy, config.runs_coredns, config.cni
    yield Described(
        "BootstrapManifestsConfigs.kubernetes.talos.dev",
        "manifests",
        {"proxyEnabled": proxy, "coreDNSEnabled": coredns, "cniName": cni},
        specs.BootstrapManifests(proxy_enabled=proxy, coredns_enabled=coredns, cni_name=cni),
    )
    pods: list[dict[str, Any]] = (
        machine.fleet.kubernetes.static_pods(machine) if machine.fleet.kubernetes else []
    )
    for pod in pods:
        metadata, status = pod["metadata"], pod.get("status", {})
        component = metadata["labels"]["k8s-app"]
        bare = {key: value for key, value in pod.items() if key != "status"}
        yield Described("StaticPods.kubernetes.talos.dev", component, bare, _pod(bare))
        if status:
            name = f"kube-system/{metadata['name']}"
            yield Described("StaticPodStatuses.kubernetes.talos.dev", name, status, _pod(status))


def _pod(value: dict[str, Any]) -> specs.Pod:
    return ParseDict({"pod": value}, specs.Pod())


PARTS: tuple[Part, ...] = (
    _definitions, _runtime, _extensions, _config, _hardware, _network, _storage, _cluster, _kubernetes,
)  # fmt: skip
