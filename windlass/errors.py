"""Every error Windlass raises on purpose.

WindlassError
|-- TransientError        nothing changed; a retry may succeed
|   |-- UnreachableError  no answer from a machine or an API
|   `-- NotReadyError     an answer, but not the one waited for
|-- AmbiguousError        a write left and no answer came: observe, never replay
|-- StoppedError          not a failure: the operation is at rest and says how it goes on
|   |-- BusyError         another operation holds the site; names it
|   |-- FrozenError       somebody froze the site
|   |-- ParkedError       asked to stop, at a safe point
|   `-- NeedsHumanError   what happened cannot be decided from here; says what to look at
`-- PermanentError        a retry changes nothing: a human decides
    |-- BadInputError     what a person wrote makes no sense; names file, line, key
    |-- RefusedError      the API understood the request and said no
    |   `-- DeniedError   because of who asks: with mended credentials the same operation goes on
    |-- PreflightError    the cluster is not fit for this operation
    `-- TimedOutError     a condition did not come true in time
"""


class WindlassError(Exception):
    """The root: everything below it is printed as one message, without a traceback."""


class TransientError(WindlassError):
    """Nothing changed; a retry may succeed."""


class UnreachableError(TransientError):
    """No answer from a machine or an API; nothing was sent, or what was sent only reads."""


class NotReadyError(TransientError):
    """An answer came, but not the one waited for; the message is the reason a human reads.

    `after_s` is how many seconds the other side asked to be left alone, 0 when it did not say.
    """

    def __init__(self, message: str, *, after_s: float = 0) -> None:
        super().__init__(message)
        self.after_s = after_s


class AmbiguousError(WindlassError):
    """A write left and no answer came: what it did is observed, never replayed."""


class StoppedError(WindlassError):
    """The operation is at rest and says how it goes on."""


class BusyError(StoppedError):
    """Another operation holds the site; the message names it."""


class FrozenError(StoppedError):
    """Somebody froze the site, or the freeze could not be read."""


class ParkedError(StoppedError):
    """The operation was asked to stop and stands at a safe point."""


class NeedsHumanError(StoppedError):
    """What happened cannot be decided from here; the message says what to look at.

    `reason` is the journal's word for it: NEEDS_HUMAN, CODE_CHANGED, ROLLED_BACK or DRIFT_LOOP.
    """

    def __init__(self, message: str, *, reason: str = "NEEDS_HUMAN") -> None:
        super().__init__(message)
        self.reason = reason


class PermanentError(WindlassError):
    """A retry changes nothing: a human decides."""


class BadInputError(PermanentError):
    """What a person wrote makes no sense; the message names file, line and key."""


class RefusedError(PermanentError):
    """The API understood the request and said no."""


class DeniedError(RefusedError):
    """The API does not accept the credentials, or they are not enough; nothing is wrong with the site."""


class PreflightError(PermanentError):
    """The site is not fit for this operation; nothing was touched."""


class TimedOutError(PermanentError):
    """A condition did not come true in time; the message carries its last reason."""
