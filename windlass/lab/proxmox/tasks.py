"""Tasks: what Proxmox VE does in a worker of its own, told apart by UPID, with a log and an exit text."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from windlass.lab.proxmox.access import Identity
from windlass.lab.proxmox.refusals import Refusal, bad_parameter
from windlass.lab.store import Document
from windlass.lab.world import World

logger = logging.getLogger(__name__)

UPID = re.compile(
    r"UPID:(?P<node>[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?):(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9})"
    r":(?P<starttime>[0-9A-Fa-f]{8}):(?P<type>[^:\s/]+):(?P<id>[^:\s/]*):(?P<user>[^:\s/]+):"
)

# What real workers take, in seconds, on hardware that is neither new nor busy.
LATENCY_S = {
    "qmcreate": 3.0, "qmstart": 2.0, "qmstop": 1.0, "qmshutdown": 0.5, "qmreset": 0.5, "qmreboot": 0.5,
    "qmdestroy": 2.0, "qmclone": 5.0, "qmconfig": 0.5, "resize": 1.0, "qmsnapshot": 1.0, "qmdelsnapshot": 1.0,
    "qmrollback": 1.5, "qmtemplate": 1.0, "download": 2.0, "imgdel": 0.5,
}  # fmt: skip

Say = Callable[[str], None]
Work = Callable[[Say], Awaitable[None]]
# Takes back what a worker that did not come to its end has made; returns what its task ends with.
Undo = Callable[[str], Awaitable[str]]


async def _nothing_to_undo(why: str) -> str:
    return why


class Tasks:
    """All tasks of the cluster, finished ones included. A lab that died leaves `unexpected status` behind."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._section = world.store.section("proxmox.tasks")
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._interrupted: set[str] = set()
        self._number = 1000 + len(self._section)

    def recover(self) -> None:
        """Tasks that a former lab left running ended when it died."""
        for upid, doc in self._section.items():
            if doc.get("exitstatus") is None:
                self._end(upid, "unexpected status")

    async def stop(self) -> None:
        """The lab ends: what runs is cut off as by a power cut, and the next start finds it so."""
        workers = list(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    def spawn(
        self, node: str, kind: str, subject: str, identity: Identity, work: Work, undo: Undo = _nothing_to_undo
    ) -> str:  # fmt: skip
        """Start a worker; its UPID. `work` raises Refusal to end it badly.

        `undo` follows a refusal, a crash and an interruption; never the loss of power.
        """
        if self._world.faults.fires("pve-no-worker", type=kind, node=node):
            raise Refusal("got no worker upid - start worker failed")
        self._number += 1
        now = int(self._world.clock.time())
        pid, pstart = self._number, self._number * 100
        upid = f"UPID:{node}:{pid:08X}:{pstart:08X}:{now:08X}:{kind}:{subject}:{identity.name}:"
        self._section[upid] = {
            "upid": upid, "node": node, "pid": pid, "pstart": pstart, "starttime": now, "type": kind,
            "id": subject, "user": identity.user, "tokenid": identity.token, "log": [],
            "lost": self._world.faults.fires("pve-lost-upid", type=kind, vmid=subject, node=node) is not None,
        }  # fmt: skip
        worker = self._workers[upid] = asyncio.create_task(self._work(upid, work, undo), name=upid)
        worker.add_done_callback(lambda _: self._workers.pop(upid, None))
        return upid

    async def _work(self, upid: str, work: Work, undo: Undo) -> None:
        doc = self._section[upid]
        about = {"type": doc["type"], "vmid": doc["id"], "node": doc["node"]}
        try:
            await self._world.clock.sleep(LATENCY_S.get(doc["type"], 0.5))
            fault = self._world.faults.fires("pve-task-fail", **about)
            text = (
                str(fault.args.get("text", "the lab was told to fail this task")) if fault else ""
            )
            if fault and not fault.args.get("executed"):
                raise Refusal(text)
            await work(lambda line: self._say(upid, line))
        except Refusal as refusal:
            why = refusal.text
        except asyncio.CancelledError:
            if upid not in self._interrupted:
                raise
            why = "received interrupt"
        except Exception as error:  # a worker that crashes ends its own task only
            logger.exception("%s crashed", upid)
            why = f"the lab's worker crashed: {error!r}"
        else:
            warned = self._world.faults.fires("pve-task-warnings", **about) if not text else None
            self._end(
                upid, text or (f"WARNINGS: {warned.args.get('count', 1)}" if warned else "OK")
            )
            return
        self._end(upid, await self._undone(upid, why, undo))

    async def _undone(self, upid: str, why: str, undo: Undo) -> str:
        try:
            return await undo(why)
        except Exception:  # what cannot be taken back stays, and the task ends all the same
            logger.exception("taking back what %s made", upid)
            return why

    def _say(self, upid: str, line: str) -> None:
        doc = self._section[upid]
        self._section[upid] = {**doc, "log": [*doc["log"], *line.splitlines()]}

    def _end(self, upid: str, status: str) -> None:
        doc = self._section[upid]
        status = status.replace("\n", " ").strip()
        last = {"OK": "TASK OK"}.get(status, f"TASK ERROR: {status}")
        if status.startswith("WARNINGS"):
            last = f"TASK {status}"
        log = doc["log"] if status == "unexpected status" else [*doc["log"], last]
        ended = {"exitstatus": status, "endtime": int(self._world.clock.time()), "log": log}
        self._section[upid] = {**doc, **ended}

    async def unless_ended(self, upid: str, seconds: int, blame: str) -> str | None:
        """The UPID; None where the task has ended well within so many seconds.

        Raises:
            Refusal: it has ended badly by then; the text begins with `blame`.
        """
        worker = self._workers.get(upid)
        if not seconds or worker is None:
            return upid
        await asyncio.wait([worker], timeout=self._world.clock.real(seconds))
        status = self._section[upid].get("exitstatus")
        if status is None:
            return upid
        if status != "OK" and not status.startswith("WARNINGS: "):
            raise Refusal(f"{blame}{status}")
        return None

    def find(self, node: str, upid: str) -> Document:
        """The task's document.

        Raises:
            Refusal: 400, the UPID is malformed or nobody knows it on that host.
        """
        parsed = UPID.fullmatch(upid)
        if parsed is None:
            raise bad_parameter("upid", "unable to parse worker upid")
        doc = self._section.get(upid)
        if doc is None or doc["lost"] or doc["node"] != node:
            raise bad_parameter("upid", "no such task")
        return doc

    def known(self) -> list[Document]:
        """All tasks that can be listed, newest first."""
        found = [doc for doc in self._section.values() if not doc["lost"]]
        return sorted(found, key=lambda doc: (doc["starttime"], doc["pid"]), reverse=True)

    def interrupt(self, upid: str) -> None:
        """SIGTERM for the worker; nothing for a task that has ended."""
        worker = self._workers.get(upid)
        if worker is not None:
            self._interrupted.add(upid)
            # One that has not begun yet could not say how it ended.
            asyncio.get_running_loop().call_soon(worker.cancel)

    def kill_host(self, node: str) -> None:
        """The host lost power: its workers are gone without a last word."""
        for upid, worker in list(self._workers.items()):
            if self._section[upid]["node"] == node:
                self._interrupted.discard(upid)
                worker.cancel()
                self._end(upid, "unexpected status")


def status_of(doc: Document) -> dict[str, Any]:
    """What `GET …/tasks/{upid}/status` answers."""
    keys = ("upid", "node", "pid", "pstart", "starttime", "type", "id", "user")
    found = {key: doc[key] for key in keys}
    if doc["tokenid"]:
        found["tokenid"] = doc["tokenid"]
    done = doc.get("exitstatus")
    return found | ({"status": "stopped", "exitstatus": done} if done else {"status": "running"})
