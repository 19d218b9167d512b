"""When an operation that failed is tried again."""

from windlass.lab.controllers.argocd.durations import backoff_duration
from windlass.lab.controllers.objects import Object, dig, table

# Argo CD's own, for what a backoff does not say.
_FIRST, _LONGEST, _FACTOR = 5.0, 180.0, 2


def may_retry(retry: Object, retried: int) -> bool:
    """Without a limit there is no retry; a negative one is no limit."""
    limit = retry.get("limit", 0)
    return limit < 0 or retried < limit


def pause_before(retry: Object, retried: int) -> float:
    """Seconds until the next attempt after `retried` retries.

    Raises:
        ValueError: the backoff says something that is no duration.
    """
    backoff = table(retry, "backoff")
    first = backoff_duration(backoff["duration"]) if backoff.get("duration") else _FIRST
    longest = backoff_duration(backoff["maxDuration"]) if backoff.get("maxDuration") else _LONGEST
    factor = dig(backoff, "factor", default=_FACTOR)
    # A large power of the factor is no float any more, and longer than any limit.
    wait = first * factor ** min(retried, 64)
    return min(wait, longest) if longest > 0 else wait
