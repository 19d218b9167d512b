"""Where a crash sweep kills: five points of every step with an effect. Free when WINDLASS_FAILPOINT is not set.

`WINDLASS_FAILPOINT=step/key:phase[:nth]=kill9|term|stop|sleep(S)|raise|enospc`, and more of them behind commas. The one
that comes first fails first; a kill says on stderr which one it was, for nobody can be asked afterwards.
"""

import errno
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from windlass.errors import BadInputError, RefusedError, UnreachableError

Quiet = Callable[[], AbstractContextManager[None]]
# The main thread handles a signal when it gets to run: on a busy machine not at once.
HANDLED_S = 30.0
VARIABLE = "WINDLASS_FAILPOINT"
PHASES = ("pre_intent", "post_intent", "mid_effect", "post_effect", "post_done")
# Held from the word about a kill to the death: no second one is announced by a dying process.
_DYING = threading.Lock()
_FORM = re.compile(
    rf"(?P<key>[^=,]+):(?P<phase>{'|'.join(PHASES)})(?::(?P<nth>\d+))?="
    r"(?P<what>kill9|term|stop|raise|enospc|sleep\((?P<s>[\d.]+)\))"
)


@dataclass
class Failpoints:
    """What is to fail where, and what else. `at` is called by the step protocol at every phase."""

    key: str = ""
    phase: str = ""
    nth: int = 1
    what: str = ""
    seconds: float = 0
    more: tuple["Failpoints", ...] = ()
    stop: threading.Event = field(default_factory=threading.Event)
    quiet: Quiet = nullcontext
    seen: Counter[str] = field(default_factory=Counter[str])

    @classmethod
    def of(
        cls,
        environment: Mapping[str, str],
        *,
        lab: bool,
        stop: threading.Event,
        quiet: Quiet = nullcontext,
    ) -> "Failpoints":
        """What the environment asks for; `stop` is what SIGTERM sets, and in `quiet` no thread writes the journal.

        Raises:
            RefusedError: it asks for one at a site that is no lab.
            BadInputError: it means nothing.
        """
        asked = environment.get(VARIABLE)
        if asked is None:
            return cls()
        if not lab:
            raise RefusedError(f"{VARIABLE} is set and this site is no lab: unset it")
        first, *more = (
            replace(_failpoint(one), stop=stop, quiet=quiet) for one in asked.split(",")
        )
        return replace(first, more=tuple(more))

    def at(self, key: str, phase: str) -> None:
        """Fail here, if this is the place and the time."""
        for other in self.more:
            other.at(key, phase)
        if key != self.key or phase != self.phase:
            return
        self.seen[phase] += 1
        if self.seen[phase] == self.nth:
            self._fail()

    def _fail(self) -> None:
        if self.what == "kill9":
            with _DYING:
                os.write(2, f"failpoint {self.key}:{self.phase}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)
        elif self.what == "term":
            os.kill(os.getpid(), signal.SIGTERM)
            # This thread must not go on before the signal is handled: it would be a stop after the step.
            self.stop.wait(HANDLED_S)
        elif self.what == "stop":
            # Stopped in a transaction, a process would keep all others from the journal: that is another fault.
            with self.quiet():
                os.kill(os.getpid(), signal.SIGSTOP)
        elif self.what == "raise":
            raise UnreachableError(f"failpoint {self.key}:{self.phase}")
        elif self.what == "enospc":
            raise OSError(errno.ENOSPC, "failpoint: no space left on device")
        else:
            threading.Event().wait(self.seconds)


def _failpoint(asked: str) -> Failpoints:
    found = _FORM.fullmatch(asked)
    if found is None:
        raise BadInputError(
            f"{VARIABLE}={asked}: write step/key:phase[:nth]=what; phases are {', '.join(PHASES)}"
        )
    return Failpoints(
        found["key"],
        found["phase"],
        int(found["nth"] or 1),
        found["what"],
        float(found["s"] or 0),
    )
