"""A side that says how long it wants to be left alone is left alone that long, within the deadline."""

from datetime import timedelta
from threading import Event

import pytest

from windlass.clients.kubernetes.meaning import translate
from windlass.errors import NotReadyError, TimedOutError
from windlass.waiting import Pace, wait_for

QUICK = Pace(first=timedelta(milliseconds=1), longest=timedelta(milliseconds=1))


def looks(after_s: float, timeout_s: float) -> int:
    """How often a probe is called that never holds."""
    seen: list[float] = []

    def probe() -> None:
        seen.append(after_s)
        raise NotReadyError("busy", after_s=after_s)

    with pytest.raises(TimedOutError, match="busy"):
        wait_for("it", probe, timeout=timedelta(seconds=timeout_s), pace=QUICK, stop=Event())
    return len(seen)


def test_nobody_is_asked_again_before_the_time_it_asked_for():
    assert looks(after_s=0.2, timeout_s=0.3) <= 3


def test_a_wish_longer_than_the_deadline_does_not_move_the_deadline():
    assert looks(after_s=3600, timeout_s=0.05) == 2


def test_a_throttled_call_to_kubernetes_carries_the_wish():
    body = {"reason": "TooManyRequests", "details": {"retryAfterSeconds": 7}}

    error = translate(429, body, "GET", "/api/v1/nodes")

    assert isinstance(error, NotReadyError)
    assert error.after_s == 7
