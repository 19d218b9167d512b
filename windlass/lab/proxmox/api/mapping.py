"""PCI devices of hosts, and the mappings that give them a name in the whole cluster."""

from typing import Any

from windlass.lab.proxmox.checks import either, everybody, perm, perm_any
from windlass.lab.proxmox.hosts import devices
from windlass.lab.proxmox.parameters import Parameter, PropertyString, table
from windlass.lab.proxmox.refusals import Refusal
from windlass.lab.proxmox.routing import Call, serves

MAPPING = "/cluster/mapping/pci"
_READ = either(
    *(perm("/mapping/pci/{id}", f"Mapping.{what}") for what in ("Use", "Modify", "Audit"))
)


_MAP = PropertyString(
    table(
        "node:node path:pci-path id:pci-id iommugroup?:i subsystem-id?:pci-id description?:s(4096)"
    )
)
_NEW = table("id:config-id description?:s(4096) live-migration-capable?:b mdev?:b") | {
    "map": Parameter("array", optional=False, shape=_MAP)
}
# The class of every device there is.
_GPU = "0x030000"


@serves(
    "GET",
    "/nodes/{node}/hardware/pci",
    perm_any("/", "Sys.Audit", "Sys.Modify"),
    "pci-class-blacklist?:s verbose?:b",
)
async def hardware(call: Call) -> Any:
    unwanted = [f"0x{one}" for one in call.text("pci-class-blacklist").split(",") if one]
    if _GPU.startswith(tuple(unwanted)):
        return []
    found = devices(call.dc.host(call.node)).values()
    if not call.flag("verbose", default=True):
        return [{"id": device.path} for device in found]
    return [
        {
            "id": device.path, "class": _GPU, "vendor": device.vendor, "device": device.device,
            "iommugroup": device.iommu_group, "vendor_name": "NVIDIA Corporation", "device_name": device.name,
        }
        for device in found
    ]  # fmt: skip


@serves("GET", MAPPING, everybody, "check-node?:node")
async def mappings(call: Call) -> Any:
    dc, node = call.dc, call.text("check-node")
    found: list[dict[str, Any]] = []
    for name, doc in dc.mappings.items():
        if not dc.access.may_any(
            call.identity, f"/mapping/pci/{name}", "Mapping.Use", "Mapping.Modify", "Mapping.Audit"
        ):
            continue
        row = {"id": name, "map": doc["map"], "description": doc["description"]}
        found.append(row | ({"checks": _checks(call, doc, node)} if node else {}))
    return found


def _checks(call: Call, doc: dict[str, Any], node: str) -> list[dict[str, str]]:
    here = [entry for entry in doc["map"] if f"node={node}" in entry.split(",")]
    if not here:
        return [{"severity": "warning", "message": f"No mapping for node {node}."}]
    problems = [problem for entry in here if (problem := _wrong(call, entry))]
    return [
        {"severity": "error", "message": f"Invalid configuration: {problem}"}
        for problem in problems
    ]


def _wrong(call: Call, entry: str) -> str | None:
    parts = dict(part.split("=", 1) for part in entry.split(",") if "=" in part)
    host = call.dc.host(parts.get("node", ""))
    device = next((d for d in devices(host).values() if d.path == parts.get("path")), None)
    if device is None:
        return f"pci device '{parts.get('path')}' not found"
    group = parts.get("iommugroup", str(device.iommu_group))
    if group != str(device.iommu_group):
        return f"'iommugroup' does not match for '{parts.get('path')}' ({group} != {device.iommu_group})"
    return None


@serves("GET", f"{MAPPING}/{{id}}", _READ)
async def mapping(call: Call) -> Any:
    doc = call.dc.mappings.get(call.text("id"))
    if doc is None:
        raise Refusal(f"PCI mapping '{call.text('id')}' not found")
    return doc


@serves(
    "POST",
    MAPPING,
    perm("/mapping/pci", "Mapping.Modify"),
    _NEW,
    lacks=("live-migration-capable", "mdev"),
)
async def create(call: Call) -> Any:
    name = call.text("id")
    if name in call.dc.mappings:
        raise Refusal(f"pci ID '{name}' already defined")
    for entry in call.given["map"]:
        if wrong := _wrong(call, entry):
            raise Refusal(wrong)
    call.dc.mappings[name] = {
        "id": name,
        "map": call.given["map"],
        "description": call.text("description"),
    }
    call.dc.world.oplog.append(
        "mapping_create", f"mapping/{name}", before=None, after=call.given["map"], actor=call.actor
    )


@serves("DELETE", f"{MAPPING}/{{id}}", perm("/mapping/pci", "Mapping.Modify"))
async def delete(call: Call) -> Any:
    gone = call.dc.mappings.pop(call.text("id"), None)
    if gone is not None:
        call.dc.world.oplog.append(
            "mapping_delete",
            f"mapping/{call.text('id')}",
            before=gone["map"],
            after=None,
            actor=call.actor,
        )
