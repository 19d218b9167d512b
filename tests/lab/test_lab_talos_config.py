"""Which machine configs the lab's Talos takes, and what it says to the others."""

from typing import Any

import pytest
import yaml

from tests.lab.talos_fixture import Cluster, hardware
from windlass.lab.talos.configuration import ConfigError
from windlass.lab.talos.decoding import decode
from windlass.lab.talos.validation import Setting, check

VM = hardware(11, "cp-1")
GONE = object()


def refusal(role: str, **changes: Any) -> str:
    """What Talos says to a good config with these changes: keys are paths with `__` between the parts."""
    document = Cluster().document(VM, role)
    for path, value in changes.items():
        *parents, last = path.split("__")
        part: dict[str, Any] = document
        for parent in parents:
            part = part.setdefault(parent, {})
        if value is GONE:
            del part[last]
        else:
            part[last] = value
    with pytest.raises(ConfigError) as refused:
        check(
            decode(yaml.safe_dump(document).encode(), "v1.13.9"),
            Setting("v1.13.9", installed=False, disks=VM.disks),
        )
    return str(refused.value)


@pytest.mark.parametrize("role", ["controlplane", "worker"])
@pytest.mark.parametrize("version", ["v1.12.11", "v1.13.9"])
def test_a_good_config_is_taken(role: str, version: str):
    config = decode(Cluster().config(VM, role), version)

    check(config, Setting(version, installed=False, disks=VM.disks))

    assert config.hostname == "cp-1"


def test_unknown_keys_are_named_in_their_place():
    said = refusal("controlplane", machine__features__foo=True)

    assert said == (
        "error decoding document /v1alpha1/ (line 1): unknown keys found during decoding:\n"
        "machine:\n    features:\n        foo: true\n"
    )


def test_all_that_is_wrong_is_said_at_once():
    said = refusal("controlplane", machine__type="server", cluster__controlPlane__endpoint="")

    assert said.startswith("2 errors occurred:\n\t* ")
    assert '\t* unknown machine type "server"\n' in said
    assert "\t* cluster controlplane endpoint is required\n" in said


@pytest.mark.parametrize(
    ("role", "path", "value", "said"),
    [
        ("controlplane", "machine__install", GONE, 'install instructions are required in "metal" mode'),
        ("worker", "machine__install__disk", GONE, "either install disk or diskSelector should be defined"),
        (
            "worker", "machine__install__disk", "/dev/vda",
            'no disks matched the expression: disk.dev_path == "/dev/vda"',
        ),
        (
            "controlplane", "machine__ca__key", "",
            "issuing CA key is required for controlplane nodes (.machine.ca.key)",
        ),
        (
            "worker", "machine__ca__key", "Zm9v",
            "issuing Talos API CA key is not allowed on non-controlplane nodes (.machine.ca)",
        ),
        ("worker", "cluster__etcd", {"subnet": "10.0.0.0/8"}, "etcd config is only allowed on control plane machines"),
        (
            "worker", "machine__kubelet__image", "ghcr.io/siderolabs/kubelet:v1.24.0",
            "kubelet image is not valid: version of Kubernetes 1.24.0 is too old to be used with Talos 1.13.9",
        ),
        (
            "controlplane", "cluster__apiServer__image", "registry.k8s.io/kube-apiserver:v1.38.0",
            "kube-apiserver image is not valid: version of Kubernetes 1.38.0 is too new to be used with Talos 1.13.9",
        ),
        (
            "controlplane", "cluster__network__cni", {"name": "cilium"},
            'cni name should be one of ["flannel", "custom", "none"]',
        ),
        ("controlplane", "persist", False, ".persist should be enabled"),
        ("controlplane", "cluster__controlPlane__endpoint", "api:6443", "invalid controlplane endpoint"),
        ("worker", "machine__network__interfaces", [{"addresses": ["10.5.0.300/24"]}], "10.5.0.300"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_work_is_refused(role: str, path: str, value: Any, said: str):
    assert said in refusal(role, **{path: value})


def test_documents_of_a_later_talos_are_not_registered():
    later = b"version: v1alpha1\n---\napiVersion: v1alpha1\nkind: UnattendedInstallConfig\n"

    with pytest.raises(ConfigError) as refused:
        decode(later, "v1.13.9")

    place = "error decoding document /UnattendedInstallConfig/ (line 3)"
    assert str(refused.value) == f'{place}: "UnattendedInstallConfig" "v1alpha1": not registered'


def test_a_document_that_is_there_twice_is_refused():
    twice = b"---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n" * 2

    with pytest.raises(ConfigError, match="duplicate document /HostnameConfig/ is not allowed"):
        decode(twice, "v1.13.9")


@pytest.mark.parametrize(
    "text", [b"", b"- a\n", b"a: [", b"just words", b"\xff\xfe\x00", b"version: v2\n"]
)
def test_what_is_no_config_is_refused(text: bytes):
    with pytest.raises(ConfigError):
        decode(text, "v1.13.9")


def test_a_config_is_read_whatever_shape_its_parts_have():
    """A mapping where a list belongs reads as nothing: a person's mistake must not stop the lab."""
    config = decode(
        b"version: v1alpha1\nmachine:\n  type: worker\n  certSANs: {a: b}\ncluster: []\n", "v1.13.9"
    )

    assert config.cert_sans == ()
    with pytest.raises(ConfigError, match="cluster instructions are required"):
        check(config, Setting("v1.13.9", installed=True, disks=()))
