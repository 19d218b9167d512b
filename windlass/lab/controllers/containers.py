"""One container of a pod: pulled, started, ready, over, started again."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from windlass.lab.clock import Clock
from windlass.lab.controllers import needs
from windlass.lab.controllers.access import Access, Client
from windlass.lab.controllers.logs import Log
from windlass.lab.controllers.objects import Object, dig, micro_timestamp, timestamp
from windlass.lab.controllers.program import Programs, Running, program_of
from windlass.lab.faults import Faults

logger = logging.getLogger(__name__)

# Lines kept of each container's log.
# Lab seconds, as the kubelet has it.
_BACKOFF_FIRST, _BACKOFF_LONGEST = 10.0, 300.0
# Lab seconds between attempts at a container whose environment lacks something, as the kubelet has it.
_TRY_AGAIN = 10.0


@dataclass(frozen=True)
class Latencies:
    """Lab seconds that a node's work takes. `job` is how long a container runs that has an end."""

    pull: float = 2.0
    start: float = 0.5
    ready: float = 1.0
    stop: float = 0.5
    job: float = 2.0


class Runtime(Protocol):
    """What a container needs of its node."""

    name: str
    access: Access
    client: Client
    clock: Clock
    programs: Programs
    faults: Faults | None
    latencies: Latencies
    images: set[str]


Report = Callable[[], Awaitable[None]]


