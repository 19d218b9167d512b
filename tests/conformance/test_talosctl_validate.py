"""The official talosctl reads what Windlass writes: machine configs, the secrets bundle, the talosconfig."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conformance.talosctl_peer import need_talosctl
from tests.unit.talosconfig_examples import bundle, mint, site_with
from windlass.talosconfig.machineconfig import machine_config
from windlass.talosconfig.talosconfig import admin_talosconfig

VERSIONS = [("v1.12.11", "v1.35.4"), ("v1.13.9", "v1.36.3"), ("v1.13.9", "v1.31.0")]
CLUSTERS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "with its own network": {
        "cni": "none", "kube_proxy": False, "time_servers": ["time.example.org"],
        "extra_manifests": ["https://example.org/a.yaml"],
    },
    "without a vip": {"vip": None},
    "with extensions": {
        "schematic": {"extensions": ["siderolabs/qemu-guest-agent"], "kernel_args": ["net.ifnames=0"]},
    },
}  # fmt: skip
# What a node of either role may have beside what every node has.
FULL = {
    "gpus": ["gpu-0"],
    "kernel_modules": ["nvidia", "nvidia_uvm", "nvidia_drm"],
    "labels": {"gpu": "true"},
    "taints": {"gpu": "true:NoSchedule"},
    "data_disks": [{"size": 1}, {"size": 100, "mount": "longhorn"}],
}


@pytest.fixture(scope="module")
def talosctl() -> Path:
    return need_talosctl()


def call(program: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    return subprocess.run(
        [program, *words], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


@pytest.mark.parametrize("cluster", list(CLUSTERS))
@pytest.mark.parametrize(("talos", "kubernetes"), VERSIONS)
def test_talosctl_accepts_every_config(
    talosctl: Path, tmp_path: Path, cluster: str, talos: str, kubernetes: str
):
    wanted = CLUSTERS[cluster] | {"talos": talos, "kubernetes": kubernetes}
    site = site_with(wanted, cp_1=FULL, w_1=FULL)
    said: list[str] = []

    for node in (site.node(name) for name in ("cp-0", "cp-1", "w-0", "w-1")):
        file = tmp_path / f"{node.name}.yaml"
        file.write_text(machine_config(site, node, bundle(), ["127.13.0.1"]))
        for mode in ("metal", "cloud"):
            done = call(talosctl, tmp_path, "validate", "--strict", "--mode", mode, "-c", str(file))
            said.append(f"{done.returncode} {done.stderr}{done.stdout}")

    assert all(line.startswith("0 ") and "is valid" in line for line in said), said


@pytest.mark.parametrize("name", ["cp-1", "w-1"])
def test_what_is_validated_has_what_a_node_may_have(name: str):
    """An accepted config proves nothing about a part that is not in it."""
    site = site_with({}, cp_1=FULL, w_1=FULL)

    main, hostname, volume = yaml.safe_load_all(machine_config(site, site.node(name), bundle()))

    machine = main["machine"]
    assert [one["name"] for one in machine["kernel"]["modules"]] == FULL["kernel_modules"]
    assert machine["nodeLabels"]["gpu"] == "true"
    assert machine["nodeTaints"] == {"gpu": "true:NoSchedule"}
    assert ("vip" in machine["network"]["interfaces"][0]) == (name == "cp-1")
    assert hostname["hostname"] == name
    assert (volume["kind"], volume["name"]) == ("UserVolumeConfig", "longhorn")


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("certSANs:", "certSands:", "certSands"),
        ("disk.dev_path ==", "disk.path ==", "undefined field 'path'"),
        ("minSize: 101888MiB", "minSize: plenty", "error decoding UserVolumeConfig"),
        ("auto: 'off'", "autos: 'off'", "autos"),
    ],
)
def test_talosctl_refuses_what_it_does_not_know(
    talosctl: Path, tmp_path: Path, right: str, wrong: str, says: str
):
    site = site_with({}, cp_1=FULL)
    file = tmp_path / "cp.yaml"
    text = machine_config(site, site.node("cp-1"), bundle())
    file.write_text(text.replace(right, wrong, 1))

    done = call(talosctl, tmp_path, "validate", "--mode", "metal", "-c", str(file))

    assert right in text
    assert done.returncode != 0
    assert says in done.stderr


def test_talosctl_makes_configs_from_our_secrets(talosctl: Path, tmp_path: Path):
    secrets = tmp_path / "secrets.yaml"
    secrets.write_text(bundle().to_yaml())

    done = call(
        talosctl, tmp_path, "gen", "config", "harbour", "https://api.harbour.example.org:6443",
        "--with-secrets", str(secrets), "--talos-version", "v1.13.9", "--with-docs=false",
        "--with-examples=false", "-o", str(tmp_path / "out"),
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    site = site_with({"kubernetes": "v1.36.3"})
    theirs = next(yaml.safe_load_all((tmp_path / "out" / "controlplane.yaml").read_text()))
    ours = next(yaml.safe_load_all(machine_config(site, site.node("cp-0"), bundle())))
    for part, names in {
        "machine": ("token", "ca", "features"),
        "cluster": (
            "id", "secret", "token", "ca", "aggregatorCA", "serviceAccount", "discovery",
            "secretboxEncryptionSecret", "clusterName", "controlPlane",
        ),
    }.items():  # fmt: skip
        assert {n: ours[part][n] for n in names} == {n: theirs[part][n] for n in names}
    for name in ("admissionControl", "auditPolicy", "image"):
        assert ours["cluster"]["apiServer"][name] == theirs["cluster"]["apiServer"][name]


def test_talosctl_reads_the_administrator_in_our_talosconfig(talosctl: Path, tmp_path: Path):
    file = tmp_path / "talosconfig"
    file.write_text(
        admin_talosconfig(
            "harbour", bundle(), endpoints=["192.0.2.10"], nodes=["192.0.2.11"], mint=mint()
        )
    )

    done = call(talosctl, tmp_path, "--talosconfig", str(file), "config", "info")

    assert done.returncode == 0, done.stderr
    assert "os:admin" in done.stdout
    assert "192.0.2.10" in done.stdout
