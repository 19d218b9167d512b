"""Places where a step can be made to die, stop or fail on purpose. The crash sweep's; lab sites only.

`WINDLASS_FAILPOINT` holds `STEP:PHASE[:NTH]=ACTION`, several separated by `;`. STEP is a step's key or `*`, PHASE one
of `PHASES`, NTH a number (1: the first time this process gets there) or `all`, ACTION one of kill9, term, stop,
sleep(SECONDS), raise, enospc.
"""

import errno
import os
import re
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event, Lock

from windlass.errors import BadInputError, RefusedError

VARIABLE = "WINDLASS_FAILPOINT"

PHASES = ("pre_intent", "post_intent", "mid_effect", "post_effect", "post_done")

_POINT = re.compile(
    r"(?P<step>\S+?):(?P<phase>" + "|".join(PHASES) + r")(:(?P<nth>[1-9]\d*|all))?"
    r"=(?P<action>kill9|term|stop|raise|enospc|sleep\((?P<seconds>\d+(\.\d+)?)\))"
)

_SIGNALS = {"kill9": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}


class FailpointError(Exception):
    """Raised where a failpoint says `raise`: stands for a mistake in the code."""


@dataclass(frozen=True)
class Failpoint:
    """One place and what happens there. `nth` 0: every time."""

    step: str
    phase: str
    nth: int
    action: str
    seconds: float = 0.0


class Failpoints:
    """The failpoints of one process; counts how often each place was reached."""

    def __init__(self, points: tuple[Failpoint, ...] = ()) -> None:
        self._points = points
        self._lock = Lock()
        self._reached: Counter[tuple[str, str]] = Counter()

    @classmethod
    def of_environment(cls, environment: Mapping[str, str], *, lab: bool) -> "Failpoints":
        """Raises RefusedError when failpoints are set and the site is not a lab's, BadInputError on a typo."""
        text = environment.get(VARIABLE, "")
        if text and not lab:
            raise RefusedError(f"{VARIABLE} is set, and this is not a lab site: unset it")
        return cls(tuple(_parse(part) for part in text.split(";") if part.strip()))

    def hit(self, step: str, phase: str) -> None:
        """Do what is asked for at this place, if anything is."""
        if not self._points:
            return
        with self._lock:
            self._reached[step, phase] += 1
            time = self._reached[step, phase]
        for point in self._points:
            if point.phase == phase and point.step in ("*", step) and point.nth in (0, time):
                _act(point)


def _parse(text: str) -> Failpoint:
    found = _POINT.fullmatch(text.strip())
    if found is None:
        raise BadInputError(f"{VARIABLE}: {text!r} is not STEP:PHASE[:NTH]=ACTION")
    nth = found["nth"] or "1"
    return Failpoint(
        step=found["step"],
        phase=found["phase"],
        nth=0 if nth == "all" else int(nth),
        action=found["action"].partition("(")[0],
        seconds=float(found["seconds"] or 0),
    )


def _act(point: Failpoint) -> None:
    where = f"failpoint {point.step}:{point.phase}"
    if point.action in _SIGNALS:
        os.kill(os.getpid(), _SIGNALS[point.action])
    elif point.action == "sleep":
        Event().wait(point.seconds)
    elif point.action == "enospc":
        raise OSError(errno.ENOSPC, f"{where}: no space left on device")
    else:
        raise FailpointError(where)
