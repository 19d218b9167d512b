"""Where a pod can go for the sake of other pods: ports, affinity between pods, and spreading."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from windlass.lab.controllers.objects import (
    Object,
    dig,
    is_going,
    items,
    labels_of,
    quantity,
    requests_of,
    selects,
    selects_node,
    table,
)

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_SPREAD = "node(s) didn't match pod topology spread constraints"


@dataclass
class Candidate:
    """One node with what is on it: pods bound there, and CSI volumes by driver."""

    node: Object
    pods: list[Object] = field(default_factory=list[Object])
    volume_limits: dict[str, int] = field(default_factory=dict[str, int])
    volumes: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    @property
    def name(self) -> str:
        return self.node["metadata"]["name"]

    def free(self, resource: str) -> float:
        has = quantity(table(self.node, "status", "allocatable").get(resource, 0))
        return has - sum(requests_of(pod).get(resource, 0.0) for pod in self.pods)


@dataclass(frozen=True)
class Surroundings:
    """All nodes, and the labels of every namespace."""

    candidates: Sequence[Candidate]
    namespaces: Mapping[str, Mapping[str, str]]

    def within(self, key: str, value: str | None) -> Iterator[Candidate]:
        """The nodes of one topology domain; none without a value."""
        if value is not None:
            yield from (one for one in self.candidates if labels_of(one.node).get(key) == value)


def is_about_others(pod: Object) -> bool:
    """Other pods that come or go may change where this one can be."""
    return bool(_terms(pod, "podAffinity") or _spreads(pod)) or any(_ports(pod))


def matches_affinity(pod: Object, node: Object) -> bool:
    """Whether nodeSelector and the required node affinity allow this node."""
    labels = labels_of(node)
    if any(labels.get(k) != v for k, v in table(pod, "spec", "nodeSelector").items()):
        return False
    required = dig(pod, "spec", "affinity", "nodeAffinity", _REQUIRED)
    return required is None or any(
        selects_node(term, node) for term in items(required, "nodeSelectorTerms")
    )


def not_evaluated(pod: Object) -> str:
    """What of the pod's wishes the lab does not understand; "" when it understands all."""
    for kind in ("podAffinity", "podAntiAffinity"):
        for term in _terms(pod, kind):
            for name in ("matchLabelKeys", "mismatchLabelKeys"):
                if term.get(name):
                    return f"{kind}'s {name}"
    for one in _spreads(pod):
        asked = {
            "matchLabelKeys": bool(one.get("matchLabelKeys")),
            "minDomains": one.get("minDomains", 1) > 1,
            "nodeAffinityPolicy": one.get("nodeAffinityPolicy", "Honor") != "Honor",
            "nodeTaintsPolicy": one.get("nodeTaintsPolicy", "Ignore") != "Ignore",
        }
        found = next((name for name, is_asked in asked.items() if is_asked), None)
        if found is not None:
            return f"topologySpreadConstraints' {found}"
    return ""


def ports_refuse(pod: Object, candidate: Candidate) -> str:
    """Why the node's own ports keep the pod away; "" if they do not."""
    taken = [port for other in candidate.pods for port in _ports(other)]
    for address, protocol, number in _ports(pod):
        for other, its_protocol, its_number in taken:
            same_address = address == other or "0.0.0.0" in (address, other)
            if same_address and (protocol, number) == (its_protocol, its_number):
                return "node(s) didn't have free ports for the requested pod ports"
    return ""


def _ports(pod: Object) -> Iterator[tuple[str, str, int]]:
    containers = [*items(pod, "spec", "containers"), *items(pod, "spec", "initContainers")]
    for container in containers:
        for port in items(container, "ports"):
            if port.get("hostPort"):
                address = port.get("hostIP") or "0.0.0.0"
                yield address, port.get("protocol", "TCP"), port["hostPort"]


def others_refuse(pod: Object, candidate: Candidate, around: Surroundings) -> str:
    """Why pods on this node or near it keep the pod away; "" if they do not."""
    return (
        _spread_refuses(pod, candidate, around)
        or _affinity_refuses(pod, candidate, around)
        or _anti_affinity_refuses(pod, candidate, around)
        or _others_anti_affinity_refuses(pod, candidate, around)
    )


