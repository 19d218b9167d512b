"""Whether a config may be used on a machine: Talos' own checks, in Talos' own words, all of them at once."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from windlass.lab.machine import Disk
from windlass.lab.talos.configuration import ConfigError, MachineConfig, minor
from windlass.lab.talos.trees import flag, rows, table, text
from windlass.models.versions import SUPPORT

_IMAGES = {
    "kubelet": "kubelet", "apiServer": "kube-apiserver", "controllerManager": "kube-controller-manager",
    "scheduler": "kube-scheduler", "proxy": "kube-proxy",
}  # fmt: skip
_TAG = re.compile(r":v(\d+)\.(\d+)\.\d+")


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
            "the applied machine configuration doesn't contain v1alpha1 config, did you mean to patch the machine"
            " config instead?"
        )
    _raise([error for rule in RULES for error in rule(config, setting)])
    _raise(_disks(config, setting))


def _raise(errors: list[str]) -> None:
    if errors:
        count = f"{len(errors)} error{'s' if len(errors) > 1 else ''} occurred:"
        raise ConfigError(count + "".join(f"\n\t* {error}" for error in errors) + "\n\n")


def _general(config: MachineConfig, _setting: Setting) -> list[str]:
    errors: list[str] = []
    if not config.machine:
        errors.append("machine instructions are required")
    elif config.role not in {"controlplane", "worker", "init"}:
        errors.append(f'unknown machine type "{config.role}"')
    if config.main.get("persist") is False:
        errors.append(".persist should be enabled")
    if not config.cluster:
        errors.append("cluster instructions are required")
    return errors


def _endpoint(config: MachineConfig, _setting: Setting) -> list[str]:
    if not config.cluster:
        return []
    if not config.endpoint:
        return ["cluster controlplane endpoint is required"]
    if urlsplit(config.endpoint).scheme not in {"http", "https"} or not config.endpoint_host:
        return [
            f'invalid controlplane endpoint: parse "{config.endpoint}": invalid URI for request'
        ]
    return []


def _discovery(config: MachineConfig, _setting: Setting) -> list[str]:
    if not flag(config.cluster, "discovery", "enabled"):
        return []
    if flag(config.cluster, "discovery", "registries", "service", "disabled"):
        return []
    return [
        f"cluster discovery service requires .cluster.{key}"
        for key in ("id", "secret")
        if not text(config.cluster, key)
    ]


def _install(config: MachineConfig, setting: Setting) -> list[str]:
    if setting.installed:
        return []
    install = table(config.machine, "install")
    if not install:
        return ['install instructions are required in "metal" mode']
    if not install.get("disk") and not install.get("diskSelector"):
        return ["either install disk or diskSelector should be defined"]
    if install.get("extraKernelArgs") and install.get("grubUseUKICmdline"):
        return ["install.extraKernelArgs and install.grubUseUKICmdline can't be used together"]
    return []


def _plane_authority(config: MachineConfig, _setting: Setting) -> list[str]:
    if not config.is_control_plane:
        return []
    if not text(config.machine, "ca", "crt"):
        return ["issuing CA is required (.machine.ca)"]
    if not text(config.machine, "ca", "key"):
        return ["issuing CA key is required for controlplane nodes (.machine.ca.key)"]
    return []


def _worker_authorities(config: MachineConfig, _setting: Setting) -> list[str]:
    if config.role != "worker":
        return []
    errors: list[str] = []
    if text(config.machine, "ca", "key"):
        errors.append(
            "issuing Talos API CA key is not allowed on non-controlplane nodes (.machine.ca)"
        )
    if not text(config.machine, "ca", "crt") and not rows(config.machine, "acceptedCAs"):
        errors.append(
            "trusted CA certificates are required on non-controlplane nodes"
            " (.machine.ca.crt, .machine.acceptedCAs)"
        )
    if text(config.cluster, "ca", "key"):
        errors.append(
            "issuing Kubernetes API CA key is not allowed on non-controlplane nodes (.cluster.ca)"
        )
    return errors


def _readable(config: MachineConfig, _setting: Setting) -> list[str]:
    """What has a form of its own: certificates, keys, addresses."""
    errors: list[str] = []
    parts: list[Callable[[], object]] = [config.addresses, config.vip]
    if config.is_control_plane and text(config.machine, "ca", "key"):
        parts += [lambda: config.os_authority, lambda: config.cluster_authority]
    for part in parts:
        try:
            part()
        except (ValueError, TypeError) as error:
            errors.append(str(error))
    return errors


def _roles(config: MachineConfig, _setting: Setting) -> list[str]:
    if config.role != "worker":
        return []
    errors: list[str] = []
    if table(config.cluster, "etcd"):
        errors.append("etcd config is only allowed on control plane machines")
    if any(text(one, "vip", "ip") for one in rows(config.machine, "network", "interfaces")):
        errors.append("virtual (shared) IP is not allowed on non-controlplane nodes")
    if flag(config.machine, "features", "kubernetesTalosAPIAccess", "enabled"):
        errors.append(
            "feature Kubernetes Talos API Access can only be enabled on control plane machines"
        )
    return errors


def _network(config: MachineConfig, _setting: Setting) -> list[str]:
    cni = table(config.cluster, "network", "cni")
    if cni and cni.get("name") not in {"flannel", "custom", "none"}:
        return ['cni name should be one of ["flannel", "custom", "none"]']
    if cni.get("urls") and cni.get("name") in {"flannel", "none"}:
        return [f'"urls" field should be empty for "{cni["name"]}" CNI']
    return []


def _manifests(config: MachineConfig, _setting: Setting) -> list[str]:
    names = [name for name, _ in config.inline_manifests]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    errors = ["inline manifest name can't be empty" for name in names if not name]
    return errors + [f'inline manifest name "{name}" is duplicate' for name in twice]


def _images(config: MachineConfig, setting: Setting) -> list[str]:
    support, errors = SUPPORT.get(minor(setting.version)), list[str]()
    for component, called in _IMAGES.items():
        tag = _TAG.search(config.image(component))
        if tag is None or support is None:
            continue
        runs = int(tag[1]), int(tag[2])
        is_old, is_new = runs < support.kubernetes_min, runs > support.kubernetes_max
        if is_old or is_new:
            errors.append(
                f"{called} image is not valid: version of Kubernetes {tag[0].removeprefix(':v')} is too"
                f" {'old' if is_old else 'new'} to be used with Talos {setting.version.removeprefix('v')}"
            )
    return errors


def _disks(config: MachineConfig, setting: Setting) -> list[str]:
    """What only the machine itself can know."""
    if setting.installed or not config.install_disk:
        return []
    if config.install_disk in {disk.device for disk in setting.disks}:
        return []
    return [f'no disks matched the expression: disk.dev_path == "{config.install_disk}"']


RULES: tuple[Callable[[MachineConfig, Setting], list[str]], ...] = (
    _general, _endpoint, _discovery, _install, _plane_authority, _worker_authorities, _readable, _roles, _network,
    _manifests, _images,
)  # fmt: skip
