"""What bootstrap decides, from values alone."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address

import pytest

from tests.unit.observing import booted, host_of, in_no_time, observed_of, own_vm, site_of
from windlass.errors import BadInputError
from windlass.models.observed import ObservedMachine, ObservedSite
from windlass.models.plan import Plan, Risk
from windlass.models.site import Site
from windlass.plans.bootstrap import BootstrapRequest, plan_bootstrap


def plan_of(site: Site, observed: ObservedSite, until: str | None = None) -> Plan:
    return plan_bootstrap(site, observed, BootstrapRequest(until), in_no_time)


def before(plan: Plan, key: str) -> set[str]:
    """Everything that must be done before a step starts."""
    waits = set(plan.step(key).waits_for)
    return waits.union(*(before(plan, one) for one in waits))


def test_an_empty_site_gets_a_vm_a_config_and_a_ready_gate_for_every_node():
    site = site_of()

    plan = plan_of(site, observed_of(site))

    assert not plan.blocks
    for node in site.nodes:
        chain = before(plan, f"kubernetes.node-ready/{node.name}")
        assert {f"proxmox.create-vm/{node.name}", f"talos.apply-config/{node.name}"} <= chain


def test_a_second_bootstrap_of_a_site_that_is_up_plans_nothing():
    site = site_of()

    plan = plan_of(site, booted(site, observed_of(site)))

    assert plan.steps == ()
    assert {one.target for one in plan.left_alone} >= {
        "cp-0",
        "w-1",
        "etcd",
        "Argo CD",
        "layer core",
    }


def test_etcd_is_bootstrapped_on_one_node_after_every_control_plane_answers():
    site = site_of()

    plan = plan_of(site, observed_of(site))

    bootstraps = [step for step in plan if step.action == "talos.bootstrap-etcd"]
    assert [step.target for step in bootstraps] == ["cp-0"]
    assert {f"talos.installed/cp-{i}" for i in range(3)} <= before(plan, bootstraps[0].key)


def test_etcd_with_a_member_anywhere_is_never_bootstrapped_again():
    site = site_of()
    observed = observed_of(site)
    machines = observed.machines | {
        "cp-2": ObservedMachine("cp-2", "configured", "v1.13.9", member=True)
    }

    plan = plan_of(site, replace(observed, machines=machines))

    assert not [step for step in plan if step.action == "talos.bootstrap-etcd"]


def test_a_layer_starts_only_when_every_app_of_the_layer_before_is_well():
    site = site_of()

    plan = plan_of(site, observed_of(site))

    started = before(plan, "kubernetes.apply/applicationset.argocd.apps")
    assert {"argocd.app/network", "argocd.app/storage"} <= started


@pytest.mark.parametrize(
    ("hosts", "says"),
    [
        (("h1", "h2", "h3"), ()),
        (("h1", "h2", "h1"), ("2 of 3 control planes are on h1: etcd stops with it",)),
        (("h2", "h2", "h2"), ("3 of 3 control planes are on h2: etcd stops with it",)),
        (("h1", "h1", "h2", "h2", "h3"), ()),
        (("h1",), ()),
    ],
)
def test_control_planes_that_would_be_lost_together_are_warned_of(
    hosts: tuple[str, ...], says: tuple[str, ...]
):
    site = site_of(len(hosts))
    planes = [
        node.model_copy(update={"host": host})
        for node, host in zip(site.control_planes, hosts, strict=True)
    ]
    crowded = site.model_copy(update={"nodes": (*planes, *site.workers)})

    plan = plan_bootstrap(crowded, observed_of(crowded), BootstrapRequest(), in_no_time)

    assert [warning.partition(". ")[0] for warning in plan.warnings] == list(says)


def test_nodes_boot_side_by_side():
    site = site_of()

    plan = plan_of(site, observed_of(site))

    assert not any("w-0" in key for key in before(plan, "talos.installed/w-1"))
    assert plan.critical_path < timedelta(seconds=len(plan.steps))


def test_until_cuts_the_plan_after_its_phase():
    site = site_of()

    plan = plan_of(site, observed_of(site), until="argocd")

    assert {step.phase for step in plan} == {
        "preflight",
        "image",
        "vms",
        "machines",
        "etcd",
        "kubernetes",
        "argocd",
    }


def test_until_an_unknown_phase_names_the_phases():
    site = site_of()

    with pytest.raises(BadInputError, match="vms, machines, etcd"):
        plan_of(site, observed_of(site), until="argo")


def test_a_vm_that_is_there_is_not_created_again():
    site = site_of()
    observed = observed_of(site)
    vms = (own_vm(site, "w-0", running=False),)

    plan = plan_of(site, replace(observed, proxmox=replace(observed.proxmox, vms=vms)))

    keys = {step.key for step in plan}
    assert "proxmox.create-vm/w-0" not in keys
    assert "proxmox.start-vm/w-0" in keys


def test_a_strangers_vm_with_our_id_blocks():
    site = site_of()
    observed = observed_of(site)
    stranger = replace(own_vm(site, "w-0"), tags=frozenset({"production"}))

    plan = plan_of(site, replace(observed, proxmox=replace(observed.proxmox, vms=(stranger,))))

    assert any("vmid 800" in block.what for block in plan.blocks)


def test_memory_that_is_not_there_is_named_in_mebibytes():
    site = site_of(workers=6)
    observed = observed_of(site)
    hosts = {name: host_of(name, memory=16384) for name in observed.proxmox.hosts}

    plan = plan_of(site, replace(observed, proxmox=replace(observed.proxmox, hosts=hosts)))

    assert any("20,480 MiB" in block.what for block in plan.blocks)


@pytest.mark.parametrize("missing", ["VM.Allocate", "SDN.Use", "Datastore.AllocateTemplate"])
def test_a_missing_privilege_blocks_with_the_line_that_mends_it(missing: str):
    site = site_of()
    observed = observed_of(site)
    held = {"/": observed.proxmox.permissions["/"] - {missing}}

    plan = plan_of(site, replace(observed, proxmox=replace(observed.proxmox, permissions=held)))

    (block,) = plan.blocks
    assert missing in block.what
    assert "pveum" in block.remedy


def test_an_endpoint_that_points_elsewhere_blocks():
    site = site_of()
    elsewhere = frozenset({IPv4Address("198.51.100.7")})

    plan = plan_of(site, replace(observed_of(site), endpoint_addresses=elsewhere))

    assert any("198.51.100.7" in block.what for block in plan.blocks)


def test_a_site_whose_vms_another_tool_makes_is_refused():
    site = site_of(provisioner={"kind": "tofu", "folder": "tofu"})

    plan = plan_of(site, observed_of(site))

    assert any("tofu" in block.what for block in plan.blocks)


def test_phases_appear_in_the_order_they_happen():
    site = site_of()

    plan = plan_of(site, observed_of(site))

    order = list(dict.fromkeys(step.phase for step in plan))
    assert order[:6] == ["preflight", "image", "vms", "machines", "etcd", "kubernetes"]


def test_machines_that_run_without_their_secrets_block():
    site = site_of()
    observed = observed_of(site)
    vms = (own_vm(site, "cp-0"),)

    plan = plan_of(site, replace(observed, proxmox=replace(observed.proxmox, vms=vms)))

    assert any("secrets bundle" in block.what for block in plan.blocks)


def test_a_schematic_the_factory_does_not_know_is_registered_before_the_download():
    site = site_of()
    observed = observed_of(site)

    plan = plan_of(site, replace(observed, image=replace(observed.image, is_registered=False)))

    assert f"factory.schematic/{site.cluster.talos}" in before(plan, "proxmox.download-image/h1")


def test_what_could_not_be_read_holds():
    site = site_of()

    plan = plan_of(site, replace(observed_of(site), unread=("DNS: no answer",)))

    assert any("DNS: no answer" in block.what for block in plan.blocks)


def test_the_hash_covers_what_is_done_and_not_what_is_guessed():
    site = site_of()
    observed = observed_of(site)
    plan = plan_of(site, observed)

    slower = plan_bootstrap(
        site,
        observed,
        BootstrapRequest(),
        lambda _a: replace(in_no_time(""), expected=timedelta(9)),
    )
    other = plan_of(site, replace(observed, image_name="another.iso"))

    assert plan.hash == slower.hash
    assert plan.hash != other.hash


def test_a_plan_survives_the_journal():
    site = site_of()
    plan = plan_of(site, observed_of(site))

    again = Plan.from_json(plan.to_json())

    assert again == plan
    assert again.hash == plan.hash


def test_bootstrap_is_disruptive_so_that_a_person_is_asked():
    site = site_of()

    assert plan_of(site, observed_of(site)).risk is Risk.DISRUPTIVE
