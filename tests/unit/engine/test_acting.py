"""A whole operation: order, limits, the first failure, and an end that always has a reason."""

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy.exc import OperationalError

from tests.unit.engine.worlds import Thing, plan_of
from windlass.engine.executor import ThreadsExecutor
from windlass.engine.journal import Journal
from windlass.engine.operation import Acting, needs_approval
from windlass.engine.records import Operation, OperationState
from windlass.errors import (
    BadInputError,
    FrozenError,
    NeedsHumanError,
    ParkedError,
    RefusedError,
    WindlassError,
)
from windlass.models.plan import Plan, Risk, Step


class Harbour:
    """A journal and things by name; `how` says how a thing's call behaves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal.open(folder)
        self.how: dict[str, dict[str, object]] = {}

    def act(self, operation: Operation, *, lab: bool = False) -> Operation:
        acting = Acting(
            self.journal,
            ThreadsExecutor(),
            lambda step, _epoch: self.thing(step.target),
            "run",
            is_lab=lab,
        )
        return acting.act(operation)

    def thing(self, name: str) -> Thing:
        return Thing(self.folder, name, **self.how.get(name, {}))  # type: ignore[arg-type]


@pytest.fixture
def harbour(tmp_path: Path) -> Harbour:
    return Harbour(tmp_path)


def test_an_operation_that_went_well_is_done_with_success(harbour: Harbour):
    operation = harbour.journal.create(plan_of("a", "b", "c"), origin="test")

    end = harbour.act(operation)

    assert (end.state, end.reason) == (OperationState.DONE, "SUCCESS")
    assert harbour.journal.holder("harbour") is None


@pytest.mark.parametrize(
    ("fails", "remains"),
    [("a", ()), ("b", ("make/a stays until make/c",)), ("c", ("make/a stays until make/c",))],
)
def test_what_was_made_for_a_while_and_not_taken_back_is_said_to_remain(
    harbour: Harbour, fails: str, remains: tuple[str, ...]
):
    plan = plan_of("a", "b", "c", chain=True)
    first, *others = plan.steps
    steps = (replace(first, undone_by="make/c"), *others)
    operation = harbour.journal.create(replace(plan, steps=steps), origin="test")
    harbour.how[fails] = {"says": "unreachable"}

    with pytest.raises(WindlassError):
        harbour.act(operation)

    assert harbour.journal.operation(operation.id).remains == remains
    harbour.how.clear()
    assert harbour.act(harbour.journal.operation(operation.id)).remains == ()


def test_a_plan_in_which_nothing_undoes_what_should_be_undone_is_no_plan():
    plan = plan_of("a")

    with pytest.raises(ValueError, match="make/z"):
        replace(plan, steps=tuple(replace(step, undone_by="make/z") for step in plan))


def test_the_first_failure_starts_nothing_behind_it(harbour: Harbour):
    operation = harbour.journal.create(plan_of("a", "b", "c"), origin="test")
    harbour.how["b"] = {"says": "refused"}

    with pytest.raises(RefusedError):
        harbour.act(operation)

    end = harbour.journal.operation(operation.id)
    assert (end.state, end.reason) == (OperationState.FAILED, "FAILED")
    assert harbour.thing("c").calls == 0


def test_a_failed_operation_goes_on_where_it_stopped(harbour: Harbour):
    operation = harbour.journal.create(plan_of("a", "b", "c"), origin="test")
    harbour.how["b"] = {"says": "refused"}
    with pytest.raises(RefusedError):
        harbour.act(operation)
    harbour.how.clear()

    end = harbour.act(harbour.journal.operation(operation.id))

    assert end.state is OperationState.DONE
    assert [harbour.thing(name).calls for name in "abc"] == [1, 2, 1]


def test_a_done_operation_is_a_no_op(harbour: Harbour):
    operation = harbour.act(harbour.journal.create(plan_of("a"), origin="test"))

    harbour.act(operation)

    assert harbour.thing("a").calls == 1


def test_a_refused_operation_needs_a_new_plan(harbour: Harbour):
    operation = harbour.journal.create(plan_of("a"), origin="test")
    harbour.how["a"] = {"forbidden": "not fit"}
    with pytest.raises(Exception, match="not fit"):
        harbour.act(operation)

    with pytest.raises(RefusedError, match="plan anew"):
        harbour.act(harbour.journal.operation(operation.id))


def test_a_frozen_site_parks_the_operation_as_frozen(harbour: Harbour):
    operation = harbour.journal.create(plan_of("a"), origin="test")
    harbour.journal.freeze("harbour", "storm", "me")

    with pytest.raises(FrozenError):
        harbour.act(operation)

    assert harbour.journal.operation(operation.id).reason == "FROZEN"


def test_a_cancel_from_another_process_parks(harbour: Harbour):
    operation = harbour.journal.create(plan_of("a"), origin="test")
    harbour.how["a"] = {"says": "unreachable"}
    other = Journal.open(harbour.folder)
    timer = threading.Timer(0.05, lambda: other.cancel(operation.id, "me"))
    acting = Acting(
        harbour.journal, ThreadsExecutor(), lambda s, _e: patient(harbour.thing(s.target)), "run"
    )
    timer.start()

    with pytest.raises(ParkedError):
        acting.act(operation)

    assert harbour.journal.operation(operation.id).state is OperationState.PARKED


def test_a_cancel_is_heard_although_the_journal_could_not_be_read_before(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
):
    operation = harbour.journal.create(plan_of("a"), origin="test")
    harbour.how["a"] = {"says": "unreachable"}
    answers = iter([OperationalError("", {}, Exception("database is locked")), OSError(5, "no")])

    def asked(_identity: str) -> bool:
        for error in answers:
            raise error
        return True

    monkeypatch.setattr(harbour.journal, "stop_requested", asked)
    acting = Acting(
        harbour.journal, ThreadsExecutor(), lambda s, _e: patient(harbour.thing(s.target)), "run"
    )

    with pytest.raises(ParkedError):
        acting.act(operation)

    assert harbour.journal.operation(operation.id).state is OperationState.PARKED


def patient(thing: Thing) -> Thing:

    long = timedelta(seconds=60)
    return replace(thing, timing=replace(thing.timing, effect=long, goal=long))


def test_an_operation_of_another_version_stops_and_says_so(harbour: Harbour):
    operation = harbour.journal.create(plan_of("a"), origin="test")

    with pytest.raises(NeedsHumanError, match="0\\.0"):
        harbour.act(replace(operation, version="0.0.9"))

    assert harbour.journal.operation(operation.id).reason == "CODE_CHANGED"


def test_a_failpoint_at_a_real_site_is_refused(harbour: Harbour, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WINDLASS_FAILPOINT", "make/a:post_intent=raise")
    operation = harbour.journal.create(plan_of("a"), origin="test")

    with pytest.raises(RefusedError, match="no lab"):
        harbour.act(operation)


def test_a_failpoint_that_means_nothing_is_bad_input(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WINDLASS_FAILPOINT", "make/a:sometime=raise")
    operation = harbour.journal.create(plan_of("a"), origin="test")

    with pytest.raises(BadInputError, match="pre_intent"):
        harbour.act(operation, lab=True)


def test_limits_hold_while_everything_else_runs_side_by_side():
    plan = plan_of(*[f"t{i}" for i in range(6)], chain=False)
    plan = replace(
        plan, steps=tuple(replace(s, limits=("host:h1",)) for s in plan), limits={"host:h1": 2}
    )
    gauge = _Gauge()

    ThreadsExecutor().run(plan, gauge.run, Event())

    assert (gauge.most, gauge.done) == (2, 6)


class _Gauge:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = self.most = self.done = 0

    def run(self, _step: Step) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        Event().wait(0.03)
        with self._lock:
            self._now -= 1
            self.done += 1


@pytest.mark.parametrize(
    ("policy", "risk", "asked"),
    [
        ("always", Risk.SAFE, True),
        ("never", Risk.DESTRUCTIVE, False),
        ("by-risk", Risk.SAFE, False),
        ("by-risk", Risk.DISRUPTIVE, True),
        ("by-risk", Risk.DESTRUCTIVE, True),
    ],
)
def test_who_must_be_asked(policy: str, risk: Risk, asked: bool):
    plan = plan_of("a")
    plan = Plan("s", "v", {}, tuple(replace(step, risk=risk) for step in plan))

    assert needs_approval(plan, policy) is asked  # type: ignore[arg-type]
