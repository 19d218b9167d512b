"""The judge outside: what really happened, against what Windlass wrote down and what must never happen.

It shares nothing with what it judges: no plan, no engine, no action. It re-computes the journal's chain, follows etcd's
members and the site's epochs by itself, and finds for every effect the step that announced it.
"""

from windlass.lab.observer.chain import chain, prefix
from windlass.lab.observer.effects import announced, effects, frozen, in_scope, once, one_writer
from windlass.lab.observer.ends import at_rest, honest, machines
from windlass.lab.observer.etcd import bootstrapped, control_planes
from windlass.lab.observer.evidence import Evidence, Violation

INVARIANTS = ("I1", "I2", "I3", "I4", "I5", "I8", "I10", "I12", "I14", "I23", "I24", "I32")


def observe(evidence: Evidence) -> list[Violation]:
    """Everything that is violated, by invariant. What could not be judged is in the evidence's notes."""
    found = effects(evidence)
    violations = [
        *control_planes(evidence), *once(found), *machines(evidence), *bootstrapped(evidence), *at_rest(evidence),
        *one_writer(evidence, found), *in_scope(evidence, found), *frozen(evidence, found), *chain(evidence),
        *announced(found), *prefix(evidence), *honest(evidence),
    ]  # fmt: skip
    return sorted(violations, key=lambda violation: int(violation.invariant[1:]))
