"""A sample of the crash sweep (`make sweep` does all of it), and the other ways in which a process goes away."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.labs import ROOT, RunningLab, running_lab
from tests.sweeping import judged, plan_of, points_of, sample_of, small_site, swept
from windlass.engine.failpoints import VARIABLE
from windlass.engine.journal import Journal

NETWORK = "127.53.0.0/16"
PARKED, FAILED = 4, 6
# Parking may take this long by the book.
PARKS_S = 30


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunningLab]:
    """A lab with one control plane and one worker."""
    with running_lab(tmp_path, network=NETWORK, more=("--site", str(small_site(tmp_path)))) as lab:
        yield lab


def operation(lab: RunningLab) -> str:
    return lab.json("history")[0]["id"]


def resume(
    lab: RunningLab, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return lab.windlass("resume", operation(lab), "--local", "--yes", env=env)


def steps(lab: RunningLab) -> list[str]:
    return [step["key"] for step in lab.json("show", operation(lab))["steps"]]


def test_p1_killed_at_one_point_after_the_other_a_bootstrap_still_ends_with_each_effect_once(
    lab: RunningLab, capsys: pytest.CaptureFixture[str]
):
    sample = sample_of(points_of(plan_of(lab)))

    chain = swept("sample", lab, sample)

    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(sample)} points in {chain.seconds:.0f} s: {', '.join(map(str, sample))}\n"
        )
    assert chain.violations == []
    assert chain.unhit == []


def test_p2_sigterm_parks_within_thirty_seconds_and_a_resume_goes_on(lab: RunningLab):
    keys = [step["key"] for step in plan_of(lab)["steps"]]
    term = {VARIABLE: "proxmox.start-vm/w:mid_effect=term"}

    began = time.monotonic()
    parked = lab.bootstrap(env=term)
    ended = time.monotonic()
    states = {s["key"]: s["state"] for s in lab.json("show", operation(lab))["steps"]}
    history: dict[str, Any] = lab.json("history")[0]
    gone_on = resume(lab)

    assert parked.returncode == PARKED, parked.stdout + parked.stderr
    assert (history["state"], history["reason"]) == ("parked", "PARKED")
    assert states["talos.apply-config/w"] == "pending"
    assert ended - began < PARKS_S
    assert gone_on.returncode == 0, gone_on.stdout + gone_on.stderr
    assert judged(lab, keys) == []


def test_p3_a_stopped_process_is_taken_over_and_finds_itself_fenced_when_it_wakes(lab: RunningLab):
    keys = [step["key"] for step in plan_of(lab)["steps"]]
    stop = {VARIABLE: "talos.apply-config/w:post_intent=stop"}
    sleeper = lab.start("bootstrap", str(lab.site_file), "--apply", "--local", "--yes", env=stop)
    try:
        os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)

        refused = resume(lab)
        taken_over = _until_taken(lab)
        sleeper.send_signal(signal.SIGCONT)
        said, _ = sleeper.communicate(timeout=60)
    finally:
        sleeper.kill()
        sleeper.communicate()

    assert refused.returncode == PARKED
    assert "is held by operation" in refused.stdout + refused.stderr
    assert taken_over.returncode == 0, taken_over.stdout + taken_over.stderr
    assert sleeper.returncode == PARKED, said
    assert judged(lab, keys) == []


def _until_taken(lab: RunningLab) -> "subprocess.CompletedProcess[str]":
    """Resume until the sleeper's lease has run out, or it is clear that nobody can take over."""
    done = resume(lab)
    for _ in range(20):
        if done.returncode != PARKED:
            break
        done = resume(lab)
    return done


def test_p5_a_record_that_finds_no_room_fails_before_the_effect(lab: RunningLab):
    before = len(lab.effects())

    full = lab.bootstrap(env={VARIABLE: "proxmox.download-image/pve1:post_intent=enospc"})

    assert full.returncode == FAILED
    assert "no space left" in full.stdout + full.stderr
    assert len(lab.effects()) == before
    assert Journal.open(lab.home).holder("buoy") is None


def test_p5_where_the_journal_has_no_room_to_grow_nothing_is_begun_and_with_room_it_goes_on(
    lab: RunningLab,
):
    keys = [step["key"] for step in plan_of(lab)["steps"]]
    before = len(lab.effects())
    # A limit on the size of files, in KiB, is a full disk that needs no root: less than is set aside before an effect.
    narrow = ["bash", "-c", 'ulimit -f 2048; exec "$@"', "bash"]

    full = subprocess.run(
        [*narrow, *lab.command("bootstrap", str(lab.site_file), "--apply", "--local", "--yes")],
        env=lab.env(), cwd=ROOT, text=True, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    begun = len(lab.effects()) - before
    with_room = resume(lab)

    assert full.returncode == PARKED
    assert "is full" in full.stdout + full.stderr
    assert begun == 0
    assert with_room.returncode == 0, with_room.stdout + with_room.stderr
    assert judged(lab, keys) == []


def test_p9_a_step_in_which_the_process_dies_three_times_is_not_tried_again_by_itself(
    lab: RunningLab,
):
    kill = {VARIABLE: "talos.secrets/buoy:post_intent=kill9"}
    deaths = [lab.bootstrap(env=kill), resume(lab, kill), resume(lab, kill)]

    fourth = resume(lab)

    assert [death.returncode for death in deaths] == [-signal.SIGKILL] * 3
    assert fourth.returncode == PARKED
    assert "died 3 times in talos.secrets/buoy" in fourth.stdout + fourth.stderr
    assert not (lab.folder / "secrets.yaml").exists()
