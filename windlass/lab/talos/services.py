"""The services of a machine: their states, the last events of each, their health."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from windlass.lab.clock import Clock
from windlass.lab.talos.events import Events
from windlass.protos.talosapi import machine_pb2 as pb

KEPT = 64
WORKER = (
    "apid",
    "auditd",
    "containerd",
    "cri",
    "dashboard",
    "kubelet",
    "machined",
    "syslogd",
    "udevd",
)
CONTROL_PLANE = tuple(sorted((*WORKER, "etcd", "trustd")))
# What must be up before the boot sequence is over.
REQUIRED = ("apid", "machined", "kubelet")
REQUIRED_ON_CONTROL_PLANE = (*REQUIRED, "etcd", "trustd")
UNCHECKED = ("dashboard",)


@dataclass
class Service:
    """`healthy` None: no health check has run yet, or there is none."""

    name: str
    state: str = "Initialized"
    events: deque[pb.ServiceEvent] = field(
        default_factory=lambda: deque[pb.ServiceEvent](maxlen=KEPT)
    )
    healthy: bool | None = None
    message: str = ""
    changed: float = 0

    @property
    def is_ok(self) -> bool:
        """Running, and no health check says otherwise."""
        return self.state == "Running" and self.healthy is not False

    def health(self) -> pb.ServiceHealth:
        return pb.ServiceHealth(
            unknown=self.healthy is None,
            healthy=bool(self.healthy),
            last_message=self.message,
            last_change=stamp(self.changed),
        )

    def info(self) -> pb.ServiceInfo:
        return pb.ServiceInfo(
            id=self.name,
            state=self.state,
            events=pb.ServiceEvents(events=self.events),
            health=self.health(),
        )


def stamp(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


class Services:
    """All services of one boot."""

    def __init__(
        self, names: tuple[str, ...], clock: Clock, events: Events, changed: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._events = events
        self._changed = changed
        self._all = {name: Service(name) for name in names}

    def __iter__(self):  # noqa: ANN204 - the list's own iterator
        return iter(list(self._all.values()))

    def __contains__(self, name: str) -> bool:
        return name in self._all

    def __getitem__(self, name: str) -> Service:
        return self._all[name]

    def add(self, name: str) -> None:
        self._all.setdefault(name, Service(name))

    def set(self, name: str, state: str, message: str) -> None:
        """The service enters `state`; a state with a new message is an event too."""
        service = self._all[name]
        service.state = state
        now = self._clock.time()
        service.events.append(pb.ServiceEvent(msg=message, state=state, ts=stamp(now)))
        if state != "Running":
            service.healthy, service.message, service.changed = None, "", now
        self._publish(service, state, message)

    def check(self, name: str, *, healthy: bool, message: str = "") -> None:
        """The health check of a service ran."""
        service = self._all[name]
        if service.healthy is healthy:
            return
        service.healthy, service.message, service.changed = healthy, message, self._clock.time()
        text = "Health check successful" if healthy else f"Health check failed: {message}"
        service.events.append(
            pb.ServiceEvent(msg=text, state=service.state, ts=stamp(service.changed))
        )
        self._publish(service, service.state, text)

    def start(self, name: str, how: str) -> None:
        """Everything a service says when it comes up without trouble."""
        self.set(name, "Starting", "Starting service")
        self.set(name, "Preparing", "Running pre state")
        self.set(name, "Preparing", "Creating service runner")
        self.set(name, "Running", how)
        if name not in UNCHECKED:
            self.check(name, healthy=True)

    def stop_all(self) -> None:
        for service in self:
            if (
                service.state in {"Running", "Preparing", "Waiting", "Starting"}
                and service.name != "machined"
            ):
                self.set(service.name, "Finished", "Service finished successfully")

    def _publish(self, service: Service, state: str, message: str) -> None:
        self._events.publish(
            pb.ServiceStateEvent(
                service=service.name,
                action=state.upper(),
                message=message,
                health=service.health(),
            )
        )
        self._changed()
