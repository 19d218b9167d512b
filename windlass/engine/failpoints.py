"""Where a crash sweep kills: five points of every step with an effect. Free when WINDLASS_FAILPOINT is not set.

`WINDLASS_FAILPOINT=step/key:phase[:nth]=kill9|term|stop|sleep(S)|raise|enospc`
"""

import errno
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from windlass.errors import BadInputError, RefusedError, UnreachableError

VARIABLE = "WINDLASS_FAILPOINT"
PHASES = ("pre_intent", "post_intent", "mid_effect", "post_effect", "post_done")
_FORM = re.compile(
    r"(?P<key>[^:=]+):(?P<phase>\w+)(?::(?P<nth>\d+))?=(?P<what>kill9|term|stop|raise|enospc|sleep\((?P<s>[\d.]+)\))"
)


@dataclass
class Failpoints:
    """What is to fail where. `at` is called by the step protocol at every phase."""

    key: str = ""
    phase: str = ""
    nth: int = 1
    what: str = ""
    seconds: float = 0
    seen: Counter[str] = field(default_factory=Counter[str])

    @classmethod
    def of(cls, environment: Mapping[str, str], *, lab: bool) -> "Failpoints":
        """What the environment asks for.

        Raises:
            RefusedError: it asks for one at a site that is no lab.
            BadInputError: it means nothing.
        """
        asked = environment.get(VARIABLE)
        if asked is None:
            return cls()
        if not lab:
            raise RefusedError(f"{VARIABLE} is set and this site is no lab: unset it")
        found = _FORM.fullmatch(asked)
        if found is None or found["phase"] not in PHASES:
            raise BadInputError(
                f"{VARIABLE}={asked}: write step/key:phase[:nth]=what; phases are {', '.join(PHASES)}"
            )
        return cls(
            found["key"],
            found["phase"],
            int(found["nth"] or 1),
            found["what"],
            float(found["s"] or 0),
        )

    def at(self, key: str, phase: str) -> None:
        """Fail here, if this is the place and the time."""
        if key != self.key or phase != self.phase:
            return
        self.seen[phase] += 1
        if self.seen[phase] == self.nth:
            self._fail()

    def _fail(self) -> None:
        if self.what == "kill9":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.what == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        elif self.what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.what == "raise":
            raise UnreachableError(f"failpoint {self.key}:{self.phase}")
        elif self.what == "enospc":
            raise OSError(errno.ENOSPC, "failpoint: no space left on device")
        else:
            threading.Event().wait(self.seconds)
