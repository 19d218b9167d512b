"""Tasks: lists, status, log, interruption; and who may see them."""

from typing import Any

from windlass.lab.proxmox.access import Identity
from windlass.lab.proxmox.checks import everybody
from windlass.lab.proxmox.refusals import forbidden
from windlass.lab.proxmox.routing import Call, serves
from windlass.lab.proxmox.tasks import status_of
from windlass.lab.store import Document

TASKS = "/nodes/{node}/tasks"


@serves("GET", "/cluster/tasks", everybody)
async def cluster_tasks(call: Call) -> Any:
    found = [
        doc for doc in call.dc.tasks.known() if doc["node"] not in call.dc.down and _sees(call, doc)
    ]
    return [_row(doc, "status") | {"saved": str(int("exitstatus" in doc))} for doc in found[:25]]


@serves(
    "GET", TASKS, everybody,
    "errors?:b limit?:i(0..) since?:i source?:{archive|active|all} start?:i(0..) statusfilter?:s typefilter?:s until?:i"
    " userfilter?:s vmid?:vmid",
)  # fmt: skip
async def node_tasks(call: Call) -> Any:
    found = [
        doc
        for doc in call.dc.tasks.known()
        if doc["node"] == call.node and _sees(call, doc) and _wanted(call, doc)
    ]
    call.extra["total"] = len(found)
    start = call.number("start")
    return [_row(doc, "status") for doc in found[start : start + call.number("limit", 50)]]


def _wanted(call: Call, doc: Document) -> bool:
    source, kinds = (
        call.text("source", "archive"),
        [k for k in call.text("statusfilter").split(",") if k],
    )
    ended = "exitstatus" in doc
    return all((
        source == "all" or ended == (source == "archive"),
        "vmid" not in call.given or doc["id"] == str(call.vmid),
        call.text("typefilter") in ("", doc["type"]),
        call.text("userfilter") in Identity(doc["user"], doc["tokenid"]).name,
        doc["starttime"] >= call.number("since"),
        "until" not in call.given or doc["starttime"] <= call.number("until"),
        not call.flag("errors") or (ended and doc["exitstatus"] != "OK"),
        not kinds or _kind(doc) in kinds,
    ))  # fmt: skip


def _kind(doc: Document) -> str:
    status = doc.get("exitstatus")
    if status in (None, "unexpected status"):
        return "unknown"
    if status == "OK":
        return "ok"
    return "warning" if status.startswith("WARNINGS: ") else "error"


def _row(doc: Document, status: str) -> dict[str, Any]:
    keys = ("upid", "node", "pid", "pstart", "starttime", "type", "id", "user")
    row = {key: doc[key] for key in keys} | ({"tokenid": doc["tokenid"]} if doc["tokenid"] else {})
    if "exitstatus" in doc:
        return row | {status: doc["exitstatus"], "endtime": doc["endtime"]}
    return row | {status: "RUNNING"}


def _sees(call: Call, doc: Document) -> bool:
    """A token sees its own tasks, a user also those of the own tokens; Sys.Audit sees all."""
    mine = doc["user"] == call.identity.user and call.identity.token in (None, doc["tokenid"])
    return mine or call.dc.access.may(call.identity, f"/nodes/{doc['node']}", "Sys.Audit")


def _found(call: Call) -> Document:
    doc = call.dc.tasks.find(call.node, call.text("upid"))
    if not _sees(call, doc):
        raise forbidden(f"/nodes/{call.node}, Sys.Audit")
    return doc


@serves("GET", f"{TASKS}/{{upid}}/status", everybody)
async def task_status(call: Call) -> Any:
    return status_of(_found(call))


@serves(
    "GET",
    f"{TASKS}/{{upid}}/log",
    everybody,
    "start?:i(0..) limit?:i(0..) download?:b",
    lacks=("download",),
)
async def task_log(call: Call) -> Any:
    lines = _found(call)["log"] or ["no content"]
    call.extra["total"] = len(lines)
    start, limit = call.number("start"), call.number("limit", 50)
    chosen = list(enumerate(lines, start=1))[start:]
    return [{"n": n, "t": line} for n, line in (chosen[:limit] if limit else chosen)]


@serves("DELETE", f"{TASKS}/{{upid}}", everybody)
async def stop_task(call: Call) -> Any:
    doc = call.dc.tasks.find(call.node, call.text("upid"))
    mine = doc["user"] == call.identity.user and call.identity.token in (None, doc["tokenid"])
    if not mine and not call.dc.access.may(call.identity, f"/nodes/{call.node}", "Sys.Modify"):
        raise forbidden(f"/nodes/{call.node}, Sys.Modify")
    call.dc.tasks.interrupt(call.text("upid"))
    call.dc.world.oplog.append("task_stop", doc["upid"], before=None, after=None, actor=call.actor)
