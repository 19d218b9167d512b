"""The lab as a process: all servers of one site in one event loop, until somebody says stop.

`python -m windlass.lab.up` is what `windlass lab up` runs. The last line it prints is `ready`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import yaml

from windlass.lab import homelab
from windlass.lab.blueprint import Blueprint, blueprint_of, default_blueprint, reached_site
from windlass.lab.control import Control
from windlass.lab.dns import DnsServer
from windlass.lab.factory import ImageFactory
from windlass.lab.proxmox import HostSpec, ProxmoxCluster
from windlass.lab.ssh import SshServer
from windlass.lab.talos import TalosGuests
from windlass.lab.world import World


@dataclass(frozen=True)
class Options:
    """How a lab is brought up. `site` None means the default site."""

    folder: Path
    speed: float
    network: IPv4Network
    site: Path | None = None
    host_memory: int = 128 * 1024
    repository: Path | None = None
    urls: tuple[str, ...] = ()


def main(argv: list[str] | None = None) -> int:
    """Run a lab until SIGTERM or SIGINT."""
    options = parse(sys.argv[1:] if argv is None else argv)
    os.umask(0o077)
    asyncio.run(_serve(options))
    return 0


def parse(argv: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="windlass lab up")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--network", type=IPv4Network, default=IPv4Network("127.25.0.0/16"))
    parser.add_argument("--site", type=Path)
    parser.add_argument("--host-memory", type=int, default=128 * 1024)
    parser.add_argument("--repository", type=Path)
    parser.add_argument("--url", action="append", default=[])
    args = parser.parse_args(argv)
    return Options(
        args.dir.absolute(), args.speed, args.network, args.site, args.host_memory, args.repository,
        tuple(args.url),
    )  # fmt: skip


def blueprint(options: Options) -> Blueprint:
    if options.site is None:
        return default_blueprint(homelab.LAYERS, homelab.ARGOCD, homelab.CNI)
    return blueprint_of(
        options.site,
        host_memory=options.host_memory,
        repository=options.repository,
        urls=options.urls,
    )


async def _serve(options: Options) -> None:
    plan = blueprint(options)
    world = World.open(
        options.folder, speed=options.speed, site=plan.network, loopback=options.network
    )
    (options.folder / "lab.pid").write_text(str(os.getpid()))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lab = Lab(world, plan, options)
    try:
        await lab.start(stop)
        print("ready", flush=True)  # noqa: T201 - the contract with whoever started it
        await stop.wait()
    finally:
        await lab.stop()
        world.close()
        (options.folder / "lab.pid").unlink(missing_ok=True)


class Lab:
    """The servers of one site and the files that tell how to use them."""

    def __init__(self, world: World, plan: Blueprint, options: Options) -> None:
        self.world = world
        self._plan = plan
        self._options = options
        hosts = tuple(_host_spec(host, plan) for host in plan.hosts)
        self.guests = TalosGuests(world)
        self.proxmox = ProxmoxCluster(world, self.guests, hosts)
        self.guests.hypervisor = self.proxmox
        self.factory = ImageFactory(world)
        self.dns = DnsServer(world, self._records())
        self.ssh = SshServer(world, len(hosts), [host.name for host in hosts])
        self._stack = contextlib.AsyncExitStack()

    def _records(self) -> dict[str, IPv4Address]:
        cluster = self._plan.site["cluster"]
        first = self._plan.site["nodes"][0]["address"]
        return {cluster["endpoint"]: IPv4Address(cluster.get("vip") or first)}

    async def start(self, stop: asyncio.Event) -> None:
        repo = self._repository()
        for server in (self.factory, self.guests, self.proxmox, self.dns, self.ssh):
            await server.start()
            self._stack.push_async_callback(server.stop)
        control = Control(self.world, self.state, stop)
        await control.start()
        self._stack.push_async_callback(control.stop)
        self._write_files(repo)

    async def stop(self) -> None:
        await self._stack.aclose()

    def state(self) -> dict[str, Any]:
        """Ground truth, for the observer: what Proxmox and the machines really are."""
        return {"proxmox": self.proxmox.state(), "talos": self.guests.state()}

    def _repository(self) -> str:
        """The URL of the site's repository; Argo CD clones what the URL stands for in this lab."""
        plan, folder = self._plan, self._options.folder / "git" / "homelab.git"
        if plan.repository is not None:
            for url in plan.urls:
                self.world.repositories[url] = plan.repository
            return f"file://{plan.repository}"
        url = f"file://{folder}"
        if not folder.exists():
            homelab.create_repository(folder, url)
        self.world.repositories[url] = folder
        return url

    def _write_files(self, repo: str) -> None:
        folder = self._options.folder
        credentials = self.proxmox.credentials()
        (folder / "credentials").mkdir(mode=0o700, exist_ok=True)
        (folder / "credentials" / "proxmox-token").write_text(credentials["token_secret"])
        (folder / "credentials" / "proxmox-password").write_text(credentials["password"])
        site = reached_site(self._plan, self.world.network, self._options.speed, repo)
        (folder / "site.yaml").write_text(yaml.safe_dump(site, sort_keys=False))
        (folder / "lab.json").write_text(
            json.dumps(self._contract(site, repo, credentials), indent=2)
        )

    def _contract(
        self, site: dict[str, Any], repo: str, credentials: dict[str, Any]
    ) -> dict[str, Any]:
        folder, network = self._options.folder, self.world.network
        return {
            "proxmox": {
                "url": f"https://{network.host(1)}:8006",
                "ca_file": str(self.world.authority.ca_file),
                "hosts": [host.name for host in self._plan.hosts],
                # Where disks go comes first.
                "storages": sorted(
                    credentials["storages"], key=lambda name: name != site["proxmox"]["storage"]
                ),
                "bridge": site["proxmox"].get("bridge", "vmbr0"),
                "vmid_range": [9000, 9999],
                "token_id": credentials["token_id"],
                "token_secret_file": str(folder / "credentials" / "proxmox-token"),
                "user": credentials["user"],
                "password_file": str(folder / "credentials" / "proxmox-password"),
            },
            "talos": {"talosconfig": str(folder / "talosconfig")},
            "kubernetes": {
                "kubeconfig": str(folder / "kubeconfig"),
                # talosctl's health takes it as --k8s-endpoint: the cluster's own name means nothing out here.
                "endpoint": str(network.of(self._records()[site["cluster"]["endpoint"]])),
            },
            "ssh": self.ssh.contract(),
            "dns": {"address": str(network.service(2)), "port": 5353},
            "git": {
                "path": str(self._plan.repository or folder / "git" / "homelab.git"),
                "url": repo,
            },
            "oplog": str(folder / "oplog.jsonl"),
            "machines": [
                {"name": n["name"], "role": n["role"], "address": str(network.of(n["address"]))}
                for n in site["nodes"]
            ],
        }


def _host_spec(host: Any, plan: Blueprint) -> HostSpec:
    return HostSpec(
        name=host.name,
        memory=host.memory,
        cpus=host.cpus,
        mappings=host.mappings,
        storages=plan.storages,
    )


if __name__ == "__main__":
    sys.exit(main())
