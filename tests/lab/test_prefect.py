"""Prefect used as Prefect: a run is its plan, an approval is a hash, and a stop is a park."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.labs import ROOT, running_lab
from tests.serving import Serving, serving, until
from tests.sweeping import small_site
from windlass.errors import NotReadyError

NETWORK = "127.66.0.0/16"
ARTIFACTS = ROOT / ".cache" / "artifacts"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Serving]:
    folder = tmp_path_factory.mktemp("prefect")
    more = ["--site", str(small_site(folder))]
    with running_lab(folder, network=NETWORK, more=more) as lab, serving(lab) as served:
        yield served


@pytest.fixture(scope="module")
def booted(served: Serving) -> tuple[str, Any]:
    """A bootstrap that was started, approved and done through the Prefect API: its run and operation."""
    run = served.run(mode="apply", until="kubernetes")
    operation = served.approve(run)
    kind, name, message = served.end_of(run)
    assert kind == "COMPLETED", f"{name}: {message}"
    return run, operation


def test_a_plan_touches_nothing_and_is_shown(served: Serving):
    before = len(served.lab.effects())

    run = served.run(mode="plan")

    assert served.end_of(run)[0] == "COMPLETED"
    assert len(served.lab.effects()) == before
    assert "plan" in _artifacts(served, run)


@pytest.mark.parametrize(
    "given",
    [
        {"decision": "approve", "plan_hash": "sha256:" + "0" * 64},
        {"decision": "approve"},
        {},
    ],
)
def test_an_answer_without_the_right_hash_is_no_approval(served: Serving, given: dict[str, str]):
    run = served.run(mode="apply")
    operation = served.waiting(run)

    said = until("an answer", lambda: _refused(served, run, given))

    assert said["status"] == "REJECT"
    assert not served.journal.is_approved(operation.id)
    served.cancel(run)
    assert served.end_of(run)[0] == "CANCELLED"
    assert served.lab.effects() == []


def _refused(served: Serving, run: str, given: dict[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = served.api.call("POST", f"/flow_runs/{run}/resume", {"run_input": given})
    if said["status"] == "ABORT":
        raise NotReadyError(f"the run does not pause yet: {said}")
    return said


def test_the_run_graph_is_the_plan(served: Serving, booted: tuple[str, Any]):
    run, operation = booted
    wanted = {step.key: set(step.waits_for) for step in operation.plan}

    def drawn() -> dict[str, set[str]]:
        # The server draws the graph some seconds after the run.
        nodes = dict(served.api.call("GET", f"/flow_runs/{run}/graph-v2")["nodes"])
        graph = {
            node["label"]: {
                nodes[parent["id"]]["label"] for parent in node["parents"] if parent["id"] in nodes
            }
            for node in nodes.values()
        }
        if len(graph) < len(wanted):
            raise NotReadyError(f"{len(graph)} of {len(wanted)} steps are drawn")
        return graph

    assert until("the graph", drawn) == wanted


def test_every_step_is_a_task_run_of_its_own(served: Serving, booted: tuple[str, Any]):
    run, operation = booted

    def all_of_them() -> list[str]:
        body = {"flow_runs": {"id": {"any_": [run]}}, "limit": 200}
        found = served.api.call("POST", "/task_runs/filter", body)
        if len(found) < len(operation.plan.steps):
            raise NotReadyError(f"{len(found)} task runs")
        return sorted(one["name"] for one in found)

    assert until("the task runs", all_of_them) == sorted(step.key for step in operation.plan)


def test_plan_progress_and_report_are_artifacts(served: Serving, booted: tuple[str, Any]):
    run, operation = booted

    assert {"plan", "report", f"progress-{operation.id}"} <= set(_artifacts(served, run))


def test_o13_a_completed_run_that_is_retried_does_nothing_again(
    served: Serving, booted: tuple[str, Any]
):
    run, _ = booted
    before = served.lab.effects()

    served.patiently(
        "POST",
        f"/flow_runs/{run}/set_state",
        {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True},
    )
    until("the retry", lambda: _has_run_twice(served, run))

    assert served.end_of(run)[0] == "COMPLETED"
    assert served.lab.effects() == before


def _has_run_twice(served: Serving, run: str) -> None:
    found = served.api.call("GET", f"/flow_runs/{run}")
    if found["run_count"] < 2:
        raise NotReadyError(f"it ran {found['run_count']} times")


def test_o13_a_new_run_with_a_done_operation_does_nothing_again(
    served: Serving, booted: tuple[str, Any]
):
    _, operation = booted
    before = served.lab.effects()

    run = served.run(mode="apply", operation=operation.id)

    assert served.end_of(run)[0] == "COMPLETED"
    assert served.lab.effects() == before


def test_a_browser_shows_each_run_by_its_name_and_state(served: Serving, booted: tuple[str, Any]):
    done, operation = booted
    failed = served.run(mode="plan", operation="nowhere")
    assert served.end_of(failed)[0] == "FAILED"
    ARTIFACTS.mkdir(parents=True, exist_ok=True)

    with _browser(served) as page:
        _look(page, served, done)
        page.get_by_text(f"{len(operation.plan.steps)} Task runs").wait_for()
        page.locator("canvas").first.wait_for()
        page.get_by_text("Waiting for logs...").wait_for(state="hidden")
        page.screenshot(path=str(ARTIFACTS / "bootstrap-done.png"))
        assert _shown(page) == ["buoy: bootstrap, apply", "Completed"]

        _look(page, served, failed)
        page.get_by_text("there is no operation 'nowhere'").first.wait_for()
        page.screenshot(path=str(ARTIFACTS / "bootstrap-failed.png"))
        assert _shown(page) == ["buoy: bootstrap, plan", "Failed"]


def _look(page: Any, served: Serving, run: str) -> None:
    """The page of a run, once it says what the server says of it."""
    found = served.patiently("GET", f"/flow_runs/{run}")
    page.goto(f"{served.api.ui}/runs/flow-run/{run}", wait_until="domcontentloaded")
    for text in (found["name"], found["state"]["name"]):
        page.get_by_text(text, exact=True).first.wait_for()


def _shown(page: Any) -> list[str]:
    """Which names and states of this site's runs are on the page, each by itself."""
    words = ("buoy: bootstrap, apply", "buoy: bootstrap, plan", "Completed", "Failed")
    return [word for word in words if page.get_by_text(word, exact=True).count()]


@contextmanager
def _browser(served: Serving) -> Generator[Any]:
    """A page of a browser that has the server's password."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - it starts a driver of its own

    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed: apt-get install chromium")
    options = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-sync",
        "--no-first-run",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page(viewport={"width": 1600, "height": 1100})
        page.add_init_script(f"localStorage.setItem('prefect-password', btoa('{served.api.auth}'))")
        yield page
        browser.close()


def _artifacts(served: Serving, run: str) -> list[str]:
    found = served.patiently(
        "POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}}
    )
    return [one["key"] for one in found]
