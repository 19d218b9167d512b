"""What the site file says about a node must be in the config that the node gets."""

from typing import Any

import pytest
import yaml

from tests.unit.talosconfig_examples import bundle, site_with
from windlass.errors import BadInputError
from windlass.models.site import Site
from windlass.talosconfig.machineconfig import machine_config
from windlass.talosconfig.schematic import canonical, installer_image, iso_url, schematic_id

VANILLA = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
AGENT = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"


def documents(site: Site, name: str, *extra_sans: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(machine_config(site, site.node(name), bundle(), extra_sans)))


def test_the_ids_of_the_known_schematics_are_found():
    assert schematic_id() == VANILLA
    assert schematic_id(["siderolabs/qemu-guest-agent"]) == AGENT


def test_kernel_arguments_are_quoted_only_where_yaml_needs_it():
    text = canonical((), ("net.ifnames=0", "-talos.halt_if_installed", "a: b"))

    assert "        - net.ifnames=0\n        - -talos.halt_if_installed\n        - 'a: b'\n" in text


def test_images_are_named_after_schematic_and_version():
    factory = "https://factory.talos.dev"

    assert iso_url(factory, VANILLA, "v1.13.9") == (
        f"https://factory.talos.dev/image/{VANILLA}/v1.13.9/nocloud-amd64.iso"
    )
    assert installer_image(factory, VANILLA, "v1.13.9") == (
        f"factory.talos.dev/nocloud-installer/{VANILLA}:v1.13.9"
    )


def test_the_network_card_is_found_by_its_mac_and_gets_the_static_address():
    main, hostname = documents(site_with({}), "w-0")

    assert main["machine"]["network"] == {
        "interfaces": [
            {
                "deviceSelector": {"hardwareAddr": "bc:24:11:00:02:00"},
                "addresses": ["192.0.2.100/24"],
                "routes": [{"network": "0.0.0.0/0", "gateway": "192.0.2.1"}],
                "dhcp": False,
            }
        ],
        "nameservers": ["192.0.2.2"],
    }
    assert hostname == {
        "apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "off", "hostname": "w-0",
    }  # fmt: skip


def test_only_control_planes_share_the_vip():
    site = site_with({})

    planes = [documents(site, node.name)[0] for node in site.control_planes]
    worker = documents(site, "w-0")[0]

    assert all(
        p["machine"]["network"]["interfaces"][0]["vip"] == {"ip": "192.0.2.5"} for p in planes
    )
    assert "vip" not in worker["machine"]["network"]["interfaces"][0]


def test_certificates_carry_every_name_the_apis_are_called_by():
    main = documents(site_with({}), "cp-0", "127.13.0.10")[0]

    wanted = [
        "api.harbour.example.org", "192.0.2.5", "192.0.2.10", "192.0.2.11", "192.0.2.12", "127.13.0.10",
    ]  # fmt: skip
    assert main["machine"]["certSANs"] == wanted
    assert main["cluster"]["apiServer"]["certSANs"] == wanted


def test_no_private_key_of_an_authority_reaches_a_worker():
    site = site_with({})

    text = machine_config(site, site.node("w-0"), bundle())

    main = next(yaml.safe_load_all(text))
    assert main["machine"]["ca"]["key"] == main["cluster"]["ca"]["key"] == ""
    assert not {"aggregatorCA", "serviceAccount", "etcd", "secretboxEncryptionSecret"} & set(
        main["cluster"]
    )


def test_cni_proxy_manifests_and_time_come_from_the_site_file():
    site = site_with(
        {
            "cni": "none",
            "kube_proxy": False,
            "extra_manifests": ["https://example.org/crd.yaml"],
            "time_servers": ["time.example.org"],
        }
    )

    main = documents(site, "cp-1")[0]

    assert main["cluster"]["network"]["cni"] == {"name": "none"}
    assert main["cluster"]["proxy"] == {"disabled": True}
    assert main["cluster"]["extraManifests"] == ["https://example.org/crd.yaml"]
    assert main["machine"]["time"] == {"servers": ["time.example.org"]}
    assert main["cluster"]["allowSchedulingOnControlPlanes"] is False


def test_a_node_with_a_gpu_loads_its_modules_and_keeps_others_away():
    site = site_with(
        {},
        w_1={
            "gpus": ["gpu-0"],
            "kernel_modules": ["nvidia", "nvidia_uvm"],
            "labels": {"gpu": "true"},
            "taints": {"gpu": "true:NoSchedule"},
        },
    )

    machine = documents(site, "w-1")[0]["machine"]

    assert machine["kernel"]["modules"] == [{"name": "nvidia"}, {"name": "nvidia_uvm"}]
    assert machine["sysctls"] == {"net.core.bpf_jit_harden": "1"}
    assert machine["nodeLabels"] == {"gpu": "true"}
    assert machine["nodeTaints"] == {"gpu": "true:NoSchedule"}


def test_a_data_disk_with_a_mount_becomes_a_volume_that_can_never_be_the_system_disk():
    site = site_with({}, w_0={"data_disks": [{"size": 20}, {"size": 100, "mount": "longhorn"}]})

    volumes = documents(site, "w-0")[2:]

    assert [volume["name"] for volume in volumes] == ["longhorn"]
    assert volumes[0]["provisioning"]["diskSelector"]["match"] == (
        'disk.dev_path == "/dev/sdc" && !system_disk'
    )


def test_a_version_whose_contract_is_not_written_here_is_refused():
    site = site_with({"talos": "v1.14.0", "kubernetes": "v1.36.3"})

    with pytest.raises(BadInputError, match=r"v1\.14\.0.*1\.12 and 1\.13"):
        machine_config(site, site.node("cp-0"), bundle())
