"""The same command for a person at a terminal: asked, shown how far it is, and refused by a newer version."""

import os
import pty
import re
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.lab.faulty import FaultyLab, faulty_lab
from tests.labs import ROOT
from windlass.cli import exits
from windlass.engine.journal import Journal

NETWORK = "127.47.0.0/16"
VMS = ("--until", "vms")
PATIENCE_S = 120


@pytest.fixture
def lab(tmp_path: Path) -> Generator[FaultyLab]:
    with faulty_lab(tmp_path, NETWORK) as found:
        found.rewrite({**found.document, "approvals": {"policy": "always"}})
        yield found


def at_a_terminal(lab: FaultyLab, *arguments: str, answers: str = "") -> tuple[int, str]:
    """The exit code, and all that the terminal showed."""
    mine, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "windlass.cli", *arguments],
        cwd=ROOT, env={**lab.env(), "TERM": "xterm-256color", "COLUMNS": "120"}, stdin=its, stdout=its, stderr=its,
    )  # fmt: skip
    os.close(its)
    os.write(mine, answers.encode())
    shown, until = b"", time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if mine not in select.select([mine], [], [], 1)[0]:
            continue
        try:
            shown += os.read(mine, 65536)
        except OSError:
            break
    os.close(mine)
    return process.wait(PATIENCE_S), shown.decode(errors="replace")


def test_a_person_is_asked_and_watches_the_phases_move(lab: FaultyLab):
    code, shown = at_a_terminal(
        lab, "bootstrap", str(lab.site_file), *VMS, "--apply", "--local", answers="yes\n"
    )

    assert code == exits.DONE
    assert "Type yes to approve" in shown
    assert re.search(r"\x1b\[[0-9;]*m", shown), "no colour"
    assert re.search(r"\x1b\[\d*A", shown), "the table is drawn once and never again"
    assert re.search(r"vms\b.*#\] 4/4", shown)
    book = Journal.open(lab.home)
    (approval,) = book.approvals(book.operations()[0].id)
    assert "@" in approval.by


def test_a_person_who_does_not_say_yes_starts_nothing(lab: FaultyLab):
    code, _ = at_a_terminal(
        lab, "bootstrap", str(lab.site_file), *VMS, "--apply", "--local", answers="no\n"
    )

    assert code == exits.STOPPED
    assert lab.oplog() == []


def test_an_operation_of_another_version_is_for_a_person_and_starts_nothing(lab: FaultyLab):
    lab.windlass("bootstrap", str(lab.site_file), *VMS, "--apply", "--local")
    with sqlite3.connect(lab.home / "journal.db") as db:
        db.execute("UPDATE operations SET version = '0.0.9'")
    (operation, *_) = lab.json("history")

    done = lab.windlass("resume", operation["id"], "--local", "--yes")

    (after, *_) = lab.json("history")
    assert done.returncode == exits.NEEDS_HUMAN == 5
    assert "was planned by Windlass 0.0.9" in done.stderr
    assert (after["state"], after["reason"]) == ("needs-human", "CODE_CHANGED")
    assert lab.oplog() == []
