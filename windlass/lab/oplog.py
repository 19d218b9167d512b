"""What happened in the lab, in order: one JSON line an effect, for the observer and for people.

Who did it comes from the client's own words: Windlass names its operation and epoch in every user agent.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from windlass.lab.clock import Clock

_ACTOR = re.compile(r"windlass/\S+ \(operation (?P<run>[\w.:-]+); epoch (?P<epoch>\d+)\)")


@dataclass(frozen=True)
class Actor:
    """Who caused an effect: a Windlass operation with its fencing epoch, or anybody else by a name."""

    run: str
    epoch: int | None = None

    @classmethod
    def of_user_agent(cls, user_agent: str) -> "Actor":
        """Windlass says `windlass/VERSION (operation ID; epoch N)`; others are kept by what they say."""
        said = _ACTOR.search(user_agent)
        if said is None:
            return cls(run=user_agent.split(" ", maxsplit=1)[0][:60] or "unknown")
        return cls(run=said["run"], epoch=int(said["epoch"]))


LAB = Actor(run="lab")


class Oplog:
    """Append-only JSON lines: seq, time, run, epoch, verb, target, before, after."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._seq = len(path.read_bytes().splitlines()) if path.exists() else 0
        self._file = path.open("ab")
        path.chmod(0o600)

    def append(
        self, verb: str, target: str, *, before: Any, after: Any, actor: Actor = LAB
    ) -> None:
        """Record one effect that took place. `before` and `after` are small JSON values."""
        self._seq += 1
        line = {
            "seq": self._seq,
            "time": self._clock.now().isoformat(timespec="milliseconds"),
            "run": actor.run,
            "epoch": actor.epoch,
            "verb": verb,
            "target": target,
            "before": before,
            "after": after,
        }
        self._file.write(orjson.dumps(line) + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
