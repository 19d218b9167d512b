"""Hosts: lists, figures, network, time and certificates."""

from typing import Any

from windlass.lab.proxmox.api.cluster import host_overhead, node_rows
from windlass.lab.proxmox.checks import everybody, perm
from windlass.lab.proxmox.datacenter import VERSION
from windlass.lab.proxmox.hosts import GIB, MIB
from windlass.lab.proxmox.routing import Call, serves

NODE = "/nodes/{node}"


@serves("GET", "/nodes", everybody)
async def nodes(call: Call) -> Any:
    rows = node_rows(call)
    return [
        {
            "type": "node",
            "id": f"node/{row['node']}",
            "ssl_fingerprint": call.dc.fingerprints.get(row["node"], ""),
            **row,
        }
        for row in rows
    ]


@serves("GET", f"{NODE}/status", perm(NODE, "Sys.Audit"))
async def status(call: Call) -> Any:
    dc, host = call.dc, call.dc.host(call.node)
    total = host.memory * MIB
    used = (
        sum(vm.memory for vm in dc.vms if vm.node == host.name and vm.running)
        + host_overhead(host.memory)
    ) * MIB
    disk, taken = 64 * GIB, 9 * GIB
    return {
        "uptime": int(dc.world.clock.since(dc.booted)) + 1,
        "cpu": 0.02, "wait": 0, "idle": 0, "loadavg": ["0.31", "0.28", "0.25"],
        "kversion": "Linux 6.17.2-1-pve #1 SMP PREEMPT_DYNAMIC",
        "current-kernel": {"sysname": "Linux", "release": "6.17.2-1-pve", "version": "#1 SMP PREEMPT_DYNAMIC", "machine": "x86_64"},
        "pveversion": f"pve-manager/{VERSION['version']}/{VERSION['repoid']}",
        "memory": {"total": total, "used": used, "free": total - used, "available": total - used},
        "swap": {"total": 0, "used": 0, "free": 0},
        "rootfs": {"total": disk, "used": taken, "free": disk - taken, "avail": disk - taken},
        "ksm": {"shared": 0},
        "cpuinfo": {
            "cpus": host.cpus, "cores": host.cpus, "sockets": 1, "model": "Lab CPU", "mhz": "3400.000", "hvm": "1",
            "user_hz": 100, "flags": "vmx",
        },
        "boot-info": {"mode": "efi", "secureboot": 0},
    }  # fmt: skip


@serves("GET", f"{NODE}/version", everybody)
async def version(_call: Call) -> Any:
    return VERSION


@serves("GET", f"{NODE}/time", perm(NODE, "Sys.Audit"))
async def time(call: Call) -> Any:
    now = int(call.dc.world.clock.time())
    return {"time": now, "localtime": now, "timezone": "UTC"}


@serves(
    "GET", f"{NODE}/network", everybody,
    "type?:{bridge|bond|eth|alias|vlan|fabric|OVSBridge|OVSBond|OVSPort|OVSIntPort|vnet|any_bridge|any_local_bridge|include_sdn}",
)  # fmt: skip
async def network(call: Call) -> Any:
    names = [host.name for host in call.dc.hosts]
    address = call.dc.world.network.host(names.index(call.node) + 1)
    rows: list[dict[str, Any]] = [
        {
            "iface": "vmbr0", "type": "bridge", "method": "static", "method6": "manual", "address": str(address),
            "netmask": "24", "cidr": f"{address}/24", "gateway": "10.25.10.1", "bridge_ports": "enp1s0",
            "bridge_stp": "off", "bridge_fd": "0", "bridge_vlan_aware": "1", "bridge_vids": "2-4094",
            "active": 1, "autostart": 1, "priority": 4, "families": ["inet"],
        },
        {
            "iface": "enp1s0", "type": "eth", "method": "manual", "method6": "manual", "active": 1, "exists": 1,
            "priority": 3, "families": ["inet"],
        },
    ]  # fmt: skip
    wanted = call.text("type")
    if wanted in ("any_bridge", "any_local_bridge"):
        wanted = "bridge"
    return [row for row in rows if wanted in ("", "include_sdn", row["type"])]


@serves("GET", f"{NODE}/certificates/info", everybody)
async def certificates(call: Call) -> Any:
    return [{"filename": "pve-ssl.pem", "fingerprint": call.dc.fingerprints.get(call.node, "")}]
