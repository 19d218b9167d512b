"""Gates that believe what they see when they see it twice: what was different in between was seen once."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.connections import Connections
from tasks.kubernetes import Twice
from tasks.registry import Context
from tests.unit.observing import site_of
from windlass.clients.kubernetes.reading import node_state
from windlass.errors import NotReadyError
from windlass.models.load import LoadedSite
from windlass.models.plan import JsonObject, Risk, Step

BOOT: JsonObject = {"boot_id": "a", "ready_since": "10:00"}
STEP = Step(
    key="kubernetes.node-ready/w-0",
    action="kubernetes.node-ready",
    target="w-0",
    phase="nodes",
    risk=Risk.READ,
)


class Looking(Twice):
    """Sees what the test shows it."""

    shown: JsonObject | None = None

    def look(self) -> JsonObject:
        if self.shown is None:
            raise NotReadyError("w-0 is not Ready: KubeletNotReady")
        return self.shown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr("tasks.kubernetes.time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def gate() -> Looking:
    loaded = LoadedSite(site=site_of(pace={"settle": "PT10S"}), path=Path("site.yaml"))
    return Looking(Context(loaded, STEP, Connections(loaded, "test"), lambda _key: {}))


def seen(
    gate: Looking, clock: SimpleNamespace, at: float, shown: JsonObject | None
) -> JsonObject | None:
    """What the gate passes with at this time; None: it does not."""
    clock.seconds, gate.shown = 100.0 + at, shown
    try:
        return gate.goal()
    except NotReadyError:
        return None


def test_the_same_evidence_for_as_long_as_it_takes_to_settle_passes(
    gate: Looking, clock: SimpleNamespace
):
    assert [seen(gate, clock, at, BOOT) for at in (0, 9.9, 10)] == [None, None, BOOT]


@pytest.mark.parametrize("changed", [{"boot_id": "b"}, {"ready_since": "10:00:05"}])
def test_a_flap_that_fell_between_two_looks_begins_anew(
    gate: Looking, clock: SimpleNamespace, changed: JsonObject
):
    after = {**BOOT, **changed}

    assert seen(gate, clock, 0, BOOT) is None
    assert seen(gate, clock, 10, after) is None
    assert seen(gate, clock, 19.9, after) is None
    assert seen(gate, clock, 20, after) == after


def test_a_flap_that_is_seen_begins_anew(gate: Looking, clock: SimpleNamespace):
    assert [
        seen(gate, clock, at, shown) for at, shown in ((0, BOOT), (5, None), (10, BOOT), (15, BOOT))
    ] == [None] * 4
    assert seen(gate, clock, 20, BOOT) == BOOT


def test_a_node_says_since_when_it_is_ready():
    said: JsonObject = {
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }

    assert node_state({"status": {"conditions": [said]}}).ready_since == "2026-01-02T03:04:05Z"
    assert node_state({}).ready_since == ""