@dataclass
class Container:
    """One container and its state as `containerStatuses` shows it. `report` publishes a change."""

    spec: Object
    pod: Object
    node: Runtime
    report: Report
    state: Object = field(default_factory=dict[str, Object])
    last_state: Object = field(default_factory=dict[str, Object])
    restarts: int = 0
    ready: bool = False
    log: Log = field(default_factory=Log)
    previous_log: Log | None = None

    @property
    def name(self) -> str:
        return self.spec["name"]

    @property
    def image(self) -> str:
        return self.spec["image"]

    @property
    def is_over(self) -> bool:
        return "terminated" in self.state

    @property
    def never_ran(self) -> bool:
        return not self.restarts and not self.is_over and "running" not in self.state

    @property
    def has_failed(self) -> bool:
        return self.is_over and self.state["terminated"]["exitCode"] != 0

    def status(self) -> Object:
        running = "running" in self.state
        digest = f"{self.image.split('@')[0]}@sha256:{_digest(self.image)}"
        identity = _digest(f"{self.pod['metadata']['uid']}/{self.name}/{self.restarts}")
        return {
            "name": self.name,
            "image": self.image,
            "imageID": digest if running or self.is_over else "",
            "containerID": f"containerd://{identity}" if running or self.is_over else "",
            "ready": self.ready,
            "started": running,
            "restartCount": self.restarts,
            "state": self.state or {"waiting": {"reason": "ContainerCreating"}},
            "lastState": self.last_state,
        }

    def adopt(self, status: Object, *, rebooted: bool) -> None:
        """Take over from the kubelet that ran before this one; a reboot has ended what ran."""
        self.restarts = status.get("restartCount", 0)
        self.state = status.get("state", {})
        self.last_state = status.get("lastState", {})
        if rebooted and "running" in self.state:
            ended = {"exitCode": 255, "reason": "Unknown", "finishedAt": self._now()}
            self.last_state = {"terminated": ended}
            self.restarts += 1
            self.state = {}
        self.ready = "running" in self.state and status.get("ready", False)

    async def run(self, policy: str) -> None:
        """Run to its end under this restart policy; for Always that is never."""
        backoff = _BACKOFF_FIRST
        while not self.is_over:
            await self._pull()
            code = await self._execute()
            if policy == "Never" or (policy == "OnFailure" and code == 0):
                return
            await self._back_off(backoff)
            backoff = min(backoff * 2, _BACKOFF_LONGEST)

    def stopped(self) -> None:
        """The pod was told to go: what ran ends with SIGTERM's code."""
        if "running" in self.state:
            self._ended(143, "Error")
        self.ready = False

    async def _pull(self) -> None:
        backoff = _BACKOFF_FIRST
        while self._fault("image-unavailable"):
            trouble = f'failed to pull and unpack image "{self.image}": not found'
            await self._wait_as("ErrImagePull", f"rpc error: code = NotFound desc = {trouble}", 1.0)
            said = f'Back-off pulling image "{self.image}": ErrImagePull: {trouble}'
            await self._wait_as("ImagePullBackOff", said, backoff)
            backoff = min(backoff * 2, _BACKOFF_LONGEST)
        if self.image not in self.node.images and not self.state:
            await self.node.clock.sleep(self.node.latencies.pull)
        self.node.images.add(self.image)

    async def _execute(self) -> int:
        if "running" not in self.state:
            await self._until_configured()
            await self.node.clock.sleep(self.node.latencies.start)
            self.state = {"running": {"startedAt": self._now()}}
        if self.log.written:
            self.previous_log, self.log = self.log, Log()
        self.say(f"starting {self.name} from {self.image}")
        work = asyncio.create_task(self._work())
        try:
            if not self.ready:
                await self.report()
                await self._become_ready(work)
            code = await work
        finally:
            work.cancel()
            await asyncio.wait([work])
        self._ended(code, "Completed" if code == 0 else "Error")
        await self.report()
        return code

    async def _until_configured(self) -> None:
        """Everything its environment is made of is there."""
        namespace = self.pod["metadata"]["namespace"]
        wanted = list(needs.of_container(self.spec, namespace))
        while missing := await needs.first_unmet(self.node.client, wanted, namespace):
            await self._wait_as("CreateContainerConfigError", missing, _TRY_AGAIN)

    async def _become_ready(self, work: "asyncio.Task[int]") -> None:
        await asyncio.wait([work], timeout=self.node.clock.real(self.node.latencies.ready))
        while not work.done() and self._fault("pod-unready"):
            await asyncio.wait([work], timeout=self.node.clock.real(5.0))
        if not work.done():
            self.ready = True
            await self.report()

    async def _work(self) -> int:
        if self._fault("pod-crash"):
            self.say("panic: told to crash")
            return 1
        program = program_of(self.spec, self.node.programs)
        if program is not None:
            place = Running(self.node.access, self.node.clock, self.node.name, self.pod, self.say)
            try:
                return await program(place)
            except Exception as error:  # a program's crash is its container's
                logger.exception("%s crashed", self.name)
                self.say(f"panic: {error!r}")
                return 1
        if self.pod["spec"].get("restartPolicy", "Always") != "Always":
            await self.node.clock.sleep(self.node.latencies.job)
            return 0
        await asyncio.Event().wait()
        return 0

    async def _back_off(self, seconds: float) -> None:
        self.last_state = self.state
        self.restarts += 1
        where = f"{self.name} pod={self.pod['metadata']['name']}"
        said = f"back-off {seconds:.0f}s restarting failed container={where}"
        await self._wait_as("CrashLoopBackOff", said, seconds)
        self.state = {}

    async def _wait_as(self, reason: str, message: str, seconds: float) -> None:
        self.state = {"waiting": {"reason": reason, "message": message}}
        await self.report()
        await self.node.clock.sleep(seconds)

    def _ended(self, code: int, reason: str) -> None:
        started = dig(self.state, "running", "startedAt", default=self._now())
        ended = {"exitCode": code, "reason": reason, "startedAt": started}
        self.state = {"terminated": {**ended, "finishedAt": self._now()}}
        self.ready = False
        self.log.has_ended = True

    def _fault(self, name: str) -> bool:
        if self.node.faults is None:
            return False
        meta = self.pod["metadata"]
        about = {
            "image": self.image,
            "node": self.node.name,
            "namespace": meta["namespace"],
            "pod": meta["name"],
            "container": self.name,
        }
        return self.node.faults.fires(name, **about) is not None

    def say(self, line: str) -> None:
        """Write a line to the container's log."""
        self.log.write(f"{micro_timestamp(self.node.clock.now())} {line}")

    def _now(self) -> str:
        return timestamp(self.node.clock.now())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
