import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from windlass.engine.failpoints import VARIABLE, Failpoints
from windlass.errors import BadInputError, UnreachableError


def failpoints(asked: str) -> Failpoints:
    return Failpoints.of({VARIABLE: asked}, lab=True, stop=threading.Event())


def test_of_several_failpoints_each_fails_at_its_own_place():
    both = failpoints("make/a:post_intent=raise,make/b:post_done=raise")

    both.at("make/a", "post_done")
    both.at("make/b", "post_intent")

    for key, phase in (("make/b", "post_done"), ("make/a", "post_intent")):
        with pytest.raises(UnreachableError, match=f"{key}:{phase}"):
            both.at(key, phase)


def test_a_failpoint_fails_at_the_time_it_names_and_at_no_other():
    second = failpoints("make/a:mid_effect:2=raise")

    second.at("make/a", "mid_effect")
    with pytest.raises(UnreachableError):
        second.at("make/a", "mid_effect")

    second.at("make/a", "mid_effect")


def test_a_process_is_stopped_while_none_of_its_threads_writes(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []

    @contextmanager
    def quiet() -> Generator[None]:
        said.append("quiet")
        yield
        said.append("loud")

    def kill(_pid: int, number: int) -> None:
        said.append(signal.Signals(number).name)

    monkeypatch.setattr(os, "kill", kill)
    stop = Failpoints.of(
        {VARIABLE: "make/a:post_intent=stop"}, lab=True, stop=threading.Event(), quiet=quiet
    )

    stop.at("make/a", "post_intent")

    assert said == ["quiet", "SIGSTOP", "loud"]


def test_a_target_may_have_colons():
    one = failpoints("kubernetes.apply/ClusterRole.system:auth-reader:pre_intent=raise")

    with pytest.raises(UnreachableError):
        one.at("kubernetes.apply/ClusterRole.system:auth-reader", "pre_intent")


@pytest.mark.parametrize("asked", ["", "make/a", "make/a:later=raise", "make/a:pre_intent=raise,"])
def test_what_means_nothing_is_said(asked: str):
    with pytest.raises(BadInputError, match="pre_intent"):
        failpoints(asked)
