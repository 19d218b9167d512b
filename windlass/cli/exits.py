"""What the exit code of `windlass` says about an error: the one mapping."""

from windlass.errors import (
    BadInputError,
    BusyError,
    FrozenError,
    NeedsHumanError,
    ParkedError,
    PreflightError,
    RefusedError,
)

DONE = 0
BAD_INPUT = 2
REFUSED = 3
STOPPED = 4
NEEDS_HUMAN = 5
FAILED = 6
# What a shell reports for a program that Ctrl-C ended.
INTERRUPTED = 130

CODES: tuple[tuple[type[Exception], int], ...] = (
    (BadInputError, BAD_INPUT),
    (RefusedError, REFUSED),
    (PreflightError, REFUSED),
    (FrozenError, REFUSED),
    (ParkedError, STOPPED),
    (BusyError, STOPPED),
    (NeedsHumanError, NEEDS_HUMAN),
)


def exit_code(error: BaseException) -> int:
    """The exit code that `error` ends the command with."""
    return next((code for kind, code in CODES if isinstance(error, kind)), FAILED)
