"""I1, I2 and I5: etcd's members as the oplog tells them, and what was done to the machines they run on."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from windlass.lab.observer.evidence import Event, Evidence, Violation

# What takes a machine's etcd away for a while or for good. An asked reboot counts from the moment it was asked for.
DISRUPTS = frozenset({
    "reboot", "shutdown", "reset", "reboot_asked", "shutdown_asked", "reset_asked", "upgrade", "vm_stop", "vm_shutdown",
    "vm_reset", "vm_reboot", "vm_destroy", "vm_rollback", "etcd_leave", "etcd_remove",
})  # fmt: skip
# After these a machine's etcd does not run until it says that it is healthy again.
STOPS = DISRUPTS - {"reboot_asked", "shutdown_asked", "reset_asked"} | {"boot", "vm_stopped"}
GONE = frozenset({"etcd_leave", "etcd_remove", "reset", "vm_destroy"})


def quorum(voters: int) -> int:
    return voters // 2 + 1


@dataclass
class Member:
    """One member of etcd, on the machine that it is called after."""

    id: str
    voter: bool
    healthy: bool = False


@dataclass
class Etcd:
    """The members of a site's etcd as they change, and which of them an operation has disrupted and not seen back."""

    members: dict[str, Member] = field(default_factory=dict[str, Member])
    disrupted: dict[str, Event] = field(default_factory=dict[str, Event])
    # Asked for and not carried out yet: (machine, verb).
    asked: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    @property
    def voters(self) -> list[str]:
        return sorted(machine for machine, member in self.members.items() if member.voter)

    @property
    def healthy(self) -> list[str]:
        return [machine for machine in self.voters if self.members[machine].healthy]

    def is_carried_out(self, machine: str, event: Event) -> bool:
        """Whether the effect is what was asked for before, and judged then; a graceful reset leaves etcd first."""
        asked = "reset" if event.verb == "etcd_leave" else event.verb
        return (machine, asked) in self.asked

    def take(self, machine: str, event: Event) -> None:
        """The world after the event."""
        self._join(machine, event)
        if event.verb == "etcd_healthy" and machine in self.members:
            self.members[machine].healthy = True
            self._back(machine)
        if event.verb in STOPS and machine in self.members:
            self.members[machine].healthy = False
        if event.verb in DISRUPTS and event.by_windlass:
            self.disrupted.setdefault(machine, event)
        if event.verb.endswith("_asked"):
            self.asked.add((machine, event.verb.removesuffix("_asked")))
        self.asked.discard((machine, event.verb))
        if event.verb in GONE:
            # A member that is gone for good is not down: it no longer counts.
            self.members.pop(machine, None)
            self._back(machine)

    def _join(self, machine: str, event: Event) -> None:
        if event.verb == "bootstrap":
            self.members[machine] = Member(str(event.say("member")), voter=True)
        elif event.verb == "etcd_join":
            self.members[machine] = Member(str(event.after), voter=False)
        elif event.verb == "etcd_promote" and machine in self.members:
            self.members[machine].voter = True

    def _back(self, machine: str) -> None:
        """A machine that was asked to go down again meanwhile is not back."""
        if not any(name == machine for name, _ in self.asked):
            self.disrupted.pop(machine, None)


def control_planes(evidence: Evidence) -> Iterator[Violation]:
    """I1: no disruption starts that can lose the quorum. I2: at most one control plane is disrupted at a time."""
    etcd = Etcd()
    for event in evidence.events:
        machine = evidence.machine(event)
        if (
            event.verb in DISRUPTS and event.by_windlass and machine in etcd.members
            and not etcd.is_carried_out(machine, event)
        ):  # fmt: skip
            yield from _quorum(evidence, etcd, machine, event)
            yield from _one_at_a_time(etcd, machine, event)
        etcd.take(machine, event)
    evidence.notes.extend(_differs(evidence, etcd))


def _quorum(evidence: Evidence, etcd: Etcd, machine: str, event: Event) -> Iterator[Violation]:
    operation = evidence.operations.get(event.run)
    if operation is not None and (
        operation.verb == "restore"
        or (len(etcd.voters) == 1 and operation.request.get("single_control_plane") is True)
    ):
        return
    left = [name for name in etcd.healthy if name != machine]
    needed = quorum(len(etcd.voters))
    if len(left) < needed:
        why = f"without {machine} {len(left)} healthy voters are left ({', '.join(left)}), {needed} are needed"
        yield Violation("I1", event.where, why)


def _one_at_a_time(etcd: Etcd, machine: str, event: Event) -> Iterator[Violation]:
    for other, first in etcd.disrupted.items():
        if other != machine and other in etcd.members:
            yield Violation("I2", event.where, f"{other} is still down since {first.where}")


def _differs(evidence: Evidence, etcd: Etcd) -> Iterator[str]:
    """What the lab says about its members must be what the oplog says: I1 and I2 are judged by it."""
    if evidence.truth is None:
        return
    clusters = evidence.truth["talos"]["etcd"]
    voters = sorted(m["name"] for one in clusters for m in one["members"] if m["voter"])
    if voters != etcd.voters:
        yield f"I1, I2: etcd's voters are {voters}, by the oplog they are {etcd.voters}"


def bootstrapped(evidence: Evidence) -> Iterator[Violation]:
    """I5: etcd is bootstrapped at most once for a cluster."""
    first: dict[str, Event] = {}
    for event in evidence.events:
        if event.verb != "bootstrap":
            continue
        cluster = str(event.say("cluster"))
        if cluster in first:
            why = f"cluster {cluster} was bootstrapped before, at {first[cluster].where}"
            yield Violation("I5", event.where, why)
        first.setdefault(cluster, event)
    clusters: list[str] = []
    for one in evidence.truth["talos"]["etcd"] if evidence.truth else ():
        if one["group"] in clusters:
            yield Violation("I5", "the world", f"cluster {one['group']} has more than one etcd")
        clusters.append(one["group"])
