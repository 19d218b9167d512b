"""The state under every server of the lab: clock, store, faults, oplog, names and addresses.

Servers take a World and nothing else; what two of them must agree on is here or in `machine.py`.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from windlass.lab.clock import Clock
from windlass.lab.faults import Faults
from windlass.lab.oplog import Oplog
from windlass.lab.pki import Authority
from windlass.lab.store import Store


@dataclass
class Network:
    """How simulated addresses map to loopback: one address a machine, all inside `loopback` (127.N.0.0/16).

    Machines of the site's /24 sit at 127.N.0.<last octet>; the lab's own servers at 127.N.1.x (Proxmox hosts) and
    127.N.2.x (DNS, image factory, SSH, Git).
    """

    site: IPv4Network
    loopback: IPv4Network

    def of(self, address: IPv4Address | str) -> IPv4Address:
        """The loopback address that stands for an address of the site's network."""
        offset = int(IPv4Address(address)) - int(self.site.network_address)
        if not 0 < offset < self.site.num_addresses:
            raise ValueError(f"{address} is not in the lab's network {self.site}")
        return self.loopback.network_address + offset

    def host(self, number: int) -> IPv4Address:
        """The address of Proxmox host number 1, 2, ..."""
        return self.loopback.network_address + 256 + number

    def service(self, number: int) -> IPv4Address:
        """The address of one of the lab's own servers."""
        return self.loopback.network_address + 512 + number


@dataclass
class World:
    """One simulated site. `names` is its DNS: name to loopback address; servers add to it at start."""

    folder: Path
    clock: Clock
    store: Store
    faults: Faults
    oplog: Oplog
    network: Network
    authority: Authority
    names: dict[str, IPv4Address] = field(default_factory=dict[str, IPv4Address])
    # Repositories that Argo CD can clone: URL as written in Git to a local folder.
    repositories: dict[str, Path] = field(default_factory=dict[str, Path])

    @classmethod
    def open(
        cls, folder: Path, *, speed: float, site: IPv4Network, loopback: IPv4Network
    ) -> "World":
        """The world in `folder`, made if it is not there, as it was if it is."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = Store(folder / "state.db")
        clock = Clock(speed)
        return cls(
            folder=folder,
            clock=clock,
            store=store,
            faults=Faults(store),
            oplog=Oplog(folder / "oplog.jsonl", clock),
            network=Network(site, loopback),
            authority=Authority.open(folder / "pki"),
        )

    def close(self) -> None:
        self.oplog.close()
        self.store.close()
