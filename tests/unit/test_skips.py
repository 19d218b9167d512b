"""What is missing is a skip on a person's machine. In CI there are no skips: not one by one, not by module."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.talosctl_peer import need_talosctl
from tests.labs import ROOT
from tests.peers import missing

SKIPS = {
    "helper": "from tests.peers import missing\ndef test_it(): missing('no such thing: make it')",
    "call": "import pytest\ndef test_it(): pytest.skip('no such thing: make it')",
    "mark": (
        "import pytest\n@pytest.mark.skipif(True, reason='no such thing: make it')\ndef test_it(): ..."
    ),
    "fixture": (
        "import pytest\n@pytest.fixture\ndef it(): pytest.skip('no such thing: make it')\n"
        "def test_it(it): ..."
    ),
    "module": "import pytest\npytest.skip('no such thing: make it', allow_module_level=True)",
    "import": "import pytest\npytest.importorskip('absent', reason='no such thing: make it')",
    "unittest": (
        "import unittest\n@unittest.skip('no such thing: make it')\n"
        "class TestIt(unittest.TestCase):\n    def test_it(self): ..."
    ),
}


def outcome(folder: Path, ci: str | None, **files: str) -> tuple[int, str]:
    """How a run of these files with this project's conftest ends, and what it says."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider",
         "-c", str(folder / "pytest.ini"), "--import-mode=importlib", "-rfEs",
         "--continue-on-collection-errors", str(folder)],
        cwd=ROOT, env=environment | {"COLUMNS": "300"} | ({"CI": ci} if ci is not None else {}),
        text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def in_ci(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a run in CI says of all of them."""
    code, said = outcome(tmp_path_factory.mktemp("ci"), "true", **SKIPS)
    assert code == pytest.ExitCode.TESTS_FAILED, said
    return said


@pytest.mark.parametrize("by", list(SKIPS))
def test_ci_skips_nothing(in_ci: str, by: str):
    (line,) = [
        line for line in in_ci.splitlines() if re.match(rf"(FAILED|ERROR) \S*test_{by}.py", line)
    ]

    assert "no such thing: make it" in line
    assert "skipped" not in in_ci.splitlines()[-1]


@pytest.mark.parametrize("ci", [None, "", "false"])
def test_elsewhere_a_skip_says_what_to_install(tmp_path: Path, ci: str | None):
    code, said = outcome(tmp_path, ci, helper=SKIPS["helper"])

    assert code == pytest.ExitCode.OK, said
    assert "no such thing: make it" in said
    assert "1 skipped" in said.splitlines()[-1]


def test_an_expected_failure_is_no_skip(tmp_path: Path):
    text = "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_it(): assert False"

    code, said = outcome(tmp_path, "true", known=text)

    assert code == pytest.ExitCode.OK, said
    assert "1 xfailed" in said.splitlines()[-1]


def test_what_is_missing_fails_in_ci_by_itself(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CI", "1")

    with pytest.raises(pytest.fail.Exception, match="no such thing: make it"):
        missing("no such thing: make it")


def test_a_talosctl_on_the_path_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "talosctl").touch(0o755)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("REALCLIENTS_CACHE", str(tmp_path / "empty"))

    with pytest.raises(pytest.skip.Exception, match="build it with"):
        need_talosctl()
