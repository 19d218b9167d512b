"""One pod on its node, from bound to gone."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from windlass.lab.controllers import needs
from windlass.lab.controllers.access import ApiAwayError, ApiError
from windlass.lab.controllers.containers import Container, Runtime
from windlass.lab.controllers.objects import (
    Object,
    dig,
    is_going,
    items,
    pod_is_over,
    timestamp,
    with_condition,
)
from windlass.lab.controllers.resources import PODS

logger = logging.getLogger(__name__)

# Lab seconds between looks at what a pod waits for; the kubelet retries mounts at this pace.
_LOOK_AGAIN = 2.0
# Real seconds between attempts to reach an API server that is away.
_TRY_AGAIN = 0.5


class Host(Runtime, Protocol):
    """What a pod needs of its node."""

    boot_changed: bool
    host_address: str

    def network_is_ready(self) -> bool: ...

    def take_address(self) -> str: ...

    def give_back(self, address: str) -> None: ...


class PodRunner:
    """Runs one pod. `seen` tells it of changes; `run` ends when the pod is gone from the API."""

    def __init__(self, node: Host, pod: Object) -> None:
        self.pod = pod
        self._node = node
        self._ref = PODS.of(pod)
        self._reporting = asyncio.Lock()
        self._going = asyncio.Event()
        self._gone = asyncio.Event()
        self._blocked = ""
        self._address = dig(pod, "status", "podIP", default="")
        self._started = dig(pod, "status", "startTime", default="")
        self._init_done = False
        self._init = self._boxes("initContainers")
        self.containers = self._boxes("containers")
        self._adopt()

    def _boxes(self, which: str) -> list[Container]:
        found = items(self.pod, "spec", which)
        return [Container(one, self.pod, self._node, self.report) for one in found]

    def seen(self, pod: Object | None) -> None:
        """The API has this now; None when the pod is no more."""
        if pod is None:
            self._gone.set()
            self._going.set()
        else:
            self.pod = pod
            if is_going(pod):
                self._going.set()

    @property
    def all_containers(self) -> Iterator[Container]:
        yield from self._init
        yield from self.containers

    async def run(self) -> None:
        life = asyncio.create_task(self._live())
        going = asyncio.create_task(self._going.wait())
        if is_going(self.pod):
            self._going.set()
        try:
            await asyncio.wait([life, going], return_when=asyncio.FIRST_COMPLETED)
            if not going.done():
                life.result()
                await going
        finally:
            life.cancel()
            going.cancel()
            with suppress(asyncio.CancelledError):
                await life
            self._node.give_back(self._address)
        await self._end()

    def _adopt(self) -> None:
        status = self.pod.get("status", {})
        before = {
            one["name"]: one
            for kind in ("initContainerStatuses", "containerStatuses")
            for one in items(status, kind)
        }
        for container in self.all_containers:
            if container.name in before:
                container.adopt(before[container.name], rebooted=self._node.boot_changed)
        if self._node.boot_changed and not pod_is_over(self.pod):
            self._address = ""

    async def _live(self) -> None:
        if pod_is_over(self.pod):
            return
        self._started = self._started or timestamp(self._node.clock.now())
        await self.report()
        await self._until_mounted()
        await self._until_networked()
        policy = self.pod["spec"].get("restartPolicy", "Always")
        async with asyncio.TaskGroup() as sidecars:
            helping = await self._initialise(sidecars, policy)
            self._init_done = True
            async with asyncio.TaskGroup() as tasks:
                for container in self.containers:
                    tasks.create_task(container.run(policy))
            for task in helping:
                task.cancel()
        await self.report()

    async def _initialise(
        self, tasks: asyncio.TaskGroup, policy: str
    ) -> list["asyncio.Task[None]"]:
        """Init containers one after the other; those that stay (sidecars) are returned."""
        helping: list[asyncio.Task[None]] = []
        for container in self._init:
            if container.spec.get("restartPolicy") == "Always":
                helping.append(tasks.create_task(container.run("Always")))
            else:
                await container.run("Never" if policy == "Never" else "OnFailure")
        return helping

    async def _until_mounted(self) -> None:
        while missing := await self._missing():
            if missing != self._blocked:
                self._blocked = missing
                await self.report()
            await self._node.clock.sleep(_LOOK_AGAIN)
        self._blocked = ""

    async def _missing(self) -> str:
        namespace = self.pod["metadata"]["namespace"]
        for volume in items(self.pod, "spec", "volumes"):
            what = await needs.first_unmet(self._node.client, needs.of_volume(volume), namespace)
            if what:
                return f'MountVolume.SetUp failed for volume "{volume["name"]}" : {what}'
        return ""

    async def _until_networked(self) -> None:
        if self.pod["spec"].get("hostNetwork"):
            self._address = self._node.host_address
            return
        while not self._node.network_is_ready():
            await self._node.clock.sleep(_LOOK_AGAIN / 2)
        self._address = self._address or self._node.take_address()

    async def _end(self) -> None:
        if self._gone.is_set():
            return
        await self._node.clock.sleep(self._node.latencies.stop)
        for container in self.all_containers:
            container.stopped()
        await self.report()
        uid = self.pod["metadata"]["uid"]
        while not self._gone.is_set():
            try:
                await self._node.client.delete(
                    self._ref, gracePeriodSeconds=0, preconditions={"uid": uid}
                )
            except (ApiError, ApiAwayError) as error:
                logger.debug("removing %s: %s", self._ref, error)
                if isinstance(error, ApiError) and error.code == 409:
                    return
                await asyncio.sleep(_TRY_AGAIN)
            else:
                return

    async def report(self) -> None:
        """Publish the pod's status; waits for an API server that is away."""
        async with self._reporting:
            while not self._gone.is_set():
                try:
                    self.pod = await self._node.client.merge_status(self._ref, self._status())
                except ApiAwayError:
                    await asyncio.sleep(_TRY_AGAIN)
                except ApiError as error:
                    if error.code in (404, 409):
                        return
                    logger.warning("status of %s: %s", self._ref, error)
                    await asyncio.sleep(_TRY_AGAIN)
                else:
                    return

    def _status(self) -> Object:
        status: Object = {
            "phase": self._phase(),
            "startTime": self._started or None,
            "hostIP": self._node.host_address,
            "hostIPs": [{"ip": self._node.host_address}],
            "conditions": self._conditions(),
            "containerStatuses": [container.status() for container in self.containers],
        }
        if self._init:
            status["initContainerStatuses"] = [container.status() for container in self._init]
        if self._address:
            status["podIP"] = self._address
            status["podIPs"] = [{"ip": self._address}]
        return status

    def _phase(self) -> str:
        if self.containers and all(container.is_over for container in self.containers):
            failed = any(container.has_failed for container in self.containers)
            # What is started again has not ended.
            policy = self.pod["spec"].get("restartPolicy", "Always")
            ends = policy == "Never" or (policy == "OnFailure" and not failed)
            if ends or is_going(self.pod):
                return "Failed" if failed else "Succeeded"
        if any(container.has_failed for container in self._init) and not self._init_done:
            return "Failed" if self.pod["spec"].get("restartPolicy") == "Never" else "Pending"
        return "Pending" if any(one.never_ran for one in self.containers) else "Running"

    def _conditions(self) -> list[Object]:
        now = self._node.clock.now()
        conditions = items(self.pod, "status", "conditions")
        over = self._phase() in ("Succeeded", "Failed")
        ready = bool(self.containers) and all(container.ready for container in self.containers)
        unready = [container.name for container in self.containers if not container.ready]
        why = (
            {"reason": "PodCompleted"}
            if over
            else {
                "reason": "ContainersNotReady",
                "message": self._blocked
                or f"containers with unready status: [{' '.join(unready)}]",
            }
        )
        for name, holds in (
            ("PodScheduled", True),
            ("PodReadyToStartContainers", bool(self._address)),
            ("Initialized", self._init_done or not self._init),
            ("ContainersReady", ready),
            ("Ready", ready),
        ):
            entry = {"type": name, "status": "True" if holds else "False"}
            if name in ("ContainersReady", "Ready") and not holds:
                entry |= why
            conditions = with_condition(conditions, entry, now)
        return conditions
