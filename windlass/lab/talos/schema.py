"""Which keys a machine config may have: what a Talos of 1.12 and 1.13 knows, as far as the lab checks it.

A nested mapping from key to what is below it: None takes anything, `[x]` is a list of x. Kinds without an entry in
`DOCUMENTS` are known to Talos but their keys are not looked at.
"""

from typing import Any

Shape = dict[str, Any]

_PEM: Shape = {"crt": None, "key": None}
_COMPONENT: Shape = {
    "image": None,
    "extraArgs": None,
    "extraVolumes": None,
    "env": None,
    "resources": None,
}

MACHINE: Shape = {
    "type": None, "token": None, "ca": _PEM, "acceptedCAs": [_PEM], "certSANs": None,
    "controlPlane": {"controllerManager": {"disabled": None}, "scheduler": {"disabled": None}},
    "kubelet": {
        "image": None, "clusterDNS": None, "extraArgs": None, "extraMounts": None, "extraConfig": None,
        "credentialProviderConfig": None, "defaultRuntimeSeccompProfileEnabled": None, "registerWithFQDN": None,
        "nodeIP": {"validSubnets": None}, "skipNodeRegistration": None, "disableManifestsDirectory": None,
    },
    "pods": None,
    "network": {
        "hostname": None,
        "interfaces": [{
            "interface": None, "deviceSelector": None, "addresses": None, "bond": None, "bridge": None,
            "bridgePort": None, "mtu": None, "dhcp": None, "ignore": None, "dummy": None, "dhcpOptions": None,
            "wireguard": None, "vip": {"ip": None, "equinixMetal": None, "hcloud": None},
            "routes": [{"network": None, "gateway": None, "source": None, "metric": None, "mtu": None}],
            "vlans": [{
                "addresses": None, "routes": None, "dhcp": None, "vlanId": None, "mtu": None, "vip": None,
                "dhcpOptions": None,
            }],
        }],
        "nameservers": None, "searchDomains": None, "disableSearchDomain": None, "extraHostEntries": None,
        "kubespan": None,
    },
    "disks": None,
    "install": {
        "disk": None, "diskSelector": None, "extraKernelArgs": None, "image": None, "extensions": None,
        "bootloader": None, "wipe": None, "legacyBIOSSupport": None, "grubUseUKICmdline": None,
    },
    "files": None, "env": None, "time": {"disabled": None, "servers": None, "bootTimeout": None},
    "sysctls": None, "sysfs": None,
    "registries": {"mirrors": None, "config": None},
    "systemDiskEncryption": None,
    "features": {
        "rbac": None, "stableHostname": None, "kubernetesTalosAPIAccess": None, "apidCheckExtKeyUsage": None,
        "diskQuotaSupport": None, "kubePrism": {"enabled": None, "port": None},
        "hostDNS": {"enabled": None, "forwardKubeDNSToHost": None, "resolveMemberNames": None},
        "imageCache": None, "nodeAddressSortAlgorithm": None,
    },
    "udev": None, "logging": None, "kernel": {"modules": [{"name": None, "parameters": None}]},
    "seccompProfiles": None, "baseRuntimeSpecOverrides": None, "nodeLabels": None, "nodeAnnotations": None,
    "nodeTaints": None,
}  # fmt: skip

CLUSTER: Shape = {
    "id": None, "secret": None, "controlPlane": {"endpoint": None, "localAPIServerPort": None},
    "clusterName": None,
    "network": {
        "cni": {"name": None, "urls": None, "flannel": None}, "dnsDomain": None, "podSubnets": None,
        "serviceSubnets": None,
    },
    "token": None, "aescbcEncryptionSecret": None, "secretboxEncryptionSecret": None, "ca": _PEM,
    "acceptedCAs": [_PEM], "aggregatorCA": _PEM, "serviceAccount": {"key": None},
    "apiServer": _COMPONENT | {
        "certSANs": None, "disablePodSecurityPolicy": None, "admissionControl": None, "auditPolicy": None,
        "authorizationConfig": None,
    },
    "controllerManager": _COMPONENT,
    "proxy": {"disabled": None, "image": None, "mode": None, "extraArgs": None},
    "scheduler": _COMPONENT | {"config": None},
    "discovery": {
        "enabled": None,
        "registries": {"kubernetes": {"disabled": None}, "service": {"disabled": None, "endpoint": None}},
    },
    "etcd": {
        "image": None, "ca": _PEM, "extraArgs": None, "subnet": None, "advertisedSubnets": None,
        "listenSubnets": None,
    },
    "coreDNS": {"disabled": None, "image": None},
    "externalCloudProvider": {"enabled": None, "manifests": None},
    "extraManifests": None, "extraManifestHeaders": None,
    "inlineManifests": [{"name": None, "contents": None}],
    "adminKubeconfig": {"certLifetime": None}, "allowSchedulingOnControlPlanes": None,
    "allowSchedulingOnMasters": None,
}  # fmt: skip

