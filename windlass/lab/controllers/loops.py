"""The control plane's loops in one process: scheduler and controllers, on one set of informers."""

import asyncio
from ipaddress import IPv4Network

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Access, Client
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.daemonsets import DaemonSets
from windlass.lab.controllers.deployments import Deployments, ReplicaSets
from windlass.lab.controllers.garbage import GarbageCollector
from windlass.lab.controllers.jobs import Jobs
from windlass.lab.controllers.namespaces import Namespaces
from windlass.lab.controllers.nodes import Nodes
from windlass.lab.controllers.scheduler import Scheduler
from windlass.lab.controllers.services import Budgets, Endpoints
from windlass.lab.controllers.statefulsets import StatefulSets
from windlass.lab.controllers.volumes import Claims, Volumes

_POD_NETWORK = IPv4Network("10.244.0.0/16")


class ControlLoops:
    """What kube-scheduler and kube-controller-manager do in a real cluster, as far as the lab needs.

    Absent: CronJob, HorizontalPodAutoscaler, ResourceQuota, certificate signing, token controllers.
    Of several, one may run at a time: there is no leader election here.
    """

    def __init__(
        self,
        access: Access,
        clock: Clock,
        *,
        pod_network: IPv4Network = _POD_NETWORK,
    ) -> None:
        self._access = access
        self._clock = clock
        self._pod_network = pod_network

    async def run(self) -> None:
        """Until cancelled. An API that is away or not there yet is waited for."""
        async with Client(self._access) as client, asyncio.TaskGroup() as tasks:
            informers = Informers(client)
            controllers = self._controllers(client, informers)
            tasks.create_task(informers.run())
            await informers.synced()
            for controller in controllers:
                tasks.create_task(controller.run())

    def _controllers(self, client: Client, informers: Informers) -> list[Controller]:
        clock = self._clock
        plain = (
            Scheduler, Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, Claims, Volumes,
            Endpoints, Budgets,
        )  # fmt: skip
        loops = [
            Namespaces(client, informers, clock, self._access),
            Nodes(client, informers, clock, self._pod_network),
            *(loop(client, informers, clock) for loop in plain),
            GarbageCollector(client, informers, clock),
        ]
        return [loop.controller for loop in loops]
