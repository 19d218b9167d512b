"""Kubernetes on the lab's machines: API servers where etcd is well, a kubelet on each, control loops on one of them.

What runs here talks to the API like anybody else, with certificates of the cluster's own authority.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from windlass.lab.controllers.access import Access, Client, Informer
from windlass.lab.controllers.kubelet import Kubelet
from windlass.lab.controllers.loops import ControlLoops
from windlass.lab.controllers.node import NodeIdentity
from windlass.lab.controllers.programs import programs_for
from windlass.lab.controllers.resources import NODES, PODS
from windlass.lab.kubernetes.logs import LogOptions, stream
from windlass.lab.kubernetes.server import KubernetesApi, Listener
from windlass.lab.talos.fleet import Fleet
from windlass.lab.talos.machine import Machine
from windlass.lab.talos.manifests import STATIC, SYSTEM, kubernetes_version, static_pods
from windlass.lab.talos.pki import CLIENT, SERVER, YEAR, Subject, issue
from windlass.lab.talos.provisioning import provision

logger = logging.getLogger(__name__)

PORT = 6443
# In lab seconds: a kubelet that no control plane has signed for yet asks again.
_ASKS_S = 1.0
_LABEL = "node-role.kubernetes.io/control-plane"


class Cluster:
    """One Kubernetes cluster over the machines of a fleet; implements `fleet.Kubernetes`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._world = fleet.world
        self._api: KubernetesApi | None = None
        self._tasks: dict[int, set[asyncio.Task[None]]] = {}
        self._listeners: dict[int, Listener] = {}
        self._kubelets: dict[int, Kubelet] = {}
        self._kubelet_tasks: dict[int, asyncio.Task[None]] = {}
        self._shared: Listener | None = None
        self._holder: int | None = None
        self._loops: asyncio.Task[None] | None = None
        self._nodes: Informer | None = None
        self._pods: Informer | None = None

    # What machines ask of it

    async def kubelet_up(self, machine: Machine) -> None:
        self._kubelet_tasks[machine.hardware.vmid] = self._start(
            machine, self._run_kubelet(machine), "kubelet"
        )

    async def control_plane_up(self, machine: Machine) -> None:
        self._start(machine, self._run_control_plane(machine), "control plane")

    def config_changed(self, machine: Machine) -> None:
        running = self._kubelet_tasks.get(machine.hardware.vmid)
        if running is not None:
            self._kubelet_tasks[machine.hardware.vmid] = self._start(
                machine, self._renew(machine, running), "kubelet"
            )

    async def machine_down(self, machine: Machine) -> None:
        vmid = machine.hardware.vmid
        tasks = self._tasks.pop(vmid, set())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._kubelets.pop(vmid, None)
        self._kubelet_tasks.pop(vmid, None)
        listener = self._listeners.pop(vmid, None)
        if listener is not None:
            await listener.close()
        if self._holder == vmid:
            await self._move_leader()

    def unmet(self, machine: Machine) -> list[tuple[str, str]]:
        conditions: list[tuple[str, str]] = []
        if machine.is_control_plane:
            reasons = [reason for name in STATIC if (reason := self._pod_reason(machine, name))]
            if reasons:
                conditions.append(("staticPods", ", ".join(reasons)))
        node = self._nodes.get(machine.hostname) if self._nodes is not None else None
        if node is None:
            conditions.append(
                ("nodeReady", f'node "{machine.hostname}" status is not available yet')
            )
        elif not _is_ready(node):
            conditions.append(("nodeReady", f'node "{machine.hostname}" is not ready'))
        return conditions

    def static_pods(self, machine: Machine) -> list[dict[str, Any]]:
        if machine.config is None:
            return []
        found: list[dict[str, Any]] = []
        for pod in static_pods(machine.config, machine.medium.version):
            name = f"{pod['metadata']['name']}-{machine.hostname}"
            mirror = self._pods.get(name, SYSTEM) if self._pods is not None else None
            found.append(mirror if mirror is not None else pod)
        return found

    # API servers

    async def _run_control_plane(self, machine: Machine) -> None:
        await self._world.clock.sleep(machine.latency.apiserver)
        config, data = machine.config, machine.content.etcd
        if config is None or data is None:
            return
        if not self._take_keyspace(data.cluster):
            logger.warning("%s is in another etcd cluster: the lab has one keyspace", machine.label)
            return
        api = self._open_api(machine, data.cluster)
        context = _server_context(machine)
        self._listeners[machine.hardware.vmid] = await api.listen(machine.loopback, PORT, context)
        if self._holder is None:
            await self._lead(machine)
        await provision(machine, self.access(machine, "talos", "system:masters"))

    def _open_api(self, machine: Machine, cluster: str) -> KubernetesApi:
        config = machine.config
        version = kubernetes_version(config, machine.medium.version) if config is not None else ""
        if self._api is None:
            self._api = KubernetesApi(self._world, version)
            self._api.pod_logs = self._logs
        self._api.version = version
        self._api.available = lambda: self._fleet.etcd.has_quorum(cluster)
        return self._api

    def _take_keyspace(self, cluster: str) -> bool:
        """Objects belong to one etcd cluster; they are gone when no machine holds its data any more."""
        section = self._world.store.section("talos-kubernetes")
        owner = section.get("keyspace", {}).get("etcd")
        if owner in {None, cluster}:
            section["keyspace"] = {"etcd": cluster}
            return True
        holders = [
            m
            for m in self._fleet.machines.values()
            if m.content.etcd and m.content.etcd.cluster == owner
        ]
        if holders:
            return False
        (self._api or KubernetesApi(self._world, "")).wipe()
        section["keyspace"] = {"etcd": cluster}
        return True

    # The shared address and the control loops: on one machine at a time

    async def _lead(self, machine: Machine) -> None:
        config = machine.config
        if config is None or self._api is None:
            return
        self._holder = machine.hardware.vmid
        vip = config.vip()
        address = self._world.network.of(vip) if vip is not None else machine.loopback
        self._world.names[config.endpoint_host] = address
        if vip is not None:
            self._shared = await self._api.listen(address, PORT, _server_context(machine))
        access = self.access(machine, "system:kube-controller-manager", "system:masters")
        loops = self._run_loops(access, config.pod_network)
        self._loops = asyncio.create_task(loops, name="control loops")
        self._loops.add_done_callback(_report)

    async def _move_leader(self) -> None:
        self._holder = None
        loops, self._loops = self._loops, None
        if loops is not None:
            loops.cancel()
            await asyncio.wait({loops})
        shared, self._shared = self._shared, None
        if shared is not None:
            await shared.close()
        heirs = [m for vmid, m in self._fleet.machines.items() if vmid in self._listeners]
        if heirs:
            self._start(heirs[0], self._inherit(heirs[0]), "leader")

    async def _inherit(self, machine: Machine) -> None:
        await self._world.clock.sleep(machine.latency.vip_failover)
        if self._holder is None:
            await self._lead(machine)

    async def _run_loops(self, access: Access, pods: IPv4Network) -> None:
        async with Client(access) as client, asyncio.TaskGroup() as group:
            self._nodes, self._pods = Informer(client, NODES), Informer(client, PODS)
            for informer in (self._nodes, self._pods):
                informer.subscribe(self._told)
                group.create_task(informer.run())
            group.create_task(ControlLoops(access, self._world.clock, pod_network=pods).run())

    def _told(self, _before: object, _after: object) -> None:
        for machine in self._fleet.machines.values():
            if machine.boot is not None:
                machine.changed()

    # Kubelets

    async def _run_kubelet(self, machine: Machine) -> None:
        config = machine.config
        if config is None:
            return
        while not self._planes(machine):
            await self._world.clock.sleep(_ASKS_S)
        name = machine.hostname
        access = self.access(machine, f"system:node:{name}", "system:nodes")
        world = self._world
        programs = programs_for(world.repositories, world.faults)
        kubelet = Kubelet(
            access, world.clock, _identity(machine), programs=programs, faults=world.faults
        )
        self._kubelets[machine.hardware.vmid] = kubelet
        await kubelet.run()

    async def _renew(self, machine: Machine, running: asyncio.Task[None]) -> None:
        """The kubelet goes on with what the config says now; its pods do not notice."""
        running.cancel()
        await asyncio.wait({running})
        await self._run_kubelet(machine)

    def _logs(self, namespace: str, name: str, options: LogOptions) -> AsyncIterator[bytes] | None:
        for kubelet in self._kubelets.values():
            log = kubelet.log(namespace, name, options.container, previous=options.previous)
            if log is not None:
                return stream(log, options, partial(self._is_running, kubelet))
        return None

    def _is_running(self, kubelet: Kubelet) -> bool:
        return kubelet in self._kubelets.values()

    # Credentials

    def access(self, machine: Machine, name: str, group: str) -> Access:
        """A client certificate of the cluster's authority, and all ways to an API server."""
        planes = self._planes(machine)
        config = next((plane.config for plane in planes if plane.config is not None), None)
        if config is None:
            raise RuntimeError(f"{machine.label} has no control plane to sign for {name}")
        identity = issue(config.cluster_authority, Subject(name, (group,)), [CLIENT], YEAR)
        folder = self._world.folder / "talos"
        context = ssl.create_default_context(cadata=config.cluster_ca.decode())
        context.load_cert_chain(
            *identity.files(folder, f"{machine.hardware.vmid}-{name.replace(':', '-')}")
        )
        vip = config.vip()
        ways: list[IPv4Address] = [self._world.network.of(vip)] if vip is not None else []
        ways = [*ways, *(plane.loopback for plane in planes)]
        first, *others = [f"https://{way}:{PORT}" for way in ways]
        return Access(first, context, f"{name.replace(':', '-')}/{machine.hostname}", tuple(others))

    def _planes(self, machine: Machine) -> list[Machine]:
        """The configured control planes of the machine's cluster, itself first."""
        return [m for m in (machine, *self._fleet.kin(machine)) if m.is_control_plane]

    def _pod_reason(self, machine: Machine, name: str) -> str | None:
        full = f"{name}-{machine.hostname}"
        pod = self._pods.get(full, SYSTEM) if self._pods is not None else None
        if pod is None:
            return f"{SYSTEM}/{full} pending"
        return None if _is_ready(pod) else f"{SYSTEM}/{full} not ready"

    def _start(
        self, machine: Machine, work: Coroutine[Any, Any, None], what: str
    ) -> asyncio.Task[None]:
        """Runs until it ends or its machine does."""
        task = asyncio.create_task(work, name=f"{what} of {machine.label}")
        task.add_done_callback(_report)
        self._tasks.setdefault(machine.hardware.vmid, set()).add(task)
        return task


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("%s ended: %r", task.get_name(), error, exc_info=error)


