"""I23 and I24 as far as the journal alone tells: an unbroken chain that contains everything it was said to contain."""

from collections.abc import Iterator

from windlass.lab.observer.evidence import GENESIS, Evidence, Violation


def chain(evidence: Evidence) -> Iterator[Violation]:
    """Each record is what was written and continues the one before."""
    previous, expected = GENESIS, 1
    for record in evidence.records:
        if record.seq != expected:
            yield Violation("I23", record.where, f"record {expected} is missing before it")
        if record.previous != previous:
            yield Violation("I23", record.where, "it does not continue the record before it")
        if record.hash != record.true_hash:
            yield Violation("I23", record.where, "its hash is not that of what it says")
        previous, expected = record.hash, record.seq + 1


def prefix(evidence: Evidence) -> Iterator[Violation]:
    """Nothing that was acknowledged is gone: the end of the chain, records others were told of, epochs they carry."""
    last = evidence.records[-1] if evidence.records else None
    head = evidence.head
    if (last is None) != (head is None) or (
        last is not None and head is not None and (last.seq, last.hash) != (head.seq, head.hash)
    ):
        ends = f"record {last.seq}" if last else "nothing"
        said = f"record {head.seq}" if head else "nothing"
        yield Violation("I24", "the end", f"the chain ends with {ends}, {said} was acknowledged")
    hashes = {record.seq: record.hash for record in evidence.records}
    for told in evidence.acknowledged:
        if told.seq not in hashes:
            yield Violation("I24", f"record {told.seq}", "it was acknowledged and is gone")
        elif hashes[told.seq] != told.hash:
            yield Violation("I24", f"record {told.seq}", "another one was acknowledged")
    yield from _epochs(evidence)


def _epochs(evidence: Evidence) -> Iterator[Violation]:
    """An effect carries an epoch that was durable before it: the journal must still have it."""
    durable = {(r.operation, r.body["epoch"]) for r in evidence.of_kind("lock")}
    known = {epoch for _, epoch in durable}
    gone: set[tuple[str, int | None]] = set()
    for event in evidence.by_windlass:
        if event.epoch not in known and (event.run, event.epoch) not in gone:
            gone.add((event.run, event.epoch))
            why = f"epoch {event.epoch} of operation {event.run} was in force and is not in the journal"
            yield Violation("I24", event.where, why)
