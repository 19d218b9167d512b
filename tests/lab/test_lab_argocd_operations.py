"""The state of operations: retries, and an end that somebody asks for."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.argocd_stories import HEAL, application, is_well, settings, web
from tests.lab.gitops_fixture import GitOpsLab, gitops
from windlass.lab.controllers.resources import APPLICATIONS, CONFIG_MAPS, DEPLOYMENTS

END = {"status": {"operationState": {"phase": "Terminating"}}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitOpsLab]:
    with gitops(tmp_path_factory.mktemp("operations"), "127.17.3.6") as found:
        yield found


@pytest.fixture
def lab(cluster: GitOpsLab) -> Iterator[GitOpsLab]:
    yield cluster
    cluster.clear()


def start(lab: GitOpsLab, name: str, retry: dict[str, Any]) -> None:
    policy = {"automated": HEAL, "syncOptions": ["CreateNamespace=true"], "retry": retry}
    lab.do(lab.client.create(APPLICATIONS, application(name, syncPolicy=policy)))


def terminate(lab: GitOpsLab, name: str) -> None:
    lab.do(lab.client.merge(APPLICATIONS.ref(name, "argocd"), END))


def phase(lab: GitOpsLab, name: str) -> str:
    return lab.says(name, "operationState", "phase") or ""


def test_an_operation_is_retried_as_its_policy_says_and_counts(lab: GitOpsLab):
    lab.fault("argocd-sync-failed", app="counts", message="no")
    lab.commit({"counts/x.yaml": settings("x")})

    start(lab, "counts", {"limit": 2, "backoff": {"duration": "30s", "factor": 1}})

    lab.until("a retry", lambda: lab.says("counts", "operationState", "retryCount") == 1)
    state = lab.says("counts", "operationState")
    assert state["phase"] == "Running"
    assert state["finishedAt"]
    assert state["message"].startswith("no. Retrying attempt #1 at ")
    lab.until("the end", lambda: phase(lab, "counts") == "Failed")
    assert lab.says("counts", "operationState", "retryCount") == 2
    assert lab.says("counts", "operationState", "message") == "no (retried 2 times)."


def test_an_operation_without_a_limit_is_retried_until_it_succeeds(lab: GitOpsLab):
    lab.fault("argocd-sync-failed", app="stubborn", message="no")
    commit = lab.commit({"stubborn/x.yaml": settings("x")})
    start(lab, "stubborn", {"limit": -1, "backoff": {"duration": "2s", "factor": 1}})
    lab.until("retries", lambda: (lab.says("stubborn", "operationState", "retryCount") or 0) > 7)

    lab.clear()

    lab.until("stubborn is well", lambda: is_well(lab, "stubborn", commit))
    assert lab.says("stubborn", "operationState", "retryCount") > 7


def test_a_backoff_that_is_no_duration_ends_the_operation_as_an_error(lab: GitOpsLab):
    lab.fault("argocd-sync-failed", app="odd", message="no")
    lab.commit({"odd/x.yaml": settings("x")})

    start(lab, "odd", {"limit": 2, "backoff": {"duration": "soon"}})

    lab.until("the end", lambda: phase(lab, "odd") == "Error")
    said = "no (failed to retry: unable to parse soon as a duration)"
    assert lab.says("odd", "operationState", "message") == said


def test_an_end_that_is_asked_for_is_not_retried(lab: GitOpsLab):
    lab.fault("argocd-sync-failed", app="ends", message="no")
    lab.commit({"ends/x.yaml": settings("x")})
    start(lab, "ends", {"limit": -1, "backoff": {"duration": "1h"}})
    lab.until("a retry", lambda: lab.says("ends", "operationState", "retryCount") == 1)

    terminate(lab, "ends")

    lab.until("the end", lambda: phase(lab, "ends") == "Failed")
    assert lab.says("ends", "operationState", "message") == "Operation terminated"
    assert "operation" not in lab.app("ends")


def test_an_end_that_is_asked_for_takes_a_running_hook_away(lab: GitOpsLab):
    lab.fault("pod-unready", namespace="hangs")
    hook = web()
    hook["metadata"]["annotations"] = {"argocd.argoproj.io/hook": "PreSync"}
    lab.commit({"hangs/hook.yaml": hook, "hangs/x.yaml": settings("x")})
    start(lab, "hangs", {"limit": 0})
    waits = "waiting for completion of hook apps/Deployment/web"
    lab.until("the hook", lambda: lab.says("hangs", "operationState", "message") == waits)
    shown = lab.says("hangs", "operationState", "syncResult", "resources")
    assert [one["hookPhase"] for one in shown if one["kind"] == "Deployment"] == ["Running"]

    terminate(lab, "hangs")

    lab.until("the end", lambda: phase(lab, "hangs") == "Failed")
    assert lab.says("hangs", "operationState", "message") == "Operation terminated"
    lab.until("gone", lambda: lab.do(lab.client.get(DEPLOYMENTS.ref("web", "hangs"))) is None)
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("x", "hangs"))) is None


def test_an_operation_syncs_with_its_own_options_only(lab: GitOpsLab):
    lab.commit({"own/x.yaml": settings("x")})
    policy = {"syncOptions": ["CreateNamespace=true"]}
    lab.do(lab.client.create(APPLICATIONS, application("own", syncPolicy=policy)))
    lab.until("compared", lambda: lab.says("own", "sync", "status") == "OutOfSync")

    operation = {"operation": {"sync": {"prune": False}}}
    lab.do(lab.client.merge(APPLICATIONS.ref("own", "argocd"), operation))

    lab.until("the end", lambda: phase(lab, "own") == "Failed")
    assert 'namespaces "own" not found' in lab.says("own", "operationState", "message")
