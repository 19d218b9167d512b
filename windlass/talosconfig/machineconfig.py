"""Machine configs: what the site file says about a node, as the documents its Talos version reads.

The contract is that of the version the site names; 1.12 and 1.13 share one. Unknown keys are fatal to Talos, so
nothing is written that these versions do not know.
"""

from collections.abc import Collection
from typing import Any

import yaml

from windlass.errors import BadInputError
from windlass.models.site import DataDisk, Node, Site
from windlass.models.versions import BUILT, dotted_minor, minor
from windlass.talosconfig.schematic import installer_image, schematic_id
from windlass.talosconfig.secrets import SecretsBundle, b64, encoded_pair

Document = dict[str, Any]

SYSTEM_DISK = "/dev/sda"
KUBE_PRISM_PORT = 7445
# Load balancers that Kubernetes drives skip control planes.
CONTROL_PLANE_LABELS = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
POD_SECURITY: Document = {
    "apiVersion": "pod-security.admission.config.k8s.io/v1alpha1",
    "kind": "PodSecurityConfiguration",
    "defaults": {
        "audit": "restricted",
        "audit-version": "latest",
        "enforce": "baseline",
        "enforce-version": "latest",
        "warn": "restricted",
        "warn-version": "latest",
    },
    "exemptions": {"namespaces": ["kube-system"], "runtimeClasses": [], "usernames": []},
}
AUDIT_POLICY: Document = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "rules": [{"level": "Metadata"}],
}


def machine_config(
    site: Site, node: Node, secrets: SecretsBundle, extra_sans: Collection[str] = ()
) -> str:
    """The config of `node`, by its role. `extra_sans` are further names and addresses it is called by.

    Raises:
        BadInputError: the site's Talos version has a contract that is not written here.
    """
    if node.role == "controlplane":
        return control_plane_config(site, node, secrets, extra_sans)
    return worker_config(site, node, secrets, extra_sans)


def control_plane_config(
    site: Site, node: Node, secrets: SecretsBundle, extra_sans: Collection[str] = ()
) -> str:
    """The config of a control plane: the certificate authorities with their keys are inside."""
    _check_contract(site.cluster.talos)
    names = api_names(site, extra_sans)
    machine = _machine(site, node, secrets, names)
    machine["ca"] = encoded_pair(secrets.os)
    machine["nodeLabels"] = CONTROL_PLANE_LABELS | node.labels
    cluster = _cluster(site, secrets) | _control_plane(site, secrets, names)
    return _render(node, machine, cluster)


def worker_config(
    site: Site, node: Node, secrets: SecretsBundle, extra_sans: Collection[str] = ()
) -> str:
    """The config of a worker: no key of any authority is inside, Talos refuses them there."""
    _check_contract(site.cluster.talos)
    machine = _machine(site, node, secrets, [str(node.address), *extra_sans])
    if node.labels:
        machine["nodeLabels"] = dict(node.labels)
    return _render(node, machine, _cluster(site, secrets))


def api_names(site: Site, extra_sans: Collection[str] = ()) -> list[str]:
    """What the cluster's APIs are called by: endpoint, VIP, all control planes, then `extra_sans`."""
    names = [site.cluster.endpoint]
    if site.cluster.vip is not None:
        names.append(str(site.cluster.vip))
    names += [str(node.address) for node in site.control_planes]
    return list(dict.fromkeys([*names, *extra_sans]))


def _check_contract(version: str) -> None:
    if minor(version) not in BUILT:
        known = " and ".join(dotted_minor(one) for one in BUILT)
        raise BadInputError(f"cluster.talos: {version}: configs are written for Talos {known}")


def _machine(site: Site, node: Node, secrets: SecretsBundle, names: list[str]) -> Document:
    cluster = site.cluster
    schematic = schematic_id(cluster.schematic.extensions, cluster.schematic.kernel_args)
    machine: Document = {
        "type": node.role,
        "token": secrets.trustd_token,
        "ca": {"crt": b64(secrets.os.crt), "key": ""},
        "certSANs": list(dict.fromkeys(names)),
        "kubelet": {
            "image": f"ghcr.io/siderolabs/kubelet:{cluster.kubernetes}",
            "defaultRuntimeSeccompProfileEnabled": True,
            "disableManifestsDirectory": True,
        },
        "network": _network(site, node),
        "install": {
            "disk": SYSTEM_DISK,
            "image": installer_image(cluster.image.factory, schematic, cluster.talos),
            "wipe": False,
            "grubUseUKICmdline": True,
        },
        "features": {
            "diskQuotaSupport": True,
            "kubePrism": {"enabled": True, "port": KUBE_PRISM_PORT},
            "hostDNS": {"enabled": True, "forwardKubeDNSToHost": True},
        },
    }
    if cluster.time_servers:
        machine["time"] = {"servers": list(cluster.time_servers)}
    if node.taints:
        machine["nodeTaints"] = dict(node.taints)
    return machine | _kernel(node)


