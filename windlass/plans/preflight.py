"""Whether a site is fit for what a plan asks of it. Each block names what is wrong, where, and what mends it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from windlass.models.observed import ObservedHost, ObservedSite, ObservedVm
from windlass.models.plan import Block
from windlass.models.site import Node, Site
from windlass.models.versions import unbuildable_talos

MIB = 1024 * 1024
GIB = 1024 * MIB
# A thin pool that runs full stops every guest on it: a fifth more than planned must be free.
STORAGE_MARGIN = 1.2
# Certificates and etcd leases tolerate less; a host further off than this has a broken clock, not a slow network.
MAX_SKEW = timedelta(seconds=30)
MIN_PROXMOX = (8, 1)

# Without these not even a plan can be made.
READING_PRIVILEGES = frozenset({"Datastore.Audit", "Sys.Audit", "VM.Audit"})
NEEDED_PRIVILEGES = (
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Sys.Audit",
    "Sys.AccessNetwork",
    "VM.Allocate",
    "VM.Audit",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
    "SDN.Use",
)


def blocks_of(site: Site, observed: ObservedSite, create: Iterable[Node]) -> tuple[Block, ...]:
    """Everything that forbids creating the nodes in `create`, all at once: nobody mends one thing at a time."""
    wanted = tuple(create)
    return tuple(
        block
        for check in (
            _unread,
            _provisioner,
            _proxmox,
            _privileges,
            _hosts,
            _capacity,
            _storages,
            _images,
            _identities,
            _mappings,
            _lost_secrets,
            _surroundings,
        )
        for block in check(site, observed, wanted)
    )


def _unread(_site: Site, observed: ObservedSite, _create: tuple[Node, ...]) -> Iterator[Block]:
    for what in observed.unread:
        yield Block(
            f"could not be read: {what}", "what cannot be read holds; make it answer and plan again"
        )


def _provisioner(site: Site, _observed: ObservedSite, create: tuple[Node, ...]) -> Iterator[Block]:
    if create and site.provisioner.kind != "native":
        yield Block(
            f"the VMs of this site are made by {site.provisioner.kind}, which bootstrap cannot run yet",
            "make them with it and plan again, or set provisioner.kind to native",
        )
    if why := unbuildable_talos(site.cluster.talos):
        yield Block(
            f"Talos {site.cluster.talos}: {why}", "choose a version that Windlass can configure"
        )


def _proxmox(_site: Site, observed: ObservedSite, _create: tuple[Node, ...]) -> Iterator[Block]:
    proxmox = observed.proxmox
    if not proxmox.quorate:
        yield Block(
            "the Proxmox cluster has no quorum",
            "bring its hosts back; nothing can be written until then",
        )
    version = tuple(int(part) for part in proxmox.version.split(".")[:2])
    if version < MIN_PROXMOX:
        yield Block(f"Proxmox VE {proxmox.version} is too old", "upgrade to 8.1 or later")


def _privileges(site: Site, observed: ObservedSite, create: tuple[Node, ...]) -> Iterator[Block]:
    if create and (block := lacking(site, observed.proxmox.permissions, create)):
        yield block


def lacking(
    site: Site, permissions: Mapping[str, frozenset[str]], create: tuple[Node, ...]
) -> Block | None:
    """What the token lacks of all that creating these nodes takes, and the commands that grant it."""
    needed = [*NEEDED_PRIVILEGES, *(["Pool.Allocate"] if site.proxmox.pool else [])]
    if any(node.gpus for node in create):
        needed += ["Mapping.Use", "Mapping.Audit"]
    missing = sorted(set(needed) - frozenset[str]().union(*permissions.values()))
    if not missing:
        return None
    token = site.proxmox.token_id
    return Block(
        f"the token {token} lacks {', '.join(missing)}",
        f"pveum role add Windlass --privs '{' '.join(needed)}'; "
        f"pveum acl modify / --roles Windlass --users '{token.partition('!')[0]}' --tokens '{token}'",
    )


def _hosts(site: Site, observed: ObservedSite, create: tuple[Node, ...]) -> Iterator[Block]:
    hosts = observed.proxmox.hosts
    for name in sorted({node.host for node in create}):
        host = hosts.get(name)
        if host is None:
            yield Block(f"there is no Proxmox host {name}", f"hosts are {', '.join(sorted(hosts))}")
        elif not host.online:
            yield Block(f"Proxmox host {name} is offline", "start it, or place its nodes elsewhere")
        elif site.proxmox.bridge not in host.bridges:
            yield Block(
                f"host {name} has no bridge {site.proxmox.bridge}",
                f"bridges there: {', '.join(sorted(host.bridges)) or 'none'}",
            )
        if host is not None and abs(host.clock_skew) > MAX_SKEW:
            yield Block(
                f"the clock of host {name} is {host.clock_skew.total_seconds():+.0f} s off",
                "mend its time synchronisation first: certificates and etcd depend on it",
            )


def _capacity(site: Site, observed: ObservedSite, create: tuple[Node, ...]) -> Iterator[Block]:
    memory = Counter[str]()
    for node in create:
        memory[node.host] += node.memory
    for name, asked in sorted(memory.items()):
        host = observed.proxmox.hosts.get(name)
        if host is None or not host.online:
            continue
        room = host.memory_free - int(host.memory_total * site.proxmox.headroom)
        if asked > room:
            yield Block(
                f"the nodes on host {name} ask for {asked:,} MiB of memory, but {max(room, 0):,} MiB are free there "
                f"({host.memory_total:,} MiB in all, {site.proxmox.headroom:.0%} kept as headroom)",
                "give the nodes less memory, move some to another host, or free some",
            )
        for node in (node for node in create if node.host == name and node.cpu > host.cpus):
            yield Block(
                f"{node.name} asks for {node.cpu} cores, host {name} has {host.cpus}",
                "Proxmox refuses more cores than the host has",
            )


def _storages(site: Site, observed: ObservedSite, create: tuple[Node, ...]) -> Iterator[Block]:
    hosts = {name: host for name, host in observed.proxmox.hosts.items() if host.online}
    asked = {key: size for key, size in _asked(site, create).items() if key[0] in hosts}
    for (host, name), size in sorted(asked.items()):
        yield from _storage(hosts[host], name, "images", size)
    yield from _shared_storages(hosts, asked)
    for host in sorted({node.host for node in create} & set(hosts)):
        if observed.image_name not in hosts[host].images:
            yield from _storage(hosts[host], site.proxmox.image_storage, "iso", observed.image.size)


def _asked(site: Site, create: tuple[Node, ...]) -> dict[tuple[str, str], int]:
    """Bytes asked for, by host and storage."""
    asked: dict[tuple[str, str], int] = defaultdict(int)
    for node in create:
        own = node.storage or site.proxmox.storage
        asked[node.host, own] += node.disk * GIB
        for disk in node.data_disks:
            asked[node.host, disk.storage or own] += disk.size * GIB
    return asked


def _shared_storages(
    hosts: dict[str, ObservedHost], asked: dict[tuple[str, str], int]
) -> Iterator[Block]:
    """A storage that several hosts share must hold what all of them ask for."""
    together = Counter[str]()
    free: dict[str, int] = {}
    for (host, name), size in asked.items():
        storage = hosts[host].storages.get(name)
        if storage is not None and storage.shared:
            together[name] += size
            free[name] = storage.free
    for name, size in sorted(together.items()):
        alone = max(one for (_, storage), one in asked.items() if storage == name)
        if size > alone and size * STORAGE_MARGIN > free[name]:
            yield Block(
                f"the nodes together ask for {size // GIB} GiB on shared storage {name}",
                f"{free[name] // GIB} GiB are free there, a fifth must stay free",
            )


def _images(_site: Site, observed: ObservedSite, create: tuple[Node, ...]) -> Iterator[Block]:
    """An image that is there is not fetched again: it must be whole."""
    for name in sorted({node.host for node in create} & observed.proxmox.hosts.keys()):
        size = observed.proxmox.hosts[name].image_sizes.get(observed.image_name)
        if size is not None and observed.image.size and size != observed.image.size:
            yield Block(
                f"{observed.image_name} on host {name} has {size:,} bytes, "
                f"the factory's image has {observed.image.size:,}",
                "remove it: no machine boots from half an image",
            )


def _storage(host: ObservedHost, name: str, content: str, size: int) -> Iterator[Block]:
    storage = host.storages.get(name)
    if storage is None:
        yield Block(
            f"host {host.name} has no storage {name}",
            f"storages there: {', '.join(sorted(host.storages)) or 'none'}",
        )
    elif not storage.active:
        yield Block(f"storage {name} on host {host.name} is not active", "bring it online")
    elif content not in storage.content:
        yield Block(
            f"storage {name} on host {host.name} does not hold {content}",
            f"it holds {', '.join(sorted(storage.content))}; allow {content} in its configuration",
        )
    elif size * STORAGE_MARGIN > storage.free:
        yield Block(
            f"storage {name} on host {host.name} has {storage.free // MIB:,} MiB free, "
            f"{size // MIB:,} MiB are asked for",
            "free some: a fifth more than planned must be there",
        )


def is_ours(site: Site, node: Node, vm: ObservedVm) -> bool:
    """A VM is the site's own when tag, name and MAC all say so; anything less is somebody else's."""
    return site.tag in vm.tags and vm.name == node.name and node.mac in vm.macs


def _identities(site: Site, observed: ObservedSite, _create: tuple[Node, ...]) -> Iterator[Block]:
    for node in site.nodes:
        for vm in observed.proxmox.vms:
            if vm.vmid == node.vmid and is_ours(site, node, vm):
                if vm.host != node.host:
                    yield Block(
                        f"{node.name} (VM {vm.vmid}) runs on host {vm.host}, the site file says {node.host}",
                        "migrate it back or correct the site file",
                    )
                continue
            yield from _clash(node, vm)


def _clash(node: Node, vm: ObservedVm) -> Iterator[Block]:
    other = f"VM {vm.vmid} ({vm.name}) on host {vm.host}"
    if vm.vmid == node.vmid:
        yield Block(
            f"vmid {node.vmid} of {node.name} is taken by {other}, which is not this site's",
            "choose a free vmid: Windlass never adopts or replaces a stranger's VM",
        )
    elif vm.name == node.name:
        yield Block(f"the name {node.name} is taken by {other}", "rename one of them")
    if vm.vmid != node.vmid and node.mac in vm.macs:
        yield Block(
            f"the MAC {node.mac} of {node.name} is also {other}'s", "give the node its own MAC"
        )
    if vm.vmid != node.vmid and node.address in vm.addresses:
        yield Block(
            f"the address {node.address} of {node.name} is also {other}'s",
            "give the node its own address",
        )


def _mappings(_site: Site, observed: ObservedSite, create: tuple[Node, ...]) -> Iterator[Block]:
    taken = Counter((node.host, gpu) for node in create for gpu in node.gpus)
    for node in create:
        for gpu in node.gpus:
            hosts = observed.proxmox.mappings.get(gpu)
            if hosts is None:
                yield Block(
                    f"{node.name} wants the PCI mapping {gpu}, which does not exist",
                    f"mappings: {', '.join(sorted(observed.proxmox.mappings)) or 'none'}; make one in Datacenter",
                )
            elif node.host not in hosts:
                yield Block(
                    f"the PCI mapping {gpu} has no device on host {node.host} ({node.name})",
                    f"it has devices on {', '.join(sorted(hosts))}",
                )
            elif taken[node.host, gpu] > 1:
                yield Block(
                    f"two nodes on host {node.host} want the PCI mapping {gpu}",
                    "one device, one VM",
                )


def _lost_secrets(site: Site, observed: ObservedSite, _create: tuple[Node, ...]) -> Iterator[Block]:
    if observed.has_secrets:
        return
    for node in site.nodes:
        vm = observed.proxmox.vm(node.vmid)
        ours = vm is not None and is_ours(site, node, vm) and vm.running
        if ours and observed.machines[node.name].state != "maintenance":
            yield Block(
                f"{node.name} runs and is not in maintenance, and the secrets bundle is not there",
                f"put it back at {site.cluster.secrets.removeprefix('file:')}: a new one would be "
                "another cluster. If the machine is only booting, plan again in a minute",
            )


def _surroundings(site: Site, observed: ObservedSite, create: tuple[Node, ...]) -> Iterator[Block]:
    if create and not observed.image.reachable:
        yield Block(
            f"the Talos image cannot be had: {observed.image.why_not}",
            "check cluster.image.factory, the version and the hosts' way to the internet",
        )
    fits = {node.address for node in site.control_planes} | ({site.cluster.vip} - {None})
    strange = observed.endpoint_addresses - fits
    if not observed.endpoint_addresses:
        yield Block(
            f"the name {site.cluster.endpoint} does not resolve",
            f"make a DNS record for it at {', '.join(map(str, site.cluster.nameservers))}",
        )
    elif strange:
        yield Block(
            f"{site.cluster.endpoint} resolves to {', '.join(map(str, sorted(strange)))}",
            "it must point at the vip or at control planes of this site, and nowhere else",
        )
    for machine in observed.machines.values():
        if machine.state == "foreign":
            yield Block(
                f"something else than this site's {machine.name} answers the Talos API at its address",
                "find out what has that address; Windlass does not touch it",
            )
    if observed.git is not None:
        for root, why in sorted(observed.git.broken.items()):
            yield Block(
                f"{root} cannot be rendered: {why}",
                "what is not rendered is not applied; mend it in Git",
            )
