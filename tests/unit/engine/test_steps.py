"""The step protocol: what is durable, what is observed, and what is never done twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest

from tests.unit.engine.worlds import Thing, plan_of
from windlass.engine.action import Resume
from windlass.engine.failpoints import PHASES, Failpoints
from windlass.engine.journal import Journal
from windlass.engine.lock import SiteLock
from windlass.engine.steps import StepRunner
from windlass.errors import (
    BusyError,
    FrozenError,
    NeedsHumanError,
    ParkedError,
    PreflightError,
    RefusedError,
    TimedOutError,
    UnreachableError,
)
from windlass.models.plan import JsonObject

KEY = "make/buoy"


class Bench:
    """One journal, one operation, and a way to try its only step."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.journal = Journal.open(folder)
        found = self.journal.operations()
        self.operation = found[0] if found else self.journal.create(plan_of("buoy"), origin="test")
        self.stop = Event()

    def thing(self, **how: object) -> Thing:
        return Thing(self.folder, "buoy", **how)  # type: ignore[arg-type]

    def run(self, thing: Thing, failpoints: Failpoints | None = None) -> None:
        with SiteLock(self.journal, "harbour").hold(
            self.operation.id, run="r", stop=self.stop
        ) as hold:
            runner = StepRunner(
                self.journal, hold, self.operation, self.stop, failpoints or Failpoints()
            )
            runner.run(self.operation.plan.step(KEY), thing)

    @property
    def state(self) -> str:
        return self.journal.step_state(self.operation.id, KEY).state


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home")


def test_a_step_is_done_when_its_goal_was_observed(bench: Bench):
    bench.run(bench.thing())

    state = bench.journal.step_state(bench.operation.id, KEY)
    assert state.state == "done"
    assert state.evidence == {"name": "buoy"}


def test_the_records_of_a_step_come_in_the_order_of_the_protocol(bench: Bench):
    bench.run(bench.thing())

    kinds = [r["kind"] for r in bench.journal.export(bench.operation.id) if "step" in r["body"]]
    assert kinds == ["intent", "effect", "handle", "done"]


def test_a_goal_that_already_holds_needs_no_call(bench: Bench):
    (bench.folder / "buoy").touch()
    thing = bench.thing()

    bench.run(thing)

    assert (bench.state, thing.calls) == ("done", 0)


def test_a_step_that_is_done_is_skipped_even_when_its_goal_no_longer_holds(bench: Bench):
    bench.run(bench.thing())
    (bench.folder / "buoy").unlink()

    bench.run(bench.thing())

    assert bench.thing().calls == 1


def test_a_lost_answer_is_observed_and_never_replayed(bench: Bench):
    thing = bench.thing(says="lost after")

    bench.run(thing)

    assert (bench.state, thing.calls) == ("done", 1)


def test_a_lost_call_without_a_trace_is_sent_once_more_where_repeating_is_safe(bench: Bench):
    thing = bench.thing(says="lost before")

    with pytest.raises(TimedOutError):
        bench.run(thing)

    assert thing.calls == 2


def test_a_lost_call_of_a_step_that_must_not_repeat_needs_a_human(bench: Bench):
    thing = bench.thing(says="lost before", resume=Resume.NEVER)

    with pytest.raises(NeedsHumanError, match="buoy"):
        bench.run(thing)

    assert thing.calls == 1


def test_a_refusal_is_final_and_kept_with_its_reason(bench: Bench):
    with pytest.raises(RefusedError):
        bench.run(bench.thing(says="refused"))

    state = bench.journal.step_state(bench.operation.id, KEY)
    assert (state.state, state.message) == ("failed", "no")


def test_a_precondition_that_fails_sends_nothing(bench: Bench):
    thing = bench.thing(forbidden="somebody else's")

    with pytest.raises(PreflightError):
        bench.run(thing)

    assert thing.calls == 0


def test_no_connection_is_tried_again_within_the_deadline_and_then_named(bench: Bench):
    with pytest.raises(TimedOutError, match="no connection"):
        bench.run(bench.thing(says="unreachable"))


def test_a_frozen_site_gets_no_effect(bench: Bench):
    bench.journal.freeze("harbour", "storm", "harbour master")
    thing = bench.thing()

    with pytest.raises(FrozenError, match="storm"):
        bench.run(thing)

    assert thing.calls == 0


def test_a_stop_parks_before_the_effect(bench: Bench):
    bench.stop.set()
    thing = bench.thing()

    with pytest.raises(ParkedError):
        bench.run(thing)

    assert (bench.state, thing.calls) == ("parked", 0)


def test_an_old_epoch_writes_no_more(bench: Bench):
    thing = bench.thing()
    lock = SiteLock(bench.journal, "harbour")

    with lock.hold(bench.operation.id, run="r", stop=bench.stop) as hold:
        bench.journal.next_epoch("harbour", "other", '{"run": "x", "pid": 1, "host": "h"}')
        with pytest.raises(BusyError, match="other"):
            StepRunner(bench.journal, hold, bench.operation, bench.stop).run(
                bench.operation.plan.step(KEY), thing
            )

    assert thing.calls == 0


def test_a_full_disk_stops_before_the_effect(bench: Bench):
    thing = bench.thing()

    with pytest.raises(OSError, match="no space"):
        bench.run(thing, Failpoints(KEY, "post_intent", what="enospc"))

    assert thing.calls == 0


@pytest.mark.parametrize("resume", list(Resume))
@pytest.mark.parametrize("phase", PHASES)
def test_a_kill_at_any_point_is_resumed_with_one_effect(bench: Bench, phase: str, resume: Resume):
    script = (
        "import sys; from pathlib import Path; from tests.unit.engine.test_steps import Bench;"
        "from windlass.engine.action import Resume; from windlass.engine.failpoints import Failpoints;"
        "b = Bench(Path(sys.argv[1])); b.run(b.thing(resume=Resume(sys.argv[3])),"
        " Failpoints('make/buoy', sys.argv[2], what='kill9'))"
    )
    command = [sys.executable, "-c", script, str(bench.folder), phase, resume.value]
    died = subprocess.run(command, cwd=Path(__file__).parents[3], env={**os.environ}, check=False)
    assert died.returncode == -signal.SIGKILL

    bench.run(bench.thing(resume=resume))

    assert (bench.state, bench.thing().calls) == ("done", 1)
    assert bench.journal.verify() == []


def test_an_effect_nobody_can_account_for_is_not_replayed_after_a_death(bench: Bench):
    with pytest.raises(UnreachableError):
        bench.run(bench.thing(), Failpoints(KEY, "mid_effect", what="raise"))
    (bench.folder / "buoy").unlink()
    thing = bench.thing(resume=Resume.NEVER, traceable="unknown")

    with pytest.raises(NeedsHumanError):
        bench.run(thing)

    assert thing.calls == 1


def test_the_third_death_in_one_step_trips_the_breaker(bench: Bench):
    for died in range(3):
        said: JsonObject = {
            "epoch": died, "state": "intent", "deaths": died, "intent": "2026-01-01T00:00:00+00:00",
        }  # fmt: skip
        bench.journal.write_step(bench.operation, KEY, "intent", said)

    with pytest.raises(ParkedError, match="died 3 times"):
        bench.run(bench.thing())
