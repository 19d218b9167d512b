"""Whether a control plane has etcd members: told only where it can be."""

from typing import cast

import pytest

from tasks.talos import BOOTSTRAP_REQUESTED, members_of
from windlass.clients.talos import TalosClient
from windlass.errors import NotReadyError
from windlass.models.talos import EtcdMember, Service

MEMBER = EtcdMember(1, "cp-0", ("https://192.0.2.10:2380",), is_learner=False)


class Plane:
    """A control plane with one etcd service and one member."""

    def __init__(self, state: str | None, *events: str) -> None:
        self._state, self._events = state, events

    def services(self) -> tuple[Service, ...]:
        kubelet = Service("kubelet", "Running", healthy=True)
        if self._state is None:
            return (kubelet,)
        return kubelet, Service("etcd", self._state, healthy=True, events=self._events)

    def etcd_members(self) -> tuple[EtcdMember, ...]:
        return (MEMBER,)


def members(plane: Plane) -> tuple[EtcdMember, ...]:
    return members_of(cast("TalosClient", plane))


def test_an_etcd_that_runs_names_its_members():
    assert members(Plane("Running")) == (MEMBER,)


def test_an_etcd_that_waits_has_none():
    assert members(Plane("Preparing", "Starting service", "Running pre state")) == ()


@pytest.mark.parametrize(
    "state", ["Initialized", "Waiting", "Starting", "Stopping", "Finished", "Failed", "Skipped"]
)
def test_of_any_other_etcd_it_cannot_be_told(state: str):
    with pytest.raises(NotReadyError, match=f"cannot be told: it is {state}: its last words"):
        members(Plane(state, "its last words"))


def test_of_an_etcd_that_was_just_bootstrapped_it_cannot_be_told_yet():
    with pytest.raises(NotReadyError, match="cannot be told"):
        members(Plane("Preparing", BOOTSTRAP_REQUESTED, "Running pre state"))


def test_without_the_service_it_cannot_be_told():
    with pytest.raises(NotReadyError, match="it is absent"):
        members(Plane(None))