def _is_ready(document: dict[str, Any]) -> bool:
    conditions = document.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _server_context(machine: Machine) -> ssl.SSLContext:
    config = machine.config
    if config is None:
        raise RuntimeError(f"{machine.label} has no config")
    network, vip = machine.fleet.world.network, config.vip()
    shared = [str(vip), str(network.of(vip))] if vip is not None else []
    names = [
        config.endpoint_host, *shared, str(machine.address), str(machine.loopback), machine.hostname, "localhost",
        "127.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
        f"kubernetes.default.svc.{config.dns_domain}", config.api_service_address, *config.api_cert_sans,
    ]  # fmt: skip
    subject = Subject("kube-apiserver", ("kube-master",), tuple(dict.fromkeys(names)))
    identity = issue(config.cluster_authority, subject, [SERVER], YEAR)
    folder = machine.fleet.world.folder / "talos"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*identity.files(folder, f"{machine.hardware.vmid}-apiserver"))
    context.load_verify_locations(cadata=config.cluster_ca.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def _identity(machine: Machine) -> NodeIdentity:
    config, hardware = machine.config, machine.hardware
    if config is None:
        raise RuntimeError(f"{machine.label} has no config")
    labels, taints = dict(config.node_labels), list(config.node_taints)
    pods: tuple[dict[str, Any], ...] = ()
    if machine.is_control_plane:
        labels[_LABEL] = ""
        pods = static_pods(config, machine.medium.version)
        if not config.cluster.get("allowSchedulingOnControlPlanes"):
            taints.append((_LABEL, "", "NoSchedule"))
    system = machine.system_disk
    return NodeIdentity(
        name=machine.hostname, addresses=(str(machine.address), str(machine.loopback)),
        kubelet_version=kubernetes_version(config, machine.medium.version, "kubelet"),
        os_image=f"Talos ({machine.medium.version})", boot_id=machine.boot_id,
        machine_id=hardware.uuid.replace("-", ""), system_uuid=hardware.uuid, cpu=hardware.cores,
        memory=hardware.memory, disk=(system.size >> 30) if system is not None else 0, labels=tuple(labels.items()),
        taints=tuple(taints), static_pods=pods,
    )  # fmt: skip
