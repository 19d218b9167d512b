"""Whether a config may be used on a machine: Talos' own checks, in Talos' own words, all of them at once."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from windlass.lab.machine import Disk
from windlass.lab.talos.configuration import ConfigError, MachineConfig, minor

# Kubernetes minors that each Talos minor runs.
KUBERNETES = {(1, 12): (1, 30, 1, 35), (1, 13): (1, 31, 1, 36)}
_IMAGES = {
    "kubelet": "kubelet", "apiServer": "kube-apiserver", "controllerManager": "kube-controller-manager",
    "scheduler": "kube-scheduler", "proxy": "kube-proxy",
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What the config is checked against."""

    version: str
    installed: bool
    disks: tuple[Disk, ...]


def check(config: MachineConfig, setting: Setting) -> None:
    """Raises ConfigError with everything that is wrong."""
    if not config.main:
        raise ConfigError(
            "the applied machine configuration doesn't contain v1alpha1 config, did you mean to patch the machine config"
            " instead?"
        )
    _raise(
        _general(config)
        + _install(config, setting)
        + _authorities(config)
        + _roles(config)
        + _cluster(config, setting)
    )
    _raise(_disks(config, setting))


def _raise(errors: list[str]) -> None:
    if errors:
        count = f"{len(errors)} error{'s' if len(errors) > 1 else ''} occurred:"
        raise ConfigError(count + "".join(f"\n\t* {error}" for error in errors) + "\n\n")


def _general(config: MachineConfig) -> list[str]:
    errors: list[str] = []
    if not config.machine:
        errors.append("machine instructions are required")
    if not config.cluster:
        return [*errors, "cluster instructions are required"]
    if not config.endpoint:
        errors.append("cluster controlplane endpoint is required")
    elif urlsplit(config.endpoint).scheme not in {"http", "https"} or not config.endpoint_host:
        errors.append(
            f'invalid controlplane endpoint: parse "{config.endpoint}": invalid URI for request'
        )
    if config.machine and config.role not in {"controlplane", "worker", "init"}:
        errors.append(f'unknown machine type "{config.role}"')
    if config.main.get("persist") is False:
        errors.append(".persist should be enabled")
    discovery = config.cluster.get("discovery") or {}
    service = (discovery.get("registries") or {}).get("service") or {}
    if discovery.get("enabled") and not service.get("disabled"):
        errors += [
            f"cluster discovery service requires .cluster.{key}"
            for key in ("id", "secret")
            if not config.cluster.get(key)
        ]
    return errors


def _install(config: MachineConfig, setting: Setting) -> list[str]:
    if setting.installed:
        return []
    install = config.machine.get("install")
    if not install:
        return ['install instructions are required in "metal" mode']
    if not install.get("disk") and not install.get("diskSelector"):
        return ["either install disk or diskSelector should be defined"]
    if install.get("extraKernelArgs") and install.get("grubUseUKICmdline"):
        return ["install.extraKernelArgs and install.grubUseUKICmdline can't be used together"]
    return []


def _authorities(config: MachineConfig) -> list[str]:
    ca, accepted = config.machine.get("ca") or {}, config.machine.get("acceptedCAs")
    cluster_key = (config.cluster.get("ca") or {}).get("key")
    if config.is_control_plane:
        if not ca.get("crt"):
            return ["issuing CA is required (.machine.ca)"]
        if not ca.get("key"):
            return ["issuing CA key is required for controlplane nodes (.machine.ca.key)"]
        return []
    errors: list[str] = []
    if ca.get("key"):
        errors.append(
            "issuing Talos API CA key is not allowed on non-controlplane nodes (.machine.ca)"
        )
    if not ca.get("crt") and not accepted:
        errors.append(
            "trusted CA certificates are required on non-controlplane nodes (.machine.ca.crt, .machine.acceptedCAs)"
        )
    if cluster_key:
        errors.append(
            "issuing Kubernetes API CA key is not allowed on non-controlplane nodes (.cluster.ca)"
        )
    return errors


def _roles(config: MachineConfig) -> list[str]:
    if config.is_control_plane:
        return []
    errors: list[str] = []
    if config.cluster.get("etcd"):
        errors.append("etcd config is only allowed on control plane machines")
    if config.vip() is not None:
        errors.append("virtual (shared) IP is not allowed on non-controlplane nodes")
    if ((config.machine.get("features") or {}).get("kubernetesTalosAPIAccess") or {}).get(
        "enabled"
    ):
        errors.append(
            "feature Kubernetes Talos API Access can only be enabled on control plane machines"
        )
    return errors


def _cluster(config: MachineConfig, setting: Setting) -> list[str]:
    errors: list[str] = []
    cni = (config.cluster.get("network") or {}).get("cni") or {}
    if cni and cni.get("name") not in {"flannel", "custom", "none"}:
        errors.append('cni name should be one of ["flannel", "custom", "none"]')
    elif cni.get("urls") and cni.get("name") in {"flannel", "none"}:
        errors.append(f'"urls" field should be empty for "{cni["name"]}" CNI')
    names = [
        str(manifest.get("name") or "") for manifest in config.cluster.get("inlineManifests") or ()
    ]
    errors += ["inline manifest name can't be empty" for name in names if not name]
    errors += [
        f'inline manifest name "{n}" is duplicate'
        for n in sorted({n for n in names if n and names.count(n) > 1})
    ]
    return errors + _images(config, setting)


def _images(config: MachineConfig, setting: Setting) -> list[str]:
    oldest_major, oldest, newest_major, newest = KUBERNETES.get(
        minor(setting.version), (1, 0, 9, 99)
    )
    errors: list[str] = []
    for component, called in _IMAGES.items():
        tag = config.image(component).rpartition(":")[2]
        if not tag.startswith("v") or tag.count(".") < 2:
            continue
        runs = minor(tag.partition("-")[0])
        word = (
            "old"
            if runs < (oldest_major, oldest)
            else "new"
            if runs > (newest_major, newest)
            else None
        )
        if word:
            errors.append(
                f"{called} image is not valid: version of Kubernetes {tag.removeprefix('v')} is too {word} to be used"
                f" with Talos {setting.version.removeprefix('v')}"
            )
    return errors


def _disks(config: MachineConfig, setting: Setting) -> list[str]:
    """What only the machine itself can know."""
    if setting.installed or not config.install_disk:
        return []
    if config.install_disk in {disk.device for disk in setting.disks}:
        return []
    return [f'no disks matched the expression: disk.dev_path == "{config.install_disk}"']
