"""Power: status, start, stop, shutdown, reset, reboot. Each takes the VM's lock file for as long as it works."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from windlass.lab.proxmox.api.qemu import VM
from windlass.lab.proxmox.checks import vm
from windlass.lab.proxmox.datacenter import Datacenter
from windlass.lab.proxmox.options import OPTIONS
from windlass.lab.proxmox.parameters import table
from windlass.lab.proxmox.refusals import Refusal
from windlass.lab.proxmox.routing import Call, serves
from windlass.lab.proxmox.settings import check_skiplock
from windlass.lab.proxmox.tasks import Say
from windlass.lab.proxmox.vms import Vm

STATUS = f"{VM}/status"
# How long Proxmox VE waits for a guest to obey its power button.
SHUTDOWN_S = 60
_MIGRATED = table(
    "migratedfrom?:node migration_network?:s migration_type?:{secure|insecure} nets-host-mtu?:mtus stateuri?:s(128)"
    " targetstorage?:s with-conntrack-state?:b force-cpu?:s"
) | {"machine": OPTIONS["machine"]}
_START = _MIGRATED | table("skiplock?:b timeout?:i(0..)")
_START_LACKS = tuple(_MIGRATED)


@serves("GET", STATUS, vm("VM.Audit"))
async def index(_call: Call) -> Any:
    return [
        {"subdir": name} for name in ("current", "start", "stop", "reset", "shutdown", "reboot")
    ]


@serves("GET", f"{STATUS}/current", vm("VM.Audit"))
async def current(call: Call) -> Any:
    found = call.dc.vms.get(call.node, call.vmid)
    shown = call.dc.status(found) | {"ha": {"managed": 0}}
    broken = call.dc.world.faults.fires("pve-io-error", vmid=call.vmid) if found.running else None
    shown["qmpstatus"] = "io-error" if broken else shown["status"]
    if found.config.get("agent", "").removeprefix("enabled=").startswith("1"):
        shown["agent"] = 1
    if found.running:
        shown |= {"running-machine": "pc-i440fx-10.1+pve0", "running-qemu": "10.1.2"}
    return shown


def _spawn(call: Call, kind: str, act: Callable[[Vm], Awaitable[None]], verb: str) -> str:
    """A task that holds the lock file and acts on a VM whose configuration is not locked."""
    dc = call.dc
    check_skiplock(call)
    dc.vms.get(call.node, call.vmid)

    async def work(_say: Say) -> None:
        async with dc.vms.flock(call.vmid):
            found = dc.vms.get(call.node, call.vmid)
            dc.vms.check_lock(found, skip=call.flag("skiplock"))
            before = _power(found)
            await act(found)
            after = _power(dc.vms.get(call.node, call.vmid))
        dc.world.oplog.append(verb, f"vm/{call.vmid}", before=before, after=after, actor=call.actor)

    return dc.tasks.spawn(call.node, kind, str(call.vmid), call.identity, work)


def _power(found: Vm) -> str:
    return "running" if found.running else "stopped"


@serves(
    "POST", f"{STATUS}/start", vm("VM.PowerMgmt"),
    _START, lacks=_START_LACKS,
)  # fmt: skip
async def start(call: Call) -> Any:
    call.dc.check_quorum()

    async def act(found: Vm) -> None:
        if found.running:
            raise Refusal(f"VM {found.vmid} already running")
        await call.dc.power_on(found)

    return _spawn(call, "qmstart", act, "vm_start")


@serves(
    "POST", f"{STATUS}/stop", vm("VM.PowerMgmt"),
    "keepActive?:b migratedfrom?:node overrule-shutdown?:b skiplock?:b timeout?:i(0..)",
    lacks=("keepActive", "migratedfrom"),
)  # fmt: skip
async def stop(call: Call) -> Any:
    if call.flag("overrule-shutdown"):
        for doc in call.dc.tasks.known():
            if (
                doc["type"] == "qmshutdown"
                and doc["id"] == str(call.vmid)
                and "exitstatus" not in doc
            ):
                call.dc.tasks.interrupt(doc["upid"])

    async def act(found: Vm) -> None:
        if found.running:
            await call.dc.power_off(found)

    return _spawn(call, "qmstop", act, "vm_stop")


@serves(
    "POST",
    f"{STATUS}/shutdown",
    vm("VM.PowerMgmt"),
    "forceStop?:b keepActive?:b skiplock?:b timeout?:i(0..)",
    lacks=("keepActive",),
)
async def shutdown(call: Call) -> Any:
    if call.dc.vms.get(call.node, call.vmid).paused:
        raise Refusal("VM is paused - cannot shutdown")

    async def act(found: Vm) -> None:
        if found.running:
            await _shut_down(
                call.dc, found, call.number("timeout", SHUTDOWN_S), force=call.flag("forceStop")
            )

    return _spawn(call, "qmshutdown", act, "vm_shutdown")


async def _shut_down(dc: Datacenter, found: Vm, patience: int, *, force: bool) -> None:
    """Press the power button and wait; the guest reports by itself when it is down."""
    down = dc.gone_down.setdefault(found.vmid, asyncio.Event())
    down.clear()
    await dc.guests.shutdown(found.vmid)
    try:
        await asyncio.wait_for(down.wait(), max(dc.world.clock.real(patience), 0.05))
    except TimeoutError as late:
        if not force:
            raise Refusal("VM quit/powerdown failed - got timeout") from late
        await dc.power_off(dc.vms.get(found.node, found.vmid))


@serves("POST", f"{STATUS}/reboot", vm("VM.PowerMgmt"), "timeout?:i(0..)")
async def reboot(call: Call) -> Any:
    _need_running(call)

    async def act(found: Vm) -> None:
        await _shut_down(call.dc, found, call.number("timeout", SHUTDOWN_S), force=False)
        await call.dc.power_on(call.dc.vms.get(call.node, call.vmid))

    return _spawn(call, "qmreboot", act, "vm_reboot")


@serves("POST", f"{STATUS}/reset", vm("VM.PowerMgmt"), "skiplock?:b")
async def reset(call: Call) -> Any:
    _need_running(call)

    async def act(found: Vm) -> None:
        await call.dc.guests.reset(found.vmid)

    return _spawn(call, "qmreset", act, "vm_reset")


def _need_running(call: Call) -> None:
    if not call.dc.vms.get(call.node, call.vmid).running:
        raise Refusal(f"VM {call.vmid} not running")
