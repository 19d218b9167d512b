"""How a flow run ends in the Prefect UI, for each way an operation can come to rest."""

import logging
from pathlib import Path

import httpx
import pytest

from flows import operating
from tests.unit.engine.worlds import plan_of
from windlass.engine.journal import Journal
from windlass.errors import BusyError, NeedsHumanError, ParkedError, RefusedError, TimedOutError


@pytest.mark.parametrize(
    ("error", "kind", "name"),
    [
        (ParkedError("asked to stop"), "CANCELLED", "Parked"),
        (BusyError("held by another"), "CANCELLED", "Parked"),
        (NeedsHumanError("look at cp-1"), "FAILED", "NeedsHuman"),
        (RefusedError("no"), "FAILED", "Failed"),
        (TimedOutError("gave up"), "FAILED", "Failed"),
    ],
)
def test_the_state_of_a_run_says_how_it_ended_and_why(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str, name: str
):
    def fails(_site: str, _operation: str | None) -> None:
        raise error

    monkeypatch.setattr(operating, "open_operation", fails)

    state = operating.run_verb("site.yaml", "apply", None, lambda _o, _f: plan_of("buoy"))

    assert (state.type.value, state.name, state.message) == (kind, name, str(error))


def test_a_report_that_cannot_be_published_hides_no_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    journal = Journal.open(tmp_path)
    operation = journal.create(plan_of("buoy"), origin="test")

    def away(_key: str, _markdown: str) -> None:
        raise httpx.ConnectError("the server is away")

    monkeypatch.setattr(operating, "publish", away)

    with caplog.at_level(logging.WARNING):
        operating.report(journal, operation)

    assert "the server is away" in caplog.text
