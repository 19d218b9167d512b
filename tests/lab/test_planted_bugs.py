"""For every invariant that must hold, a bug that breaks it: the observer says so, and says nothing without the bug."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.lab.planted import (
    BootstrapOnce,
    BootstrapTwice,
    CarelessReboot,
    CreateVm,
    CreateVmAgain,
    InsistingReboot,
    Reboot,
    SecondReboot,
    StrayingReboot,
    Trial,
    TrustingReboot,
    bootstrap_plan,
    create_plan,
    lab_until,
    reboot_plan,
)
from tests.lab.planted_journals import (
    DeafJournal,
    ForgetfulActing,
    SameEpochJournal,
    SilentJournal,
    UnsyncedJournal,
    WitnessedJournal,
)
from tests.labs import RunningLab
from windlass.engine.journal import Journal
from windlass.engine.operation import Acting

NETWORK, OTHER_NETWORK = "127.41.0.0/16", "127.42.0.0/16"
Case = Callable[[Trial, bool], None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with lab_until("etcd", tmp_path_factory.mktemp("site"), NETWORK, 100) as lab:
        yield lab


@pytest.fixture
def trial(site: RunningLab, tmp_path: Path) -> Iterator[Trial]:
    run = Trial.of(site, tmp_path)
    yield run
    run.calm()


def reboot_while_another_is_down(trial: Trial, planted: bool) -> None:
    trial.power_off("cp-2")
    trial.run(reboot_plan("cp-1"), CarelessReboot if planted else Reboot)


def reboot_two_at_once(trial: Trial, planted: bool) -> None:
    plan = reboot_plan("cp-1", "cp-2", one_by_one=not planted)
    trial.run(plan, SecondReboot if planted else Reboot)


def call_until_there_is_an_answer(trial: Trial, planted: bool) -> None:
    trial.lab.fault("talos-reset-connection", "node=cp-1", "method=Reboot", "when=after", times=1)
    trial.run(reboot_plan("cp-1"), InsistingReboot if planted else Reboot)


def create_a_machine_twice(trial: Trial, planted: bool) -> None:
    trial.run(create_plan(), CreateVmAgain if planted else CreateVm)


def leave_an_operation_running(trial: Trial, planted: bool) -> None:
    trial.run(reboot_plan("cp-1"), Reboot, acting=ForgetfulActing if planted else Acting)


def give_an_epoch_out_twice(trial: Trial, planted: bool) -> None:
    journal = trial.journal(SameEpochJournal if planted else Journal)
    trial.run(reboot_plan("cp-1"), Reboot, journal)


def reboot_what_nobody_planned(trial: Trial, planted: bool) -> None:
    trial.run(reboot_plan("cp-1"), StrayingReboot if planted else Reboot)


def reboot_a_frozen_site(trial: Trial, planted: bool) -> None:
    journal = trial.journal(DeafJournal if planted else Journal)
    journal.freeze("buoy", "somebody looks at it", "somebody")
    trial.run(reboot_plan("cp-1"), Reboot, journal)


def record_no_call(trial: Trial, planted: bool) -> None:
    journal = trial.journal(SilentJournal if planted else Journal)
    trial.run(reboot_plan("cp-1"), Reboot, journal)


def alter_a_record(trial: Trial, planted: bool) -> None:
    trial.run(reboot_plan("cp-1"), Reboot)
    if planted:
        with closing(sqlite3.connect(trial.home / "journal.db")) as db, db:
            db.execute(
                "update records set body = replace(body, 'cp-1', 'cp-2') where kind = 'done'"
            )


def lose_power(trial: Trial, planted: bool) -> None:
    journal = trial.journal(UnsyncedJournal if planted else WitnessedJournal)
    assert isinstance(journal, WitnessedJournal)
    trial.run(reboot_plan("cp-1"), Reboot, journal)
    journal.lose_power()
    trial.told = journal.write_told(trial.home / "told.jsonl")


def take_the_answer_for_the_deed(trial: Trial, planted: bool) -> None:
    trial.run(reboot_plan("cp-1"), TrustingReboot if planted else Reboot)


# The bug, how it is planted, and every invariant that it breaks: no more are reported, and no fewer.
CASES: dict[str, tuple[Case, set[str]]] = {
    "the quorum is not counted": (reboot_while_another_is_down, {"I1"}),
    # With one of three down already, the second takes the quorum too.
    "two at once": (reboot_two_at_once, {"I1", "I2"}),
    "a call without an answer is made again": (call_until_there_is_an_answer, {"I3"}),
    # What no step of the plan does, no record announces.
    "a machine is made again under another number": (create_a_machine_twice, {"I4", "I12", "I23"}),
    "an operation does not say how it ended": (leave_an_operation_running, {"I8"}),
    "an epoch is given out twice": (give_an_epoch_out_twice, {"I10"}),
    "a machine is rebooted that is in no plan": (
        reboot_what_nobody_planned,
        {"I1", "I2", "I12", "I23"},
    ),
    "a freeze is not looked at": (reboot_a_frozen_site, {"I14"}),
    # A reboot that no call announced cannot be what the step says it did.
    "a call is not recorded": (record_no_call, {"I23", "I32"}),
    # The altered record is the one that said of cp-1's step that it is done.
    "a record is altered": (alter_a_record, {"I23", "I32"}),
    # The reboot took place, and the records that announced it are gone.
    "the journal does not sync": (lose_power, {"I23", "I24"}),
    "done is written without looking": (take_the_answer_for_the_deed, {"I32"}),
}
# Without their bugs these are one and the same run.
ALIKE = {
    leave_an_operation_running,
    give_an_epoch_out_twice,
    reboot_what_nobody_planned,
    record_no_call,
    alter_a_record,
}


@pytest.mark.parametrize("bug", CASES)
def test_a_planted_bug_breaks_what_it_breaks_and_nothing_else(trial: Trial, bug: str):
    case, broken = CASES[bug]

    case(trial, True)

    assert trial.violated() == broken


@pytest.mark.parametrize("bug", [bug for bug, (case, _) in CASES.items() if case not in ALIKE])
def test_the_same_run_without_the_bug_violates_nothing(trial: Trial, bug: str):
    case, _ = CASES[bug]

    case(trial, False)

    assert trial.violated() == set()


@pytest.mark.parametrize(
    ("action", "violated"), [(BootstrapTwice, {"I5", "I12", "I23"}), (BootstrapOnce, set[str]())]
)
def test_a_second_bootstrap_of_etcd_is_caught(
    tmp_path: Path, action: type[BootstrapOnce], violated: set[str]
):
    with lab_until("machines", tmp_path / "lab", OTHER_NETWORK, 25) as lab:
        trial = Trial.of(lab, tmp_path)

        trial.run(bootstrap_plan(), action)

        assert trial.violated() == violated