V1ALPHA1: Shape = {
    "version": None,
    "debug": None,
    "persist": None,
    "machine": MACHINE,
    "cluster": CLUSTER,
}

_LINK: Shape = {
    "name": None,
    "up": None,
    "mtu": None,
    "addresses": [{"address": None, "routePriority": None}],
    "routes": None,
}
_VOLUME: Shape = {
    "name": None,
    "provisioning": None,
    "encryption": None,
    "filesystem": None,
    "mount": None,
}

DOCUMENTS: dict[str, Shape] = {
    "HostnameConfig": {"auto": None, "hostname": None},
    "Layer2VIPConfig": {"name": None, "link": None},
    "LinkConfig": _LINK,
    "DummyLinkConfig": _LINK | {"hardwareAddr": None},
    "LinkAliasConfig": {"name": None, "selector": {"match": None}},
    "DHCPv4Config": {
        "name": None,
        "routeMetric": None,
        "ignoreHostname": None,
        "clientIdentifier": None,
        "duidRaw": None,
    },
    "ResolverConfig": {"nameservers": [{"address": None}], "searchDomains": None},
    "TimeSyncConfig": {"enabled": None, "bootTimeout": None, "ntp": None, "ptp": None},
    "StaticHostConfig": {"name": None, "hostnames": None},
    "UserVolumeConfig": _VOLUME | {"volumeType": None},
    "VolumeConfig": _VOLUME,
    "SwapVolumeConfig": {"name": None, "provisioning": None, "encryption": None},
    "RawVolumeConfig": {"name": None, "provisioning": None, "encryption": None},
    "ExtensionServiceConfig": {"name": None, "configFiles": None, "environment": None},
    "KmsgLogConfig": {"name": None, "url": None},
    "EventSinkConfig": {"endpoint": None},
    "WatchdogTimerConfig": {"device": None, "timeout": None},
    "TrustedRootsConfig": {"name": None, "certificates": None},
}

# Kinds that both versions take.
_SINCE_1_12 = (
    "BlackholeRouteConfig BondConfig BridgeConfig DHCPv4Config DHCPv6Config DummyLinkConfig EthernetConfig "
    "EventSinkConfig ExistingVolumeConfig ExtensionServiceConfig HCloudVIPConfig HostnameConfig KmsgLogConfig "
    "KubeSpanEndpointsConfig Layer2VIPConfig LinkAliasConfig LinkConfig NetworkDefaultActionConfig NetworkRuleConfig "
    "OOMConfig PCIDriverRebindConfig RawVolumeConfig RegistryAuthConfig RegistryMirrorConfig RegistryTLSConfig "
    "ResolverConfig SideroLinkConfig StaticHostConfig SwapVolumeConfig TimeSyncConfig TrustedRootsConfig "
    "UserVolumeConfig VLANConfig VolumeConfig WatchdogTimerConfig WireguardConfig ZswapConfig"
)
_SINCE_1_13 = (
    "EnvironmentConfig ExternalVolumeConfig ImageVerificationConfig KubeSpanConfig RoutingRuleConfig TCPProbeConfig "
    "VRFConfig"
)


def kinds(version: tuple[int, int]) -> frozenset[str]:
    """The document kinds a Talos of this minor version has registered."""
    known = _SINCE_1_12 if version < (1, 13) else f"{_SINCE_1_12} {_SINCE_1_13}"
    return frozenset(known.split())


def unknown_keys(value: Any, shape: Any) -> Any:
    """The part of `value` that the shape does not know, in the same nesting; None if it knows everything."""
    if isinstance(shape, list) and isinstance(value, list):
        found = [unknown_keys(item, shape[0]) for item in value]  # pyright: ignore[reportUnknownVariableType]
        return [item for item in found if item is not None] or None
    if not isinstance(shape, dict) or not isinstance(value, dict):
        return None
    unknown: dict[Any, Any] = {}
    for key, below in value.items():  # pyright: ignore[reportUnknownVariableType]
        if key not in shape:
            unknown[key] = below
        elif (deeper := unknown_keys(below, shape[key])) is not None:
            unknown[key] = deeper
    return unknown or None
