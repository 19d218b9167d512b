"""Version, cluster status, resources, the next free id and pools."""

from typing import Any

from windlass.lab.proxmox.checks import both, everybody, perm
from windlass.lab.proxmox.datacenter import VERSION
from windlass.lab.proxmox.hosts import MIB
from windlass.lab.proxmox.refusals import Refusal, bad_parameter, forbidden
from windlass.lab.proxmox.routing import Call, serves

NAME = "lab"


@serves("GET", "/version", everybody)
async def version(_call: Call) -> Any:
    return VERSION


@serves("GET", "/cluster/status", perm("/", "Sys.Audit"))
async def status(call: Call) -> Any:
    dc = call.dc
    single = len(dc.hosts) == 1
    hosts = [
        {
            "type": "node", "id": f"node/{host.name}", "name": host.name, "nodeid": 0 if single else number,
            "ip": str(dc.world.network.host(number)), "online": int(host.name not in dc.down),
            "local": int(host.name == call.host), "level": "",
        }
        for number, host in enumerate(dc.hosts, start=1)
    ]  # fmt: skip
    # A host that stands alone has no cluster to speak of.
    if single:
        return hosts
    head = {
        "type": "cluster",
        "id": "cluster",
        "name": NAME,
        "nodes": len(hosts),
        "quorate": int(dc.quorate),
        "version": len(hosts),
    }
    return [head, *hosts]


@serves("GET", "/cluster/resources", everybody, "type?:{vm|storage|node|sdn}")
async def resources(call: Call) -> Any:
    wanted = call.text("type")
    found: list[dict[str, Any]] = []
    if wanted in ("", "vm"):
        found += _vms(call)
    if wanted in ("", "node"):
        found += [{"type": "node", "id": f"node/{row['node']}", **row} for row in node_rows(call)]
    if wanted in ("", "storage"):
        found += _storages(call)
    return found


def _vms(call: Call) -> list[dict[str, Any]]:
    dc, rows = call.dc, list[dict[str, Any]]()
    for vm in dc.vms:
        if not dc.access.may(call.identity, f"/vms/{vm.vmid}", "VM.Audit"):
            continue
        row = {
            "type": "qemu",
            "id": f"qemu/{vm.vmid}",
            "vmid": vm.vmid,
            "node": vm.node,
            "status": "unknown",
            "template": 0,
        }
        # Figures come with the next broadcast; until then only existence is known.
        told = dc.broadcast.get(vm.vmid, {})
        shown = ("name", "status", "maxmem", "mem", "cpu", "maxdisk", "disk", "uptime", "tags", "lock", "template",
                 "netin", "netout", "diskread", "diskwrite")  # fmt: skip
        row |= {key: told[key] for key in shown if key in told}
        if told:
            row["maxcpu"] = told["cpus"]
        if vm.node in dc.down:
            row["status"] = "unknown"
        pool = next((name for name, doc in dc.access.pools.items() if vm.vmid in doc["vms"]), None)
        rows.append(row | ({"pool": pool} if pool else {}))
    return rows


def node_rows(call: Call) -> list[dict[str, Any]]:
    """Hosts as lists show them; one that is offline has no figures."""
    dc, rows = call.dc, list[dict[str, Any]]()
    for host in dc.hosts:
        row: dict[str, Any] = {
            "node": host.name,
            "status": "offline" if host.name in dc.down else "online",
            "level": "",
        }
        if host.name not in dc.down:
            used = sum(vm.memory for vm in dc.vms if vm.node == host.name and vm.running)
            row |= {
                "maxcpu": host.cpus, "maxmem": host.memory * MIB, "mem": (used + host_overhead(host.memory)) * MIB, "cpu": 0.02,
                "uptime": int(dc.world.clock.since(dc.booted)) + 1,
            }  # fmt: skip
        rows.append(row)
    return rows


