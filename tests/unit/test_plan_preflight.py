"""What forbids a plan: one row for each block, in its own words, and what mends it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.unit.observing import GIB, booted, observed_of, own_vm, site_of
from windlass.models.observed import ObservedMachine, ObservedSite, ObservedVm
from windlass.models.plan import Block
from windlass.models.site import Site
from windlass.plans.preflight import NEEDED_PRIVILEGES, blocks_of

# Five nodes: cp-0 and w-0 on h1, cp-1 and w-1 on h2, cp-2 on h3.
SITE = site_of()
SEEN = observed_of(SITE)
DISK = SITE.node("cp-2").disk * GIB
TOKEN = "windlass@pve!windlass"


def with_proxmox(**changes: Any) -> ObservedSite:
    return replace(SEEN, proxmox=replace(SEEN.proxmox, **changes))


def with_host(name: str, **changes: Any) -> ObservedSite:
    hosts = SEEN.proxmox.hosts
    return with_proxmox(hosts=hosts | {name: replace(hosts[name], **changes)})


def with_storage(storage: str, hosts: Iterable[str] = ("h3",), **changes: Any) -> ObservedSite:
    found = dict(SEEN.proxmox.hosts)
    for name in hosts:
        known = found[name].storages
        changed = {storage: replace(known[storage], **changes)}
        found[name] = replace(found[name], storages=known | changed)
    return with_proxmox(hosts=found)


def with_vm(name: str, /, **changes: Any) -> ObservedSite:
    """The site before anything was made, but for one VM that is like the one of `name` and for these changes."""
    vm: ObservedVm = replace(own_vm(SITE, name, running=False), **changes)
    return with_proxmox(vms=(vm,))


def stranger(**changes: Any) -> ObservedSite:
    """One VM that has nothing to do with the site but what is given."""
    return with_vm(
        "w-0",
        **{"vmid": 4711, "name": "wiki", "tags": frozenset[str](), "macs": frozenset[str](), **changes},
    )  # fmt: skip


def site_with(*names: str, **changes: Any) -> Site:
    nodes = (n.model_copy(update=changes if n.name in names else {}) for n in SITE.nodes)
    return SITE.model_copy(update={"nodes": tuple(nodes)})


def in_proxmox(**changes: Any) -> Site:
    return SITE.model_copy(update={"proxmox": SITE.proxmox.model_copy(update=changes)})


@dataclass(frozen=True)
class Row:
    """A site, what was seen of it, and the only block there is."""

    what: str
    remedy: str
    seen: ObservedSite = SEEN
    site: Site = SITE

    @property
    def block(self) -> Block:
        return Block(self.what, self.remedy)


def grants(*more: str) -> str:
    return (
        f"pveum role add Windlass --privs '{' '.join((*NEEDED_PRIVILEGES, *more))}'; "
        f"pveum acl modify / --roles Windlass --users 'windlass@pve' --tokens '{TOKEN}'"
    )


ROWS = {
    "something could not be read": Row(
        "could not be read: the clock of h1: no answer",
        "what cannot be read holds; make it answer and plan again",
        replace(SEEN, unread=("the clock of h1: no answer",)),
    ),
    "another tool makes the VMs": Row(
        "the VMs of this site are made by tofu, which bootstrap cannot run yet",
        "make them with it and plan again, or set provisioner.kind to native",
        site=site_of(provisioner={"kind": "tofu", "folder": "tofu"}),
    ),
    "a Talos that cannot be built": Row(
        "Talos v1.11.0: Windlass writes machine configs for Talos 1.12 and 1.13, not for v1.11.0: "
        "name one of those to bootstrap",
        "choose a version that Windlass can configure",
        site=SITE.model_copy(
            update={"cluster": SITE.cluster.model_copy(update={"talos": "v1.11.0"})}
        ),
    ),
    "no quorum": Row(
        "the Proxmox cluster has no quorum",
        "bring its hosts back; nothing can be written until then",
        with_proxmox(quorate=False),
    ),
    "an old Proxmox": Row(
        "Proxmox VE 8.0.9 is too old", "upgrade to 8.1 or later", with_proxmox(version="8.0.9")
    ),
    "a privilege is missing": Row(
        f"the token {TOKEN} lacks VM.Allocate, VM.PowerMgmt",
        grants(),
        with_proxmox(
            permissions={"/": frozenset(NEEDED_PRIVILEGES) - {"VM.Allocate", "VM.PowerMgmt"}}
        ),
    ),
    "a privilege that only a pool takes": Row(
        f"the token {TOKEN} lacks Pool.Allocate",
        grants("Pool.Allocate"),
        with_proxmox(permissions={"/": frozenset(NEEDED_PRIVILEGES)}),
        in_proxmox(pool="harbour"),
    ),
    "privileges that only a GPU takes": Row(
        f"the token {TOKEN} lacks Mapping.Audit, Mapping.Use",
        grants("Mapping.Use", "Mapping.Audit"),
        with_proxmox(
            permissions={"/": frozenset(NEEDED_PRIVILEGES)}, mappings={"arc": frozenset({"h1"})}
        ),
        site_with("w-0", gpus=("arc",)),
    ),
    "an unknown host": Row(
        "there is no Proxmox host h3",
        "hosts are h1, h2",
        with_proxmox(hosts={name: SEEN.proxmox.hosts[name] for name in ("h1", "h2")}),
    ),
    "a host without power": Row(
        "Proxmox host h2 is offline",
        "start it, or place its nodes elsewhere",
        with_host("h2", online=False),
    ),
    "another bridge": Row(
        "host h1 has no bridge vmbr0",
        "bridges there: vmbr1, vmbr2",
        with_host("h1", bridges=frozenset({"vmbr2", "vmbr1"})),
    ),
    "no bridge at all": Row(
        "host h1 has no bridge vmbr0", "bridges there: none", with_host("h1", bridges=frozenset())
    ),
    "a clock that is fast": Row(
        "the clock of host h3 is +31 s off",
        "mend its time synchronisation first: certificates and etcd depend on it",
        with_host("h3", clock_skew=timedelta(seconds=31)),
    ),
    "a clock that is slow": Row(
        "the clock of host h3 is -31 s off",
        "mend its time synchronisation first: certificates and etcd depend on it",
        with_host("h3", clock_skew=timedelta(seconds=-31)),
    ),
    "memory": Row(
        "the nodes on host h1 ask for 12,288 MiB of memory, but 12,287 MiB are free there "
        "(65,536 MiB in all, 5% kept as headroom)",
        "give the nodes less memory, move some to another host, or free some",
        with_host("h1", memory_free=12_288 + 3_276 - 1),
    ),
    "less memory than the headroom": Row(
        "the nodes on host h3 ask for 4,096 MiB of memory, but 0 MiB are free there "
        "(65,536 MiB in all, 5% kept as headroom)",
        "give the nodes less memory, move some to another host, or free some",
        with_host("h3", memory_free=1),
    ),
    "cores": Row(
        "w-0 asks for 8 cores, host h1 has 7",
        "Proxmox refuses more cores than the host has",
        with_host("h1", cpus=7),
    ),
    "no such storage": Row(
        "host h3 has no storage tank",
        "storages there: local",
        with_host("h3", storages={"local": SEEN.proxmox.hosts["h3"].storages["local"]}),
    ),
    "a storage that is away": Row(
        "storage tank on host h3 is not active", "bring it online", with_storage("tank", active=False)
    ),
    "a storage for other things": Row(
        "storage tank on host h3 does not hold images",
        "it holds backup, iso; allow images in its configuration",
        with_storage("tank", content=frozenset({"iso", "backup"})),
    ),
    "a storage without room": Row(
        f"storage tank on host h3 has {SITE.node('cp-2').disk * 1024 * 6 // 5 - 1:,} MiB free, "
        f"{SITE.node('cp-2').disk * 1024:,} MiB are asked for",
        "free some: a fifth more than planned must be there",
        with_storage("tank", free=DISK * 6 // 5 - 1),
    ),
    "a shared storage without room for all": Row(
        f"the nodes together ask for {5 * SITE.node('cp-2').disk} GiB on shared storage tank",
        f"{3 * SITE.node('cp-2').disk} GiB are free there, a fifth must stay free",
        with_storage("tank", ("h1", "h2", "h3"), free=3 * DISK, shared=True),
    ),
    "no place for the image": Row(
        "storage local on host h3 has 119 MiB free, 100 MiB are asked for",
        "free some: a fifth more than planned must be there",
        with_storage("local", free=120 * 1024**2 - 1),
    ),
    "half an image": Row(
        "talos.iso on host h2 has 4,096 bytes, the factory's image has 104,857,600",
        "remove it: no machine boots from half an image",
        with_host("h2", image_sizes={"talos.iso": 4096}),
    ),
    "a VM of ours on another host": Row(
        "cp-0 (VM 700) runs on host h2, the site file says h1",
        "migrate it back or correct the site file",
        with_vm("cp-0", host="h2"),
    ),
    "a vmid that is taken": Row(
        "vmid 800 of w-0 is taken by VM 800 (wiki) on host h1, which is not this site's",
        "choose a free vmid: Windlass never adopts or replaces a stranger's VM",
        stranger(vmid=800),
    ),
    "a VM like ours but for its tag": Row(
        "vmid 800 of w-0 is taken by VM 800 (w-0) on host h1, which is not this site's",
        "choose a free vmid: Windlass never adopts or replaces a stranger's VM",
        with_vm("w-0", tags=frozenset({"production"})),
    ),
    "a VM like ours but for its MAC": Row(
        "vmid 800 of w-0 is taken by VM 800 (w-0) on host h1, which is not this site's",
        "choose a free vmid: Windlass never adopts or replaces a stranger's VM",
        with_vm("w-0", macs=frozenset({"bc:24:11:ff:ff:ff"})),
    ),
    "a name that is taken": Row(
        "the name w-1 is taken by VM 4711 (w-1) on host h1", "rename one of them", stranger(name="w-1")
    ),
    "a MAC that is taken": Row(
        "the MAC bc:24:11:00:02:01 of w-1 is also VM 4711 (wiki) on host h1's",
        "give the node its own MAC",
        stranger(macs=frozenset({"bc:24:11:00:02:01"})),
    ),
    "an address that is taken": Row(
        "the address 192.0.2.101 of w-1 is also VM 4711 (wiki) on host h1's",
        "give the node its own address",
        stranger(addresses=frozenset({IPv4Address("192.0.2.101")})),
    ),
    "an unknown GPU": Row(
        "w-0 wants the PCI mapping arc, which does not exist",
        "mappings: coral; make one in Datacenter",
        with_proxmox(mappings={"coral": frozenset({"h1"})}),
        site_with("w-0", gpus=("arc",)),
    ),
    "a GPU elsewhere": Row(
        "the PCI mapping arc has no device on host h1 (w-0)",
        "it has devices on h2, h3",
        with_proxmox(mappings={"arc": frozenset({"h3", "h2"})}),
        site_with("w-0", gpus=("arc",)),
    ),
    "secrets that are lost": Row(
        "w-0 runs and is not in maintenance, and the secrets bundle is not there",
        "put it back at secrets.yaml: a new one would be another cluster. "
        "If the machine is only booting, plan again in a minute",
        with_vm("w-0", running=True),
    ),
    "no image": Row(
        "the Talos image cannot be had: 503 from factory.talos.dev",
        "check cluster.image.factory, the version and the hosts' way to the internet",
        replace(
            SEEN,
            image=replace(SEEN.image, reachable=False, why_not="503 from factory.talos.dev"),
        ),
    ),
    "a name that nobody knows": Row(
        "the name api.harbour.example.org does not resolve",
        "make a DNS record for it at 192.0.2.2",
        replace(SEEN, endpoint_addresses=frozenset()),
    ),
    "a name that points elsewhere": Row(
        "api.harbour.example.org resolves to 192.0.2.101, 198.51.100.7",
        "it must point at the vip or at control planes of this site, and nowhere else",
        replace(
            SEEN,
            endpoint_addresses=frozenset(
                map(IPv4Address, ("198.51.100.7", "192.0.2.101", "192.0.2.5"))
            ),
        ),
    ),
    "a foreign machine": Row(
        "something else than this site's cp-1 answers the Talos API at its address",
        "find out what has that address; Windlass does not touch it",
        replace(SEEN, machines=SEEN.machines | {"cp-1": ObservedMachine("cp-1", "foreign")}),
    ),
    "a folder that cannot be rendered": Row(
        "sets/core cannot be rendered: no kustomization.yaml",
        "what is not rendered is not applied; mend it in Git",
        replace(
            SEEN, git=SEEN.git and replace(SEEN.git, broken={"sets/core": "no kustomization.yaml"})
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_what_is_wrong_is_the_only_block_and_says_what_mends_it(row: Row):
    assert blocks_of(row.site, row.seen, row.site.nodes) == (row.block,)


def test_two_nodes_that_want_one_device_are_both_named():
    site = site_with("cp-0", "w-0", gpus=("arc",))

    blocks = blocks_of(site, with_proxmox(mappings={"arc": frozenset({"h1"})}), site.nodes)

    assert set(blocks) == {
        Block("two nodes on host h1 want the PCI mapping arc", "one device, one VM")
    }


def test_everything_that_is_wrong_is_said_at_once():
    seen = replace(
        with_proxmox(quorate=False, version="7.4"), unread=("x",), endpoint_addresses=frozenset()
    )

    said = [block.what for block in blocks_of(SITE, seen, SITE.nodes)]

    assert said == [
        "could not be read: x",
        "the Proxmox cluster has no quorum",
        "Proxmox VE 7.4 is too old",
        "the name api.harbour.example.org does not resolve",
    ]


JUST_ENOUGH: dict[str, tuple[Site, ObservedSite]] = {
    "a site that is well": (SITE, SEEN),
    "a site that is up": (SITE, booted(SITE, SEEN)),
    "the oldest Proxmox": (SITE, with_proxmox(version="8.1")),
    "a clock at its limit": (SITE, with_host("h1", clock_skew=timedelta(seconds=-30))),
    "all of the memory but the headroom": (SITE, with_host("h1", memory_free=12_288 + 3_276)),
    "all of the memory where no headroom is kept": (
        in_proxmox(headroom=0.0),
        with_host("h1", memory_free=12_288),
    ),
    "all cores": (SITE, with_host("h1", cpus=8)),
    "a fifth more disk than planned": (SITE, with_storage("tank", free=DISK * 6 // 5)),
    "a fifth more than all ask for on a shared storage": (
        SITE,
        with_storage("tank", ("h1", "h2", "h3"), free=DISK * 6, shared=True),
    ),
    "a fifth more than the image": (SITE, with_storage("local", free=120 * 1024**2)),
    "an image that is there already": (
        SITE,
        with_host(
            "h3",
            images=frozenset({"talos.iso"}),
            image_sizes={"talos.iso": 100 * 1024**2},
            storages={"tank": SEEN.proxmox.hosts["h3"].storages["tank"]},
        ),
    ),
    "a control plane's own address": (
        SITE,
        replace(SEEN, endpoint_addresses=frozenset({IPv4Address("192.0.2.10")})),
    ),
    "a GPU on each of two hosts": (
        site_with("w-0", "w-1", gpus=("arc",)),
        with_proxmox(mappings={"arc": frozenset({"h1", "h2"})}),
    ),
    "a machine of ours that has no config yet": (
        SITE,
        replace(
            with_vm("w-0", running=True),
            machines=SEEN.machines | {"w-0": ObservedMachine("w-0", "maintenance")},
        ),
    ),
    "a stranger who has nothing of ours": (SITE, stranger()),
}


@pytest.mark.parametrize(("site", "seen"), JUST_ENOUGH.values(), ids=JUST_ENOUGH)
def test_what_is_just_enough_blocks_nothing(site: Site, seen: ObservedSite):
    assert blocks_of(site, seen, site.nodes) == ()


@pytest.mark.parametrize(
    "row",
    ["another tool makes the VMs", "a privilege is missing", "an unknown host", "memory", "no image"],
)  # fmt: skip
def test_where_no_vm_is_made_nothing_is_asked_of_the_place_it_would_have(row: str):
    assert blocks_of(ROWS[row].site, ROWS[row].seen, ()) == ()
