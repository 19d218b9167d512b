"""The simulated cluster as the lab sees it: hosts that listen, guests that run, and what happens to them by itself.

A lab that is stopped is a power cut: tasks that ran end as `unexpected status`, configuration locks stay as they
were, and at the next start every VM that ran is switched on again, whatever its `onboot` says.
"""

import asyncio
import contextlib
import ssl
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from windlass.lab.machine import Guests
from windlass.lab.proxmox import faults
from windlass.lab.proxmox.certificates import wrong_certificate
from windlass.lab.proxmox.datacenter import BROADCAST_S, Datacenter
from windlass.lab.proxmox.hosts import DEFAULT_HOSTS, HostSpec
from windlass.lab.proxmox.recorder import Recorder
from windlass.lab.proxmox.refusals import Refusal
from windlass.lab.proxmox.server import Api
from windlass.lab.world import World

PORT = 8006
_WATCH_S = 0.1


class ProxmoxCluster:
    """Host n listens at `world.network.host(n)`, and answers for all of them."""

    def __init__(
        self, world: World, guests: Guests, hosts: tuple[HostSpec, ...] = DEFAULT_HOSTS
    ) -> None:
        self._world = world
        self.datacenter = Datacenter(world, guests, hosts)
        self._hosts = hosts
        # Host to its socket and the connections made to it.
        self._listeners: dict[str, tuple[asyncio.Server, web.Server]] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._recorder: Recorder | None = None
        faults.declare(world.faults)

    async def start(self) -> None:
        """Listen, and switch on what ran before."""
        dc = self.datacenter
        self._recorder = Recorder(self._world.folder / "proxmox-requests.jsonl")
        dc.tasks.recover()
        for host in self._hosts:
            await self._listen(host)
        for vm in dc.vms:
            if vm.running:
                await self._resume(vm.vmid)
        self._watchers = [
            asyncio.create_task(self._broadcast()),
            asyncio.create_task(self._watch_hosts()),
        ]

    async def _resume(self, vmid: int) -> None:
        vm = self.datacenter.vms.find(vmid)
        if vm is None:
            return
        try:
            await self.datacenter.power_on(vm, check=False)
        except Refusal:
            self.datacenter.mark_stopped(vm)

    async def _listen(self, host: HostSpec) -> None:
        address = self._world.network.host(self._hosts.index(host) + 1)
        names = [host.name, f"{host.name}.lab", str(address), "localhost", "127.0.0.1"]
        certificate, key = self._world.authority.issue(f"pve-{host.name}", names)
        good = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        good.load_cert_chain(certificate, key)
        leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
        self.datacenter.fingerprints[host.name] = leaf.fingerprint(hashes.SHA256()).hex(":").upper()

        def choose(tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            fault = self._world.faults.fires("tls-wrong-certificate", node=host.name)
            if fault is not None:
                tls.context = wrong_certificate(
                    self._world.folder / "pki", str(fault.args.get("kind", "self-signed")), names
                )

        good.sni_callback = choose
        if self._recorder is None:
            raise RuntimeError("listen before start")
        handler = web.Server(
            Api(self.datacenter, self._recorder, host.name).handle,
            keepalive_timeout=5,
            access_log=None,
        )
        loop = asyncio.get_running_loop()
        server = await loop.create_server(handler, str(address), PORT, ssl=good)
        self._listeners[host.name] = server, handler
        self._world.names |= {host.name: address, f"{host.name}.lab": address}

    async def stop(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for name in list(self._listeners):
            await self._hang_up(name)
        self._watchers = []
        await self.datacenter.tasks.stop()
        if self._recorder is not None:
            self._recorder.close()

    async def _hang_up(self, name: str) -> None:
        """Nobody answers at this host any more, and its connections are cut."""
        server, handler = self._listeners.pop(name)
        server.close()
        await handler.shutdown(timeout=0.2)

    # By itself

    async def _broadcast(self) -> None:
        """Each host tells the others how its guests are."""
        dc = self.datacenter
        while True:
            dc.broadcast = {vm.vmid: dc.status(vm) for vm in dc.vms if vm.node not in dc.down}
            await asyncio.sleep(max(self._world.clock.real(BROADCAST_S), 0.05))

    async def _watch_hosts(self) -> None:
        """Hosts lose and regain power as the fault says."""
        while True:
            off = {
                host.name for host in self._hosts for f in self._world.faults.active()
                if f.name == "pve-host-offline" and f.left != 0 and str(f.args.get("node", host.name)) == host.name
            }  # fmt: skip
            for name in off - self.datacenter.down:
                await self._cut_power(name)
            for name in self.datacenter.down - off:
                await self._restore_power(name)
            await asyncio.sleep(_WATCH_S)

    async def _cut_power(self, name: str) -> None:
        dc = self.datacenter
        dc.down.add(name)
        await self._hang_up(name)
        dc.tasks.kill_host(name)
        for vm in dc.vms:
            if vm.node == name and vm.running:
                await dc.power_off(vm)
        self._world.oplog.append("host_off", f"host/{name}", before="online", after="offline")

    async def _restore_power(self, name: str) -> None:
        dc = self.datacenter
        dc.down.discard(name)
        await self._listen(dc.host(name))
        self._world.oplog.append("host_on", f"host/{name}", before="offline", after="online")
        for vm in dc.vms:
            if vm.node == name and vm.config.get("onboot") == "1":
                with contextlib.suppress(Refusal):
                    await dc.power_on(vm)

    # Hypervisor

    async def guest_stopped(self, vmid: int) -> None:
        """The guest switched itself off."""
        dc = self.datacenter
        vm = dc.vms.find(vmid)
        if vm is None or not vm.running:
            return
        dc.mark_stopped(vm)
        dc.gone_down.setdefault(vmid, asyncio.Event()).set()
        self._world.oplog.append("vm_stopped", f"vm/{vmid}", before="running", after="stopped")

    # For the lab

    def credentials(self) -> dict[str, Any]:
        """What a client needs. `storages` are the names on all hosts."""
        access = self.datacenter.access
        return {
            "user": "root@pam",
            "password": access.users["root@pam"]["password"],
            "token_id": "windlass@pve!windlass",
            "token_secret": access.tokens["windlass@pve!windlass"]["secret"],
            "storages": self.datacenter.storages.names(),
        }

    def state(self) -> dict[str, Any]:
        """Ground truth: hosts, VMs with their configuration, volumes and tasks."""
        dc = self.datacenter
        return {
            "quorate": dc.quorate,
            "hosts": {host.name: {"online": host.name not in dc.down, "memory": host.memory} for host in self._hosts},
            "vms": {
                str(vm.vmid): {
                    "name": vm.name, "node": vm.node, "running": vm.running, "lock": vm.config.get("lock"),
                    "config": vm.config, "pending": vm.pending, "snapshots": sorted(vm.snapshots),
                }
                for vm in dc.vms
            },
            "tasks": [
                {key: doc.get(key) for key in ("upid", "node", "type", "id", "user", "starttime", "endtime", "exitstatus")}
                for doc in dc.tasks.known()
            ],
            "volumes": sorted(
                f"{host.name}/{volume.volid}" for host in self._hosts for spec in host.all_storages
                for volume in dc.storages.volumes(host.name, spec.name)
            ),
        }  # fmt: skip
