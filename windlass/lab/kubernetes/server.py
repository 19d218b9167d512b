"""The API server on the wire: listeners, client certificates, and what is answered where."""

import ssl
from collections.abc import Callable
from ipaddress import IPv4Address

from aiohttp import web

from windlass.lab.kubernetes.cluster import Cluster
from windlass.lab.kubernetes.endpoints import Endpoints
from windlass.lab.kubernetes.logs import PodLogs
from windlass.lab.world import World

# What is still running when a listener closes gets this long; a killed API server gives nothing.
_CLOSE_SECONDS = 0.2


class Listener:
    """One API server process: an address that answers. Closing it cuts its connections."""

    def __init__(self, server: web.Server, runner: web.ServerRunner, port: int) -> None:
        self._server = server
        self._runner = runner
        self.port = port

    async def close(self) -> None:
        """Stop listening and reset every connection, as a machine that is switched off does."""
        for site in list(self._runner.sites):
            await site.stop()
        for connection in self._server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await self._runner.cleanup()


class KubernetesApi:
    """One cluster's API. Several listeners serve the same objects, as several control planes over one etcd do."""

    def __init__(self, world: World, version: str) -> None:
        self._cluster = Cluster.open(world, version)
        self._endpoints = Endpoints(self._cluster)

    @property
    def version(self) -> str:
        """What `/version` says, such as v1.34.4; may be set."""
        return self._cluster.version

    @version.setter
    def version(self, version: str) -> None:
        self._cluster.version = version

    @property
    def available(self) -> Callable[[], bool]:
        """Whether etcd has a quorum; without one nothing can be read or written."""
        return self._cluster.available

    @available.setter
    def available(self, claim: Callable[[], bool]) -> None:
        self._cluster.available = claim

    @property
    def pod_logs(self) -> PodLogs:
        """Where a container's log comes from; None when no kubelet has it."""
        return self._endpoints.pod_logs

    @pod_logs.setter
    def pod_logs(self, source: PodLogs) -> None:
        self._endpoints.pod_logs = source

    async def listen(self, address: IPv4Address | str, port: int, tls: ssl.SSLContext) -> Listener:
        """Serve on `address`; port 0 takes a free one. `tls` asks for client certificates (CERT_OPTIONAL)."""
        server = web.Server(self._endpoints.handle, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=_CLOSE_SECONDS)
        await runner.setup()
        site = web.TCPSite(runner, str(address), port, ssl_context=tls)
        await site.start()
        bound: int = runner.addresses[0][1]
        return Listener(server, runner, bound)

    def wipe(self) -> None:
        """The keyspace is gone: no objects, revisions start again. The next call finds what a new cluster has."""
        self._cluster.wipe()
        self._endpoints.prepared = False
