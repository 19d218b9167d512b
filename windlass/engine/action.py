"""What the engine asks of an action: goal, preconditions, effect, and how to find an effect whose trace was lost.

An action is made anew for each attempt, from the step's inputs and the site, by whoever registers it; the engine
calls it and knows nothing of the API behind it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from windlass.models.plan import JsonObject
from windlass.waiting import Pace


class Resume(StrEnum):
    """What a resume may do with an effect that left no trace of its outcome."""

    REPEAT = "repeat"
    """Doing it twice is doing it once."""
    NEVER = "never"
    """Destructive or single-shot: an ambiguous outcome stops with NEEDS_HUMAN."""


@dataclass(frozen=True)
class Timing:
    """`effect` is the total deadline of the one call; `goal` how long the goal may take afterwards.

    `begin` is how long the call may be held off: by a lock, or by an API that cannot be reached.
    """

    effect: timedelta
    goal: timedelta
    pace: Pace
    begin: timedelta | None = None


class Action(Protocol):
    """One effect on one target, or a gate (whose `effect` is never called)."""

    @property
    def resume(self) -> Resume: ...

    @property
    def timing(self) -> Timing: ...

    def goal(self) -> JsonObject:
        """Evidence that the goal holds, observed now.

        Raises:
            NotReadyError: it does not hold (yet); the message says what is missing.
            UnreachableError: it could not be observed.
            PermanentError: it can never hold; waiting is useless.
        """
        ...

    def preconditions(self) -> None:
        """Raise PreflightError or RefusedError when the effect is not allowed (any more); called right before it."""
        ...

    def effect(self) -> JsonObject | None:
        """Make the one call. Returns its handle (a task id, a boot id before) as soon as the call returns.

        Raises AmbiguousError when the call left and no answer came, RefusedError when the target said no.
        """
        ...

    def follow(self, handle: JsonObject) -> None:
        """Look at a running effect once: return when it ended well.

        Raises NotReadyError while it runs, RefusedError when it ended badly, AmbiguousError when it cannot be told.
        """
        ...

    def trace(self, since: datetime) -> JsonObject | None:
        """The handle of an effect of this step that was sent after `since` and may still run; None: there is none.

        Raises AmbiguousError when that cannot be told.
        """
        ...
