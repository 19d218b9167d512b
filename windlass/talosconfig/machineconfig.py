"""Machine configurations for Talos 1.12 and 1.13, made from the site file and the secrets bundle.

Written for the contract of the version a node will run: an older Talos refuses keys it does not know.
"""

from collections.abc import Collection
from typing import Any

import yaml

from windlass.models.site import Node, Site
from windlass.talosconfig.schematic import installer_image, schematic_id
from windlass.talosconfig.secrets import SecretsBundle, b64

Document = dict[str, Any]

SYSTEM_DISK = "/dev/sda"
# The NVIDIA modules want nothing more than to be loaded; which ones, the node says in kernel_modules.
NO_LOAD_BALANCER = "node.kubernetes.io/exclude-from-external-load-balancers"


def control_plane_config(
    site: Site, node: Node, secrets: SecretsBundle, *, extra_sans: Collection[str] = ()
) -> str:
    """The configuration of a control plane, as multi-document YAML. `extra_sans` also name its certificates."""
    sans = _sans(site, extra_sans)
    machine = _machine(site, node, sans)
    machine["ca"] = {"crt": b64(secrets.os.crt), "key": b64(secrets.os.key)}
    machine["token"] = secrets.trustd_token
    machine["nodeLabels"] = {NO_LOAD_BALANCER: ""} | dict(node.labels)
    cluster = _cluster(site, secrets) | {
        "ca": {"crt": b64(secrets.kubernetes.crt), "key": b64(secrets.kubernetes.key)},
        "aggregatorCA": {"crt": b64(secrets.aggregator.crt), "key": b64(secrets.aggregator.key)},
        "serviceAccount": {"key": b64(secrets.service_account)},
        "secretboxEncryptionSecret": secrets.secretbox,
        "apiServer": {
            "image": f"registry.k8s.io/kube-apiserver:{site.cluster.kubernetes}",
            "certSANs": sans,
            "admissionControl": [_pod_security()],
        },
        "controllerManager": {
            "image": f"registry.k8s.io/kube-controller-manager:{site.cluster.kubernetes}"
        },
        "scheduler": {"image": f"registry.k8s.io/kube-scheduler:{site.cluster.kubernetes}"},
        "proxy": _proxy(site),
        "etcd": {
            "ca": {"crt": b64(secrets.etcd.crt), "key": b64(secrets.etcd.key)},
            "advertisedSubnets": [str(site.cluster.network)],
        },
    }
    if site.cluster.extra_manifests:
        cluster["extraManifests"] = list(site.cluster.extra_manifests)
    return _documents(node, machine, cluster)


def worker_config(
    site: Site, node: Node, secrets: SecretsBundle, *, extra_sans: Collection[str] = ()
) -> str:
    """The configuration of a worker: certificates of the authorities, never their keys."""
    machine = _machine(site, node, _sans(site, extra_sans))
    machine["ca"] = {"crt": b64(secrets.os.crt), "key": ""}
    machine["token"] = secrets.trustd_token
    if node.labels:
        machine["nodeLabels"] = dict(node.labels)
    cluster = _cluster(site, secrets) | {"ca": {"crt": b64(secrets.kubernetes.crt), "key": ""}}
    return _documents(node, machine, cluster)


def _sans(site: Site, extra: Collection[str]) -> list[str]:
    cluster = site.cluster
    named = [cluster.endpoint, *([str(cluster.vip)] if cluster.vip else [])]
    planes = [str(node.address) for node in site.control_planes]
    return list(dict.fromkeys([*named, *planes, *extra]))


def _machine(site: Site, node: Node, sans: list[str]) -> Document:
    cluster = site.cluster
    schematic = schematic_id(cluster.schematic.extensions, cluster.schematic.kernel_args)
    machine: Document = {
        "type": node.role,
        "certSANs": sans,
        "kubelet": {
            "image": f"ghcr.io/siderolabs/kubelet:{cluster.kubernetes}",
            "defaultRuntimeSeccompProfileEnabled": True,
            "disableManifestsDirectory": True,
            "nodeIP": {"validSubnets": [str(cluster.network)]},
        },
        "network": {
            "interfaces": [_interface(site, node)],
            "nameservers": [str(server) for server in cluster.nameservers],
        },
        "install": {
            "disk": SYSTEM_DISK,
            "image": installer_image(cluster.image.factory, schematic, cluster.talos),
            "wipe": False,
            "grubUseUKICmdline": True,
        },
        "features": {
            "diskQuotaSupport": True,
            "kubePrism": {"enabled": True, "port": 7445},
            "hostDNS": {"enabled": True, "forwardKubeDNSToHost": True},
        },
    }
    if cluster.time_servers:
        machine["time"] = {"servers": list(cluster.time_servers)}
    if node.kernel_modules:
        machine["kernel"] = {"modules": [{"name": module} for module in node.kernel_modules]}
    if node.taints:
        machine["nodeTaints"] = dict(node.taints)
    return machine


def _interface(site: Site, node: Node) -> Document:
    interface: Document = {
        "deviceSelector": {"hardwareAddr": node.mac},
        "addresses": [str(site.interface(node))],
        "routes": [{"network": "0.0.0.0/0", "gateway": str(site.cluster.gateway)}],
        "dhcp": False,
    }
    if node.role == "controlplane" and site.cluster.vip is not None:
        interface["vip"] = {"ip": str(site.cluster.vip)}
    return interface


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
        "discovery": {
            "enabled": True,
            "registries": {"kubernetes": {"disabled": True}, "service": {}},
        },
    }


def _proxy(site: Site) -> Document:
    if not site.cluster.kube_proxy:
        return {"disabled": True}
    return {"image": f"registry.k8s.io/kube-proxy:{site.cluster.kubernetes}"}


def _pod_security() -> Document:
    """Baseline is enforced; kube-system is exempt, since the control plane itself lives there."""
    modes = {"enforce": "baseline", "audit": "restricted", "warn": "restricted"}
    defaults = {
        key: value
        for mode, level in modes.items()
        for key, value in ((mode, level), (f"{mode}-version", "latest"))
    }
    return {
        "name": "PodSecurity",
        "configuration": {
            "apiVersion": "pod-security.admission.config.k8s.io/v1alpha1",
            "kind": "PodSecurityConfiguration",
            "defaults": defaults,
            "exemptions": {"namespaces": ["kube-system"], "runtimeClasses": [], "usernames": []},
        },
    }


def _documents(node: Node, machine: Document, cluster: Document) -> str:
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
        "hostname": node.name,
        "auto": "off",
    }
    return yaml.safe_dump_all([main, hostname, *_volumes(node)], sort_keys=False)


def _volumes(node: Node) -> list[Document]:
    """A user volume for each data disk with a mount: the second disk of the VM is /dev/sdb, and so on."""
    return [
        {
            "apiVersion": "v1alpha1",
            "kind": "UserVolumeConfig",
            "name": disk.mount,
            "provisioning": {
                "diskSelector": {"match": f'disk.dev_path == "/dev/sd{letter}"'},
                "minSize": "1GiB",
                "grow": True,
            },
        }
        for letter, disk in zip("bcdefghijklmnop", node.data_disks, strict=False)
        if disk.mount
    ]