def _network(site: Site, node: Node) -> Document:
    interface: Document = {
        "deviceSelector": {"hardwareAddr": node.mac},
        "addresses": [str(site.interface(node))],
        "routes": [{"network": "0.0.0.0/0", "gateway": str(site.cluster.gateway)}],
        "dhcp": False,
    }
    if node.role == "controlplane" and site.cluster.vip is not None:
        interface["vip"] = {"ip": str(site.cluster.vip)}
    return {
        "interfaces": [interface],
        "nameservers": [str(address) for address in site.cluster.nameservers],
    }


def _kernel(node: Node) -> Document:
    if not node.kernel_modules:
        return {}
    kernel: Document = {"kernel": {"modules": [{"name": name} for name in node.kernel_modules]}}
    if any(name.startswith("nvidia") for name in node.kernel_modules):
        # NVIDIA's container toolkit attaches BPF programs, which hardened JIT refuses.
        kernel["sysctls"] = {"net.core.bpf_jit_harden": "1"}
    return kernel


def _cluster(site: Site, secrets: SecretsBundle) -> Document:
    cluster = site.cluster
    network: Document = {
        "dnsDomain": cluster.domain,
        "podSubnets": [str(cluster.pod_network)],
        "serviceSubnets": [str(cluster.service_network)],
    }
    if cluster.cni == "none":
        network["cni"] = {"name": "none"}
    return {
        "id": secrets.cluster_id,
        "secret": secrets.cluster_secret,
        "controlPlane": {"endpoint": f"https://{cluster.endpoint}:{cluster.port}"},
        "clusterName": cluster.name,
        "network": network,
        "token": secrets.bootstrap_token,
        "ca": {"crt": b64(secrets.kubernetes.crt), "key": ""},
        "discovery": {
            "enabled": True,
            "registries": {"kubernetes": {"disabled": True}, "service": {}},
        },
    }


def _control_plane(site: Site, secrets: SecretsBundle, names: list[str]) -> Document:
    version = site.cluster.kubernetes
    proxy: Document = {"image": f"registry.k8s.io/kube-proxy:{version}"}
    encryption = (
        {"secretboxEncryptionSecret": secrets.secretbox}
        if secrets.secretbox
        else {"aescbcEncryptionSecret": secrets.aescbc}
    )
    parts: Document = encryption | {
        "ca": encoded_pair(secrets.kubernetes),
        "aggregatorCA": encoded_pair(secrets.aggregator),
        "serviceAccount": {"key": b64(secrets.service_account)},
        "apiServer": {
            "image": f"registry.k8s.io/kube-apiserver:{version}",
            "certSANs": names,
            "admissionControl": [{"name": "PodSecurity", "configuration": POD_SECURITY}],
            "auditPolicy": AUDIT_POLICY,
        },
        "controllerManager": {"image": f"registry.k8s.io/kube-controller-manager:{version}"},
        "proxy": proxy if site.cluster.kube_proxy else {"disabled": True},
        "scheduler": {"image": f"registry.k8s.io/kube-scheduler:{version}"},
        "etcd": {"ca": encoded_pair(secrets.etcd)},
        "allowSchedulingOnControlPlanes": False,
    }
    if site.cluster.extra_manifests:
        parts["extraManifests"] = list(site.cluster.extra_manifests)
    return parts


def _volumes(node: Node) -> list[Document]:
    """User volumes of the disks that have a mount. Proxmox attaches data disks behind the system disk, in order."""
    devices = [f"/dev/sd{chr(ord('b') + place)}" for place in range(len(node.data_disks))]
    return [
        _volume(device, disk.mount, disk)
        for device, disk in zip(devices, node.data_disks, strict=True)
        if disk.mount is not None
    ]


def _volume(device: str, name: str, disk: DataDisk) -> Document:
    return {
        "apiVersion": "v1alpha1",
        "kind": "UserVolumeConfig",
        "name": name,
        "provisioning": {
            # A disk that came up under another name is left alone rather than the system's taken for it.
            "diskSelector": {"match": f'disk.dev_path == "{device}" && !system_disk'},
            # Room for the partition table; the volume then grows over the whole disk.
            "minSize": f"{max(disk.size * 1024 - 512, 512)}MiB",
            "grow": True,
        },
    }


def _render(node: Node, machine: Document, cluster: Document) -> str:
    main: Document = {
        "version": "v1alpha1",
        "debug": False,
        "persist": True,
        "machine": machine,
        "cluster": cluster,
    }
    hostname: Document = {
        "apiVersion": "v1alpha1",
        "kind": "HostnameConfig",
        "auto": "off",
        "hostname": node.name,
    }
    return yaml.dump_all(
        [main, hostname, *_volumes(node)], Dumper=_PlainDumper, sort_keys=False, width=1_000_000
    )


class _PlainDumper(yaml.SafeDumper):
    """Writes a value that occurs twice twice: Talos reads no YAML anchors that people could follow."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True
