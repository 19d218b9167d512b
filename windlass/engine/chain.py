"""The hash chain of the journal: what a record's hash covers, and what breaks it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

GENESIS = "0" * 64


def canonical(body: Any) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def record_hash(record: Mapping[str, Any]) -> str:
    """SHA-256 over everything a record says, the hash before it included."""
    covered = [
        record[name] for name in ("seq", "time", "kind", "site", "operation", "body", "previous")
    ]
    return hashlib.sha256(canonical({"record": covered}).encode()).hexdigest()


def problems(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a whole chain, in the order of its records; empty when nothing is."""
    found: list[str] = []
    previous, expected = GENESIS, 1
    for record in records:
        seq = record["seq"]
        if seq != expected:
            found.append(f"record {expected} is missing: the next one is {seq}")
        if record["previous"] != previous:
            found.append(f"record {seq} does not continue the one before it")
        if record_hash(record) != record["hash"]:
            found.append(f"record {seq} is not what was written: its hash differs")
        previous, expected = record["hash"], seq + 1
    return found
