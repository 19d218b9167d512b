"""What a step makes of a no, or of silence, before anything was sent."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.engine.test_steps import Bench
from tests.unit.engine.worlds import Thing
from windlass.errors import (
    DeniedError,
    NotReadyError,
    PreflightError,
    RefusedError,
    UnreachableError,
)
from windlass.models.plan import JsonObject


@dataclass
class Liar(Thing):
    """Its call does its work and says that nothing was sent."""

    def effect(self) -> JsonObject | None:
        super().effect()
        raise UnreachableError("no connection")


@dataclass
class Guarded(Thing):
    """Its preconditions raise what they are told, `often` times."""

    why: Exception | None = None
    often: int = 1

    def preconditions(self) -> None:
        self.often -= 1
        if self.why is not None and self.often >= 0:
            raise self.why


@dataclass
class Strange(Thing):
    """What it should make is somebody else's."""

    def goal(self) -> JsonObject:
        raise RefusedError("this is somebody else's")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home")


def test_a_call_that_lied_about_not_being_sent_is_not_made_again(bench: Bench):
    liar = Liar(bench.folder, "buoy")

    bench.run(liar)

    assert bench.state == "done"
    assert liar.calls == 1


def test_a_refusal_before_anything_was_sent_says_that_the_site_is_not_fit(bench: Bench):
    guarded = Guarded(bench.folder, "buoy", why=RefusedError("it was taken"))

    with pytest.raises(PreflightError, match="it was taken"):
        bench.run(guarded)

    assert guarded.calls == 0


def test_a_strange_thing_in_the_place_is_no_failure_of_the_step(bench: Bench):
    strange = Strange(bench.folder, "buoy")

    with pytest.raises(PreflightError, match="somebody else's"):
        bench.run(strange)

    assert strange.calls == 0


def test_denied_credentials_do_not_end_the_operation(bench: Bench):
    with pytest.raises(DeniedError):
        bench.run(Guarded(bench.folder, "buoy", why=DeniedError("401")))

    bench.run(Thing(bench.folder, "buoy"))
    assert bench.state == "done"


def test_what_must_not_begin_yet_begins_when_it_may(bench: Bench):
    guarded = Guarded(bench.folder, "buoy", why=NotReadyError("locked"), often=3)

    bench.run(guarded)

    assert bench.state == "done"
    assert guarded.calls == 1
