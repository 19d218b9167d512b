"""Retries of an operation that failed: how often and after how long, with durations as Go reads them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from windlass.lab.controllers.argocd.autosync import decide
from windlass.lab.controllers.argocd.compare import Comparison, Item
from windlass.lab.controllers.argocd.durations import backoff_duration, go_duration
from windlass.lab.controllers.argocd.projects import may_sync
from windlass.lab.controllers.argocd.retries import may_retry, pause_before


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("1h30m", 5400), ("1.5h", 5400), ("300ms", 0.3), ("0", 0), ("-2s", -2)],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float):
    assert go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "1d", "1h 30m", "h", "1h30", "--1s"])
def test_what_go_cannot_read_is_no_duration(text: str):
    with pytest.raises(ValueError, match="invalid duration"):
        go_duration(text)


def test_a_backoff_may_be_a_number_of_seconds():
    assert backoff_duration(10) == backoff_duration("10") == backoff_duration("10s") == 10
    with pytest.raises(ValueError, match="unable to parse soon as a duration"):
        backoff_duration("soon")


@pytest.mark.parametrize(
    ("retry", "pauses"),
    [
        ({}, [5, 10, 20, 40, 80, 160, 180]),
        ({"backoff": {"duration": "10s", "factor": 3, "maxDuration": "1m"}}, [10, 30, 60, 60]),
        ({"backoff": {"duration": "7", "factor": 1}}, [7, 7, 7]),
        ({"backoff": {"duration": "1m", "maxDuration": "0"}}, [60, 120, 240, 480]),
    ],
)
def test_pauses_grow_up_to_the_longest(retry: dict[str, Any], pauses: list[float]):
    assert [pause_before(retry, retried) for retried in range(len(pauses))] == pauses


def test_a_negative_limit_is_none_and_no_limit_is_no_retry():
    assert may_retry({"limit": -1}, 10_000)
    assert may_retry({"limit": 2}, 1)
    assert not may_retry({"limit": 2}, 2)
    assert not may_retry({}, 0)


def test_an_automated_sync_is_retried_five_times_unless_its_application_says_otherwise():
    item = Item("", "v1", "ConfigMap", "web", "x", None, target={"metadata": {"name": "x"}})
    comparison = Comparison("abc", [item])
    source = {"repoURL": "x"}

    def retry_of(policy: dict[str, Any]) -> Any:
        app: dict[str, Any] = {
            "spec": {"source": source, "syncPolicy": {"automated": {}, **policy}}
        }
        operation = decide(app, comparison, 0.0).operation
        return operation and operation["retry"]

    assert retry_of({}) == {"limit": 5}
    assert retry_of({"retry": {"limit": -1}}) == {"limit": -1}


def test_a_sync_window_that_cannot_be_read_keeps_shut():
    window = {"kind": "allow", "schedule": "* * * * *", "duration": "1d", "applications": ["*"]}
    project = {"metadata": {"name": "all"}, "spec": {"syncWindows": [window]}}
    app: dict[str, Any] = {"metadata": {"name": "web"}, "spec": {"destination": {}}}

    assert not may_sync(app, project, datetime(2026, 11, 22, tzinfo=UTC), manual=True)
