"""For all tests: nothing leaves this machine, and a peer that is missing is a skip here and a failure in CI."""

import importlib.util
import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.peers import in_ci

LOOPBACK = Path(__file__).parent / "loopback"

# In child processes Python does it by itself; in this one it is already too late for that.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(LOOPBACK), *filter(None, [os.environ.get("PYTHONPATH")])]
)
_spec = importlib.util.spec_from_file_location("loopback_guard", LOOPBACK / "sitecustomize.py")
assert _spec is not None
assert _spec.loader is not None
_spec.loader.exec_module(importlib.util.module_from_spec(_spec))

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _without_skips((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _without_skips((yield))


def _without_skips(report: Report) -> Report:
    """In CI a skip is a failure, whoever asked for it and however; an expected failure is no skip."""
    if report.skipped and in_ci() and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI skips nothing: {_reason(report)}"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not run here, a line for each reason: whoever lacks a program is told which."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(_reason(report).removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} not run: {reason}")
