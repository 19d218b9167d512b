"""One frozen snapshot of a site, read in parallel: what is there, what answers, what could not be read and why."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from tasks.connections import Connections
from tasks.kubernetes import manifest_ref
from tasks.proxmox import image_file, image_url, site_schematic
from tasks.rendering import rendered
from tasks.talos import members_of
from windlass.clients.dns import resolve as resolve_name
from windlass.clients.kubernetes import KubernetesClient
from windlass.clients.proxmox import ProxmoxClient
from windlass.errors import (
    AmbiguousError,
    BadInputError,
    NotReadyError,
    PermanentError,
    RefusedError,
    TransientError,
)
from windlass.models.load import LoadedSite
from windlass.models.observed import (
    ManifestRef,
    ObservedCluster,
    ObservedGit,
    ObservedHost,
    ObservedImage,
    ObservedMachine,
    ObservedProxmox,
    ObservedSite,
    ObservedStorage,
    ObservedVm,
)
from windlass.models.site import Node
from windlass.plans.preflight import READING_PRIVILEGES, lacking
from windlass.secrets import resolve_all
from windlass.talosconfig.outputs import kubeconfig_ends, talosconfig_ends
from windlass.talosconfig.secrets import SecretsBundle

T = TypeVar("T")
MIB = 1024 * 1024
READERS = 12


def observe_site(loaded: LoadedSite, agent: str) -> ObservedSite:
    """Reads only. What cannot be read is in `unread`, and a plan holds on it.

    Raises:
        BadInputError: a secret of the site is not here, or open to others; nothing was asked of anybody.
        WindlassError: Proxmox or Git refused or did not answer: without them there is nothing to plan from.
    """
    resolve_all(loaded)
    return _Observation(loaded, Connections(loaded, agent)).read()


class _Observation:
    def __init__(self, loaded: LoadedSite, connect: Connections) -> None:
        self._loaded = loaded
        self._site = loaded.site
        self._connect = connect
        self._unread: list[str] = []

    def read(self) -> ObservedSite:
        site = self._site
        with ThreadPoolExecutor(READERS) as pool:
            proxmox = pool.submit(self._proxmox)
            git = pool.submit(self._git)
            addresses = pool.submit(
                self._or_unread,
                "DNS",
                lambda: resolve_name(site.cluster.endpoint, site.cluster.nameservers, site.reached),
                (),
            )
            machines = list(pool.map(self._machine, site.nodes))
            image = pool.submit(self._image)
            cluster = self._cluster(git.result(), any(machine.member for machine in machines))
            return ObservedSite(
                proxmox=proxmox.result(),
                machines={machine.name: machine for machine in machines},
                image=image.result(),
                image_name=image_file(site),
                image_url=image_url(site),
                schematic=site_schematic(site),
                cluster=cluster,
                git=git.result(),
                endpoint_addresses=frozenset(addresses.result()),
                has_secrets=self._connect.secrets_path.exists(),
                has_kubeconfig=self._written(self._connect.kubeconfig_path, kubeconfig_ends),
                has_talosconfig=self._written(self._connect.talosconfig_path, talosconfig_ends),
                unread=tuple(self._unread),
            )

    def _or_unread(self, what: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except (TransientError, AmbiguousError, RefusedError) as error:
            self._unread.append(f"{what}: {error}")
            return otherwise

    def _written(self, path: Path, ends: Callable[[str, SecretsBundle], datetime]) -> bool:
        """A file that is somebody else's holds the plan before anything is done; so does one without our secrets."""
        if not path.exists():
            return False
        if not self._connect.secrets_path.exists():
            self._unread.append(f"{path} is there, the secrets it should be signed with are not")
            return False
        try:
            self._connect.written(path, ends)
        except NotReadyError:
            return False
        except RefusedError as error:
            self._unread.append(str(error))
            return False
        return True

    def _proxmox(self) -> ObservedProxmox:
        with self._connect.proxmox() as proxmox:
            permissions = proxmox.permissions()
            self._may_read(permissions)
            cluster = proxmox.cluster()
            hosts = {
                host.name: self._host(proxmox, host.name) if host.online else _offline(host.name)
                for host in cluster.hosts
            }
            return ObservedProxmox(
                version=proxmox.version(),
                quorate=cluster.quorate,
                hosts=hosts,
                vms=tuple(self._vms(proxmox, {n for n, h in hosts.items() if h.online})),
                permissions=permissions,
                mappings={m.name: frozenset(m.hosts) for m in proxmox.pci_mappings()},
            )

    def _may_read(self, permissions: Mapping[str, frozenset[str]]) -> None:
        """A token that cannot even read is told all that it lacks, not one privilege a try."""
        held = frozenset[str]().union(*permissions.values())
        block = lacking(self._site, permissions, self._site.nodes)
        if block is not None and READING_PRIVILEGES - held:
            raise RefusedError(f"{block.what}: {block.remedy}")

    def _host(self, proxmox: ProxmoxClient, name: str) -> ObservedHost:
        status = proxmox.host(name)
        storages = proxmox.storages(name)
        skew = proxmox.host_time(name) - datetime.now(UTC)
        images = self._site.proxmox.image_storage
        has_images = any(s.name == images and s.active and "iso" in s.content for s in storages)
        content = proxmox.content(name, images, "iso") if has_images else ()
        return ObservedHost(
            name=name,
            online=True,
            cpus=status.cpus,
            memory_total=status.memory_total // MIB,
            memory_free=status.memory_free // MIB,
            bridges=proxmox.bridges(name),
            storages={
                s.name: ObservedStorage(
                    s.name, frozenset(s.content), s.available, s.active, s.shared
                )
                for s in storages
            },
            clock_skew=skew,
            images=frozenset(volume.volid.rpartition("/")[2] for volume in content),
            image_sizes={volume.volid.rpartition("/")[2]: volume.size for volume in content},
        )

    def _vms(self, proxmox: ProxmoxClient, online: set[str]) -> list[ObservedVm]:
        """Every guest with its MACs: only its config tells them, and a stranger's may be one of ours."""
        found: list[ObservedVm] = []
        for vm in proxmox.vms():
            if vm.host not in online:
                continue
            config = proxmox.vm_config(vm.host, vm.vmid, vm.type)
            found.append(
                ObservedVm(
                    vmid=vm.vmid,
                    name=config.name,
                    host=vm.host,
                    running=vm.status == "running",
                    tags=frozenset(config.tags),
                    macs=frozenset(config.macs),
                    memory=config.memory,
                    addresses=frozenset(config.addresses),
                    uuid=config.smbios_uuid,
                )
            )
        return found

    def _image(self) -> ObservedImage:
        """Asked from a Proxmox host, since that is where the download runs, once the factory knows the schematic."""
        url = image_url(self._site)
        wanted = self._site.cluster.talos
        try:
            factory = self._connect.factory()
            if wanted not in factory.versions():
                return ObservedImage(reachable=False, why_not=f"the factory has no Talos {wanted}")
            if not factory.knows(site_schematic(self._site)):
                return ObservedImage(reachable=True, is_registered=False)
        except (TransientError, RefusedError) as error:
            return ObservedImage(reachable=False, why_not=str(error))
        with self._connect.proxmox() as proxmox:
            try:
                found = proxmox.image_metadata(self._site.nodes[0].host, url)
            except (TransientError, AmbiguousError, PermanentError) as error:
                return ObservedImage(reachable=False, why_not=str(error))
        return ObservedImage(reachable=True, size=found.size or 0)

    def _machine(self, node: Node) -> ObservedMachine:
        if self._connect.secrets_path.exists():
            try:
                with self._connect.talos(node) as talos:
                    version = talos.version().tag
                    member = node.role == "controlplane" and self._or_unread(
                        f"etcd on {node.name}", lambda: bool(members_of(talos)), otherwise=False
                    )
                return ObservedMachine(node.name, "configured", version, member)
            except (TransientError, RefusedError):
                # Not configured with our secrets, or silent: what it says without them tells which.
                pass
        try:
            with self._connect.maintenance(node) as talos:
                talos.identity()
        except TransientError:
            return ObservedMachine(node.name, "silent")
        except (RefusedError, AmbiguousError):
            return ObservedMachine(node.name, "foreign")
        return ObservedMachine(node.name, "maintenance")

    def _git(self) -> ObservedGit | None:
        gitops = self._site.gitops
        if gitops is None:
            return None
        commit = self._connect.git().resolve(gitops.revision)
        roots = [root for root in (gitops.cni, gitops.argocd) if root]
        roots += [root for layer in gitops.layers for root in layer.apply]
        observed = ObservedGit(commit, {}, {})
        for root in dict.fromkeys(roots):
            try:
                manifests = rendered(self._connect, commit, root)
            except (BadInputError, RefusedError) as error:
                observed.broken[root] = str(error)
                continue
            observed.roots[root] = tuple(manifest_ref(manifest) for manifest in manifests)
        return observed

    def _cluster(self, git: ObservedGit | None, is_up: bool) -> ObservedCluster:
        """What Kubernetes says. Its silence holds the plan once etcd has members: then there is something to know."""
        if not is_up:
            return ObservedCluster()
        return self._or_unread("Kubernetes", lambda: self._asked(git), ObservedCluster())

    def _asked(self, git: ObservedGit | None) -> ObservedCluster:
        gitops = self._site.gitops
        with self._connect.kubernetes() as kubernetes:
            ready = frozenset(node.name for node in kubernetes.nodes() if node.ready)
            if gitops is None or git is None:
                return ObservedCluster(ready_nodes=ready)
            roots = {root for root in (gitops.cni, gitops.argocd) if root}
            there = {root for root in roots if _exist(kubernetes, git.roots.get(root, ()))}
            apps = {
                name: app is not None and app.sync == "Synced" and app.health == "Healthy"
                for layer in gitops.layers
                for name in layer.apps
                for app in [kubernetes.application(name, gitops.namespace)]
            }
        return ObservedCluster(ready, apps, frozenset(roots if any(apps.values()) else there))


def _exist(kubernetes: KubernetesClient, refs: tuple[ManifestRef, ...]) -> bool:
    return bool(refs) and all(
        kubernetes.serves(ref.api_version, ref.kind)
        and kubernetes.get(ref.api_version, ref.kind, ref.namespace or None, ref.name) is not None
        for ref in refs
    )


def _offline(name: str) -> ObservedHost:
    return ObservedHost(name, False, 0, 0, 0, frozenset(), {}, timedelta(0), frozenset())