def host_overhead(memory: int) -> int:
    """MiB that Proxmox VE itself takes of `memory` MiB."""
    return min(2048, memory // 20)


def _storages(call: Call) -> list[dict[str, Any]]:
    dc, rows = call.dc, list[dict[str, Any]]()
    for host in dc.hosts:
        for spec in dc.storages.of_host(host.name):
            if not dc.access.may_any(
                call.identity, f"/storage/{spec.name}", "Datastore.Audit", "Datastore.AllocateSpace"
            ):
                continue
            total, used = dc.storages.usage(host.name, spec.name)
            rows.append({
                "type": "storage", "id": f"storage/{host.name}/{spec.name}", "node": host.name, "storage": spec.name,
                "plugintype": spec.type, "content": ",".join(spec.content), "shared": int(spec.shared),
                "status": "available", "maxdisk": total, "disk": used,
            })  # fmt: skip
    return rows


@serves("GET", "/cluster/nextid", everybody, "vmid?:vmid")
async def nextid(call: Call) -> Any:
    if "vmid" in call.given:
        if call.vmid in call.dc.vms:
            raise bad_parameter("vmid", f"VM {call.vmid} already exists")
        return str(call.vmid)
    return str(next(n for n in range(100, 1_000_000) if n not in call.dc.vms))


@serves("GET", "/pools", everybody, "poolid?:poolid type?:{qemu|lxc|storage}>poolid")
async def pools(call: Call) -> Any:
    dc, wanted = call.dc, call.text("poolid")
    if wanted and wanted not in dc.access.pools:
        raise Refusal(f"pool '{wanted}' does not exist")
    found: list[dict[str, Any]] = []
    for name, doc in dc.access.pools.items():
        if wanted not in ("", name) or not dc.access.may_any(
            call.identity, f"/pool/{name}", "Pool.Audit", "Pool.Allocate"
        ):
            continue
        row: dict[str, Any] = {"poolid": name} | (
            {"comment": doc["comment"]} if doc.get("comment") else {}
        )
        found.append(row | ({"members": _members(call, doc["vms"])} if wanted else {}))
    return found


def _members(call: Call, vmids: list[int]) -> list[dict[str, Any]]:
    """A pool of the lab has VMs only."""
    if call.text("type", "qemu") != "qemu":
        return []
    rows = {row["vmid"]: row for row in _vms(call)}
    return [rows[vmid] for vmid in vmids if vmid in rows]


@serves("POST", "/pools", perm("/pool/{poolid}", "Pool.Allocate"), "poolid:poolid comment?:s")
async def create_pool(call: Call) -> Any:
    name = call.text("poolid")
    call.dc.check_quorum()
    if name in call.dc.access.pools:
        raise Refusal(f"create pool failed: pool '{name}' already exists")
    call.dc.access.pools[name] = {"comment": call.text("comment"), "vms": []}
    call.dc.world.oplog.append(
        "pool_create", f"pool/{name}", before=None, after={}, actor=call.actor
    )


@serves(
    "PUT", "/pools", perm("/pool/{poolid}", "Pool.Allocate"),
    "poolid:poolid comment?:s vms?:vmid-list storage?:storage-list delete?:b allow-move?:b",
    lacks=("storage",),
)  # fmt: skip
async def update_pool(call: Call) -> Any:
    access, name = call.dc.access, call.text("poolid")
    doc = access.pools.get(name)
    if doc is None:
        raise Refusal(f"update pools failed: pool '{name}' does not exist")
    given = [int(v) for v in call.text("vms").replace(";", ",").split(",") if v]
    for vmid in given:
        if not access.may(call.identity, f"/vms/{vmid}", "VM.Allocate"):
            raise forbidden(f"/vms/{vmid}, VM.Allocate")
    if not call.flag("delete"):
        _leave_others(call, given)
    members = [v for v in doc["vms"] if v not in given]
    members += [] if call.flag("delete") else given
    access.pools[name] = {"comment": call.text("comment", doc["comment"]), "vms": members}
    call.dc.world.oplog.append(
        "pool_update", f"pool/{name}", before=doc["vms"], after=members, actor=call.actor
    )


def _leave_others(call: Call, vmids: list[int]) -> None:
    """A VM is in one pool only."""
    pools, name = call.dc.access.pools, call.text("poolid")
    others = {
        pool: doc for pool, doc in pools.items() if pool != name and set(doc["vms"]) & set(vmids)
    }
    for pool, doc in others.items():
        if not call.flag("allow-move"):
            taken = next(vmid for vmid in vmids if vmid in doc["vms"])
            raise Refusal(
                f"update pools failed: VM {taken} belongs already to pool '{pool}' and 'allow-move' is not set"
            )
        pools[pool] = {**doc, "vms": [vmid for vmid in doc["vms"] if vmid not in vmids]}


@serves("DELETE", "/pools", both(perm("/pool/{poolid}", "Pool.Allocate")), "poolid:poolid")
async def delete_pool(call: Call) -> Any:
    name = call.text("poolid")
    doc = call.dc.access.pools.get(name)
    if doc is None:
        raise Refusal(f"delete pool failed: pool '{name}' does not exist")
    if doc["vms"]:
        raise Refusal(
            f"delete pool failed: pool '{name}' is not empty (contains VMs {', '.join(map(str, doc['vms']))})"
        )
    del call.dc.access.pools[name]
    call.dc.world.oplog.append(
        "pool_delete", f"pool/{name}", before={}, after=None, actor=call.actor
    )
