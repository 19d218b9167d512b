"""Whether a flow run's process lives: known by a lock that the kernel lets go of when it dies."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

from tasks.running import announced, is_alive


def test_a_run_lives_as_long_as_its_block(tmp_path: Path):
    with announced(tmp_path, "run-1"):
        assert is_alive(tmp_path, "run-1")

    assert not is_alive(tmp_path, "run-1")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_killed_run_is_dead_and_forgotten(tmp_path: Path):
    script = (
        "import os, signal, sys; from pathlib import Path; from tasks.running import announced\n"
        "with announced(Path(sys.argv[1]), 'run-1'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, check=False)

    assert (tmp_path / "runs" / "run-1").read_text()
    assert not is_alive(tmp_path, "run-1")
    assert not (tmp_path / "runs" / "run-1").exists()


def test_whoever_looks_while_a_run_begins_never_takes_it_for_dead(tmp_path: Path):
    """It forgets what it takes for dead, so a run that it saw too early would be dead for everybody."""
    over = Event()

    def look() -> None:
        while not over.is_set():
            for path in list((tmp_path / "runs").glob("run-*")):
                is_alive(tmp_path, path.name)

    (tmp_path / "runs").mkdir()
    looker = Thread(target=look)
    looker.start()
    try:
        for number in range(300):
            with announced(tmp_path, f"run-{number}"):
                os.sched_yield()
                assert is_alive(tmp_path, f"run-{number}")
    finally:
        over.set()
        looker.join()
