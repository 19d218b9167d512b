"""A kubelet: one Node, its lease and conditions, and the pods bound to it."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable
from contextlib import suppress
from ipaddress import IPv4Network

import orjson

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Access, ApiAwayError, ApiError, Change, Client, Informer
from windlass.lab.controllers.containers import Container, Latencies
from windlass.lab.controllers.logs import Log
from windlass.lab.controllers.node import (
    NodeIdentity,
    heartbeat_seconds,
    node_document,
    node_labels,
    node_status,
    says_the_same,
)
from windlass.lab.controllers.objects import Object, annotations_of, dig, micro_timestamp
from windlass.lab.controllers.pods import PodRunner
from windlass.lab.controllers.program import Programs
from windlass.lab.controllers.programs import DEFAULT_PROGRAMS
from windlass.lab.controllers.resources import CSI_NODES, LEASES, NODES, PODS
from windlass.lab.faults import Faults

logger = logging.getLogger(__name__)

# Images whose running, ready pod is a node's network.
NETWORK_IMAGES = ("cilium/cilium", "flannel")
_LEASES = "kube-node-lease"
_MIRROR = "kubernetes.io/config.mirror"
# Real seconds between attempts to register.
_TRY_AGAIN = 0.5
# Lab seconds between looks at the static pods.
_LOOK_AGAIN = 5.0

FAULTS = {
    "image-unavailable": "pulls fail: image=, node=, namespace=, pod=",
    "pod-crash": "containers exit with 1 as they start: namespace=, pod=, container=, node=, image=",
    "pod-unready": "containers run and never get ready: namespace=, pod=, container=, node=, image=",
    "kubelet-silent": "no heartbeat reaches the API: node=",
}


class Kubelet:
    """One node. `run` until cancelled; cancelled, it leaves the API as it is, as a power cut does."""

    def __init__(
        self,
        access: Access,
        clock: Clock,
        identity: NodeIdentity,
        *,
        programs: Programs = DEFAULT_PROGRAMS,
        faults: Faults | None = None,
        latencies: Latencies | None = None,
    ) -> None:
        self.name = identity.name
        self.access = access
        self.clock = clock
        self.client = Client(access)
        self.programs = programs
        self.faults = faults
        self.latencies = latencies or Latencies()
        self.images: set[str] = set()
        self.boot_changed = False
        self.host_address = identity.addresses[0]
        self._identity = identity
        self._ref = NODES.ref(identity.name)
        self._pods: dict[str, PodRunner] = {}
        self._addresses: set[str] = set()
        # Where nobody gives nodes a pod network, the CNI's own allocation: one a node, by address.
        self._network = IPv4Network(f"10.244.{self.host_address.rpartition('.')[2]}.0/24")
        self._changed = asyncio.Event()
        if faults is not None:
            for name, does in FAULTS.items():
                faults.declare(name, does)

    async def run(self) -> None:
        async with self.client:
            await self._register()
            pods = Informer(self.client, PODS, fieldSelector=f"spec.nodeName={self.name}")
            async with asyncio.TaskGroup() as tasks:
                pods.subscribe(self._pod_changed(tasks))
                tasks.create_task(pods.run())
                tasks.create_task(self._heartbeat())
                tasks.create_task(self._keep_status())
                tasks.create_task(self._keep_static_pods(pods))

    def log(
        self, namespace: str, name: str, container: str, *, previous: bool = False
    ) -> Log | None:
        """What a container wrote in its last run, or in the one before; None where it never ran here."""
        for runner in self._pods.values():
            meta = runner.pod["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, name):
                for one in runner.all_containers:
                    if one.name == container:
                        return (
                            one.previous_log if previous else one.log if one.log.written else None
                        )
        return None

    def network_is_ready(self) -> bool:
        """A ready container of a known network runs here."""
        return any(self._is_network(one) for pod in self._pods.values() for one in pod.containers)

    @staticmethod
    def _is_network(container: Container) -> bool:
        return container.ready and any(part in container.image for part in NETWORK_IMAGES)

    def take_address(self) -> str:
        for address in self._network.hosts():
            text = str(address)
            # The first address of a node's pod network is its bridge.
            if text not in self._addresses and address != self._network.network_address + 1:
                self._addresses.add(text)
                return text
        raise RuntimeError(f"{self.name} has no pod address left in {self._network}")

    def give_back(self, address: str) -> None:
        self._addresses.discard(address)

    def _pod_changed(self, tasks: asyncio.TaskGroup) -> Change:
        def changed(before: Object | None, after: Object | None) -> None:
            if before is not None and (after is None or _uid(after) != _uid(before)):
                runner = self._pods.get(_uid(before))
                if runner is not None:
                    runner.seen(None)
            if after is not None:
                runner = self._pods.get(_uid(after))
                if runner is None:
                    runner = self._pods[_uid(after)] = PodRunner(self, after)
                    self._addresses.add(dig(after, "status", "podIP", default=""))
                    tasks.create_task(self._run_pod(runner))
                runner.seen(after)
            self._changed.set()

        return changed

    async def _run_pod(self, runner: PodRunner) -> None:
        try:
            await runner.run()
        except Exception:
            # One pod that makes no sense must not take the others of its node along.
            logger.exception("pod %s", runner.pod["metadata"]["name"])
        finally:
            self._pods.pop(_uid(runner.pod), None)
            self._changed.set()

    async def _register(self) -> None:
        while True:
            try:
                await self._join()
            except (ApiError, ApiAwayError) as error:
                logger.debug("%s registers: %s", self.name, error)
                await asyncio.sleep(_TRY_AGAIN)
            else:
                return

    async def _join(self) -> None:
        known = await self.client.get(self._ref)
        if known is None:
            await self.client.create(NODES, node_document(self._identity))
        else:
            before = dig(known, "status", "nodeInfo", "bootID", default=self._identity.boot_id)
            self.boot_changed = before != self._identity.boot_id
            labels = node_labels(self._identity)
            await self.client.merge(self._ref, {"metadata": {"labels": labels}})
        await self._publish()
        body: Object = {"kind": "CSINode", "metadata": {"name": self.name}, "spec": {"drivers": []}}
        await self.client.create_if_absent(
            CSI_NODES, {"apiVersion": CSI_NODES.group_version, **body}
        )

    async def _publish(self) -> None:
        known = await self.client.get(self._ref)
        if known is None:
            await self.client.create(NODES, node_document(self._identity))
            self._changed.set()
            return
        cidr = dig(known, "spec", "podCIDR")
        if cidr is not None:
            self._network = IPv4Network(cidr)
        networked = self.network_is_ready()
        if not says_the_same(self._identity, known, networked=networked):
            status = node_status(self._identity, known, networked=networked, now=self.clock.now())
            await self.client.merge_status(self._ref, status)

    async def _keep_status(self) -> None:
        """The Node's status follows what runs here, whatever others write into it."""
        while True:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.clock.real(heartbeat_seconds(self.clock))):
                    await self._changed.wait()
            if not self._is_silent():
                await self._tried("status", self._publish())

    async def _heartbeat(self) -> None:
        while True:
            if not self._is_silent():
                await self._tried("lease", self._renew())
            await self.clock.sleep(heartbeat_seconds(self.clock))

    async def _renew(self) -> None:
        spec = {
            "holderIdentity": self.name,
            "leaseDurationSeconds": 40,
            "renewTime": micro_timestamp(self.clock.now()),
        }
        body: Object = {"apiVersion": LEASES.group_version, "kind": "Lease", "spec": spec}
        body["metadata"] = {"name": self.name, "namespace": _LEASES}
        try:
            await self.client.merge(LEASES.ref(self.name, _LEASES), {"spec": spec})
        except ApiError as error:
            if error.code != 404:
                raise
            await self.client.create(LEASES, body)

    async def _keep_static_pods(self, pods: Informer) -> None:
        """Each static pod has its mirror in the API, made again when somebody deletes it."""
        await pods.synced.wait()
        while True:
            for manifest in self._identity.static_pods:
                mirror = self._mirror(manifest)
                meta = mirror["metadata"]
                if pods.get(meta["name"], meta["namespace"]) is None:
                    await self._tried("mirror", self.client.create_if_absent(PODS, mirror))
            await self.clock.sleep(_LOOK_AGAIN)

    def _mirror(self, manifest: Object) -> Object:
        digest = hashlib.md5(orjson.dumps(manifest), usedforsecurity=False).hexdigest()
        marks = {_MIRROR: digest, "kubernetes.io/config.source": "file"}
        meta = {
            **manifest["metadata"],
            "namespace": manifest["metadata"].get("namespace", "kube-system"),
            "name": f"{manifest['metadata']['name']}-{self.name}",
            "annotations": {**annotations_of(manifest), **marks},
        }
        spec = {
            **manifest["spec"],
            "nodeName": self.name,
            "tolerations": [{"operator": "Exists", "effect": "NoExecute"}],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}

    async def _tried(self, what: str, call: Awaitable[None]) -> None:
        """The next beat tries again whatever this one met."""
        try:
            await call
        except (ApiError, ApiAwayError) as error:
            logger.debug("%s of %s: %s", what, self.name, error)

    def _is_silent(self) -> bool:
        return self.faults is not None and (
            self.faults.fires("kubelet-silent", node=self.name) is not None
        )


def _uid(document: Object) -> str:
    return document["metadata"]["uid"]
