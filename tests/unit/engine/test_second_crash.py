"""What one crash hides from the next: calls that left earlier, handles that ended badly, deaths that are over."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.engine.test_steps import KEY, Bench
from tests.unit.engine.worlds import Thing
from windlass.engine.action import Resume
from windlass.engine.failpoints import PHASES
from windlass.engine.lock import SiteLock
from windlass.engine.steps import StepRunner
from windlass.errors import (
    AmbiguousError,
    NeedsHumanError,
    NotReadyError,
    ParkedError,
    RefusedError,
    TimedOutError,
)
from windlass.models.plan import JsonObject


@dataclass
class Slow(Thing):
    """A thing that is there only once its task was followed. Its trace is honest about when the call left."""

    resume: Resume = Resume.NEVER

    def effect(self) -> JsonObject | None:
        with (self.folder / f"{self.name}.calls").open("a") as log:
            log.write(datetime.now(UTC).isoformat() + "\n")
        return {"task": self.name}

    def follow(self, handle: JsonObject) -> None:
        super().follow(handle)
        (self.folder / self.name).touch()

    def trace(self, since: datetime) -> JsonObject | None:
        log = self.folder / f"{self.name}.calls"
        left = log.read_text().splitlines() if log.exists() else []
        seen = any(datetime.fromisoformat(line) >= since for line in left)
        return {"task": self.name} if seen else None


def die(folder: Path, phase: str) -> None:
    script = (
        "import sys; from pathlib import Path;"
        "from tests.unit.engine.test_second_crash import Bench, Slow;"
        "from windlass.engine.failpoints import Failpoints;"
        "b = Bench(Path(sys.argv[1]));"
        "b.run(Slow(b.folder, 'buoy'), Failpoints('make/buoy', sys.argv[2], what='kill9'))"
    )
    command = [sys.executable, "-c", script, str(folder), phase]
    died = subprocess.run(command, cwd=Path(__file__).parents[3], env={**os.environ}, check=False)
    assert died.returncode == -signal.SIGKILL


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home")


@pytest.mark.parametrize("second", ["pre_intent", "post_intent", "post_effect"])
@pytest.mark.parametrize("first", PHASES[:4])
def test_two_deaths_in_a_row_still_make_one_effect(bench: Bench, first: str, second: str):
    die(bench.folder, first)
    if not (bench.folder / "buoy").exists():
        die(bench.folder, second)

    bench.run(Slow(bench.folder, "buoy"))

    assert (bench.state, Slow(bench.folder, "buoy").calls) == ("done", 1)
    assert bench.journal.verify() == []


def test_a_death_before_the_call_leaves_nothing_to_wait_for(bench: Bench):
    die(bench.folder, "post_intent")

    assert bench.journal.calls_end("harbour") == 0


def test_only_a_call_without_an_answer_is_waited_for(bench: Bench, tmp_path: Path):
    answered = Bench(tmp_path / "answered")
    die(bench.folder, "mid_effect")
    die(answered.folder, "post_effect")

    assert bench.journal.calls_end("harbour") > 0
    assert answered.journal.calls_end("harbour") == 0


class BadTask(Thing):
    """A thing whose first task ends badly."""

    def effect(self) -> JsonObject | None:
        super().effect()
        (self.folder / self.name).unlink()
        if self.calls > 1:
            (self.folder / self.name).touch()
        return {"task": self.calls}

    def follow(self, handle: JsonObject) -> None:
        if handle == {"task": 1}:
            raise RefusedError("the task ended with an error")


def test_a_task_that_ended_badly_is_not_followed_for_ever(bench: Bench):
    thing = BadTask(bench.folder, "buoy", resume=Resume.NEVER)
    with pytest.raises(RefusedError, match="ended with an error"):
        bench.run(thing)

    bench.run(thing)

    assert (bench.state, thing.calls) == ("done", 2)


class LostTask(Thing):
    """A thing whose task can no longer be asked, and that appears after `late` looks, or never."""

    late: int = 10_000

    def goal(self) -> JsonObject:
        self.late -= 1
        if self.late > 0:
            raise NotReadyError("not there yet")
        return {"name": self.name}

    def follow(self, handle: JsonObject) -> None:
        raise AmbiguousError(f"nobody knows {handle}")


def test_a_handle_that_no_longer_tells_leaves_the_word_to_the_goal(bench: Bench):
    thing = LostTask(bench.folder, "buoy", resume=Resume.NEVER)
    thing.late = 5

    bench.run(thing)

    assert (bench.state, thing.calls) == ("done", 1)


def test_a_lost_handle_of_a_step_that_must_not_repeat_needs_a_human(bench: Bench):
    thing = LostTask(bench.folder, "buoy", resume=Resume.NEVER)

    for _ in range(2):
        with pytest.raises(NeedsHumanError, match="nobody knows"):
            bench.run(thing)

    assert thing.calls == 1


def test_a_goal_that_did_not_come_true_in_time_is_tried_anew_where_repeating_is_safe(bench: Bench):
    class Late(Thing):
        def exists(self) -> bool:
            return self.calls > 1

    thing = Late(bench.folder, "buoy")
    with pytest.raises(TimedOutError):
        bench.run(thing)

    bench.run(thing)

    assert (bench.state, thing.calls) == ("done", 2)


def test_a_tripped_breaker_lets_the_next_resume_try(bench: Bench):
    for _ in range(3):
        die(bench.folder, "post_intent")
    with pytest.raises(ParkedError, match="died 3 times"):
        bench.run(Slow(bench.folder, "buoy"))

    bench.run(Slow(bench.folder, "buoy"))

    assert bench.state == "done"


def test_a_mistake_in_an_action_is_recorded_before_it_is_raised(bench: Bench):
    class Broken(Thing):
        def goal(self) -> JsonObject:
            raise KeyError("oops")

    with pytest.raises(KeyError):
        bench.run(Broken(bench.folder, "buoy"))

    assert bench.state == "failed"


def test_a_step_that_is_not_in_the_plan_gets_no_effect(bench: Bench):
    thing = Thing(bench.folder, "buoy")
    wider = replace(bench.operation.plan.step(KEY), inputs={"all": True})

    with (
        SiteLock(bench.journal, "harbour").hold("op", run="r", stop=bench.stop) as hold,
        pytest.raises(RefusedError, match="not a step of the plan"),
    ):
        StepRunner(bench.journal, hold, bench.operation, bench.stop).run(wider, thing)

    assert thing.calls == 0