# Affinity between pods


def _terms(pod: Object, kind: str) -> list[Object]:
    return items(pod, "spec", "affinity", kind, _REQUIRED)


def _is_meant(term: Object, owner: Object, other: Object, around: Surroundings) -> bool:
    """Whether a term of `owner` is about `other`."""
    named, selector = items(term, "namespaces"), term.get("namespaceSelector")
    where = other["metadata"]["namespace"]
    if not named and selector is None:
        named = [owner["metadata"]["namespace"]]
    there = where in named or selects(selector, around.namespaces.get(where, {}))
    return there and selects(term.get("labelSelector"), labels_of(other))


def _affinity_refuses(pod: Object, candidate: Candidate, around: Surroundings) -> str:
    terms = _terms(pod, "podAffinity")
    if not terms:
        return ""
    refused = "node(s) didn't match pod affinity rules"
    labels = labels_of(candidate.node)
    if any(term["topologyKey"] not in labels for term in terms):
        return refused

    def is_wanted(other: Object) -> bool:
        return all(_is_meant(term, pod, other, around) for term in terms)

    def is_near(term: Object) -> bool:
        key = term["topologyKey"]
        near = around.within(key, labels.get(key))
        return any(is_wanted(other) for one in near for other in one.pods)

    if all(is_near(term) for term in terms):
        return ""
    # The first of a group that wants to be together has nobody to join.
    alone = not any(is_wanted(other) for one in around.candidates for other in one.pods)
    return "" if alone and is_wanted(pod) else refused


def _anti_affinity_refuses(pod: Object, candidate: Candidate, around: Surroundings) -> str:
    labels = labels_of(candidate.node)
    for term in _terms(pod, "podAntiAffinity"):
        key = term["topologyKey"]
        for one in around.within(key, labels.get(key)):
            if any(_is_meant(term, pod, other, around) for other in one.pods):
                return "node(s) didn't match pod anti-affinity rules"
    return ""


def _others_anti_affinity_refuses(pod: Object, candidate: Candidate, around: Surroundings) -> str:
    labels = labels_of(candidate.node)
    for one in around.candidates:
        for other in one.pods:
            for term in _terms(other, "podAntiAffinity"):
                key = term["topologyKey"]
                here = labels.get(key)
                near = here is not None and labels_of(one.node).get(key) == here
                if near and _is_meant(term, other, pod, around):
                    return "node(s) didn't satisfy existing pods anti-affinity rules"
    return ""


# Spreading


def _spreads(pod: Object) -> list[Object]:
    """The constraints that must hold; the others are wishes."""
    return [
        one
        for one in items(pod, "spec", "topologySpreadConstraints")
        if one.get("whenUnsatisfiable") == "DoNotSchedule"
    ]


def _spread_refuses(pod: Object, candidate: Candidate, around: Surroundings) -> str:
    constraints = _spreads(pod)
    labels = labels_of(candidate.node)
    keys = [one["topologyKey"] for one in constraints]
    if any(key not in labels for key in keys):
        return f"{_SPREAD} (missing required label)"
    counted = [
        one
        for one in around.candidates
        if matches_affinity(pod, one.node) and all(key in labels_of(one.node) for key in keys)
    ]
    for one in constraints:
        key, selector = one["topologyKey"], one.get("labelSelector")
        counts = _counts(pod, key, selector, counted)
        more = int(selects(selector, labels_of(pod)))
        skew = counts.get(labels[key], 0) + more - min(counts.values(), default=0)
        if skew > one["maxSkew"]:
            return _SPREAD
    return ""


def _counts(
    pod: Object, key: str, selector: Object | None, candidates: Iterable[Candidate]
) -> dict[str, int]:
    """How many pods of the same namespace the selector finds in each topology domain."""
    namespace = pod["metadata"]["namespace"]
    counts: dict[str, int] = {}
    for one in candidates:
        domain = labels_of(one.node)[key]
        counts[domain] = counts.get(domain, 0) + sum(
            other["metadata"]["namespace"] == namespace
            and not is_going(other)
            and selects(selector, labels_of(other))
            for other in one.pods
        )
    return counts
