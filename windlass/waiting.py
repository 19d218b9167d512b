"""The one wait: a named condition, polled until it holds, the time is up or somebody says stop.

Only this module sleeps. It knows no API: a probe raises `TransientError` while its condition does not hold.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import TypeVar

from windlass.errors import NotReadyError, ParkedError, TimedOutError, TransientError

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A stop is noticed within a second whatever the poll interval has grown to.
STOP_GRANULARITY_S = 0.5


@dataclass(frozen=True)
class Pace:
    """How often a condition is looked at: from `first`, growing by `factor` up to `longest`."""

    first: timedelta = timedelta(seconds=1)
    factor: float = 1.5
    longest: timedelta = timedelta(seconds=10)


def wait_for(
    condition: str,
    probe: Callable[[], T],
    *,
    timeout: timedelta,
    pace: Pace,
    stop: Event,
) -> T:
    """Call `probe` until it stops raising `TransientError`; return what it returns.

    The last reason is what a human reads after a timeout, so probes say what is missing. `stop` is the
    operation's flag: set by cancel, SIGTERM or a closing window, it ends the wait within one second.

    Raises:
        TimedOutError: the condition did not come true within `timeout`.
        ParkedError: `stop` was set while the condition did not hold.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    interval = pace.first.total_seconds()
    said = ""
    while True:
        try:
            return probe()
        except TransientError as not_yet:
            if time.monotonic() >= deadline:
                raise TimedOutError(f"gave up waiting for {condition}: {not_yet}") from not_yet
            if str(not_yet) != said:
                said = str(not_yet)
                logger.info("waiting for %s: %s", condition, said)
            asked = not_yet.after_s if isinstance(not_yet, NotReadyError) else 0
        _pause(min(max(interval, asked), max(deadline - time.monotonic(), 0)), condition, stop)
        interval = min(interval * pace.factor, pace.longest.total_seconds())


def _pause(seconds: float, condition: str, stop: Event) -> None:
    until = time.monotonic() + seconds
    while True:
        left = until - time.monotonic()
        if stop.wait(max(min(left, STOP_GRANULARITY_S), 0)):
            raise ParkedError(f"asked to stop while waiting for {condition}")
        if left <= STOP_GRANULARITY_S:
            return
