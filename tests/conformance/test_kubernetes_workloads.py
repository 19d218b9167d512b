"""When workloads are done, late or have failed: upstream's controllers and the lab's, each on its own API.

Nobody runs the pods: the tests say of them what a kubelet would.
"""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conformance.controlled_planes import NAMES, controlled_plane, until
from tests.conformance.kubernetes_peers import Document, Plane

TEMPLATE: Document = {
    "automountServiceAccountToken": False,
    "containers": [{"name": "c", "image": "nginx:1"}],
}


@pytest.fixture(scope="module", params=NAMES)
def plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp(request.param)
    with controlled_plane(request.param, folder, 8, speed=1.0) as controlled:
        yield controlled


@pytest.fixture
def space(plane: Plane) -> str:
    """The path of a new namespace below a group and version."""
    return f"namespaces/{plane.space()}"


def pods(plane: Plane, space: str) -> list[str]:
    """The paths of the pods that are there to stay."""
    found = plane.get(f"/api/v1/{space}/pods").ok()["items"]
    here = [one["metadata"] for one in found if "deletionTimestamp" not in one["metadata"]]
    return [f"/api/v1/{space}/pods/{one['name']}" for one in here]


def report(plane: Plane, pod: str, phase: str = "Running", **status: Any) -> None:
    """What a kubelet would say of a pod."""
    plane.strategic(f"{pod}/status", {"status": {"phase": phase, **status}}).ok()


def report_ready(plane: Plane, pod: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    report(plane, pod, conditions=[{"type": "Ready", "status": "True", "lastTransitionTime": now}])


def status_of(plane: Plane, path: str) -> Document:
    return plane.get(path).ok().get("status", {})


# Jobs


def make_job(plane: Plane, space: str, policy: str = "Never", **spec: Any) -> str:
    """The path of a new job that has all its pods."""
    path = f"/apis/batch/v1/{space}/jobs"
    template = {"spec": {**TEMPLATE, "restartPolicy": policy}}
    plane.post(path, {"metadata": {"name": "j"}, "spec": {"template": template, **spec}}).ok()
    until("its pods are there", lambda: len(pods(plane, space)) == spec.get("parallelism", 1))
    return f"{path}/j"


def outcome(plane: Plane, job: str) -> tuple[str, str, str]:
    """Type, reason and message of how a job ended; empty while it has not."""
    for one in status_of(plane, job).get("conditions", []):
        if one["type"] in ("Complete", "Failed") and one["status"] == "True":
            return one["type"], one["reason"], one.get("message", "")
    return "", "", ""


def test_a_job_that_is_active_for_too_long_fails(plane: Plane, space: str):
    job = make_job(plane, space, activeDeadlineSeconds=2)
    report(plane, pods(plane, space)[0])

    until("it ends", lambda: outcome(plane, job)[0] != "")

    said = "Job was active longer than specified deadline"
    assert outcome(plane, job) == ("Failed", "DeadlineExceeded", said)
    until("its pod goes", lambda: pods(plane, space) == [])


def container(restarts: int) -> Document:
    return {
        "name": "c", "restartCount": restarts, "image": "nginx:1", "imageID": "", "ready": False,
    }  # fmt: skip


@pytest.mark.parametrize(("limit", "fine", "too_many"), [(3, 2, 3), (0, 0, 1)])
def test_restarts_in_a_pod_use_the_patience_of_a_job_up(
    plane: Plane, space: str, limit: int, fine: int, too_many: int
):
    job = make_job(plane, space, "OnFailure", backoffLimit=limit)
    (pod,) = pods(plane, space)

    report(plane, pod, containerStatuses=[container(fine)])
    threading.Event().wait(1.5)
    before = outcome(plane, job)
    report(plane, pod, containerStatuses=[container(too_many)])
    until("it ends", lambda: outcome(plane, job)[0] != "")

    assert before == ("", "", "")
    said = "Job has reached the specified backoff limit"
    assert outcome(plane, job) == ("Failed", "BackoffLimitExceeded", said)


def test_without_a_number_of_completions_the_first_success_starts_no_more(plane: Plane, space: str):
    job = make_job(plane, space, parallelism=2)
    first, second = pods(plane, space)

    report(plane, first, "Succeeded")
    until("it is counted", lambda: status_of(plane, job).get("succeeded") == 1)
    threading.Event().wait(1)
    while_one_runs = outcome(plane, job)[0]
    report(plane, second, "Succeeded")
    until("it ends", lambda: outcome(plane, job)[0] != "")

    assert while_one_runs == ""
    assert outcome(plane, job)[0] == "Complete"
    assert status_of(plane, job)["succeeded"] == 2


# Availability


@pytest.mark.parametrize("kind", ["deployments", "replicasets", "statefulsets"])
def test_a_pod_is_available_when_it_has_been_ready_for_long_enough(
    plane: Plane, space: str, kind: str
):
    path = f"/apis/apps/v1/{space}/{kind}"
    labels = {"app": "a"}
    spec: Document = {"selector": {"matchLabels": labels}, "minReadySeconds": 3}
    spec["template"] = {"metadata": {"labels": labels}, "spec": TEMPLATE}
    plane.post(path, {"metadata": {"name": "a"}, "spec": spec}).ok()
    until("its pod is there", lambda: len(pods(plane, space)) == 1)

    begin = time.monotonic()
    report_ready(plane, pods(plane, space)[0])
    until("it is ready", lambda: status_of(plane, f"{path}/a").get("readyReplicas") == 1)
    at_first = status_of(plane, f"{path}/a").get("availableReplicas", 0)
    until("it is available", lambda: status_of(plane, f"{path}/a").get("availableReplicas") == 1)

    assert at_first == 0
    # A timestamp has whole seconds only.
    assert time.monotonic() - begin > 1.9


def test_a_rollout_that_does_not_move_is_late(plane: Plane, space: str):
    path = f"/apis/apps/v1/{space}/deployments"
    labels = {"app": "a"}
    spec: Document = {"selector": {"matchLabels": labels}, "progressDeadlineSeconds": 2}
    spec["template"] = {"metadata": {"labels": labels}, "spec": TEMPLATE}
    plane.post(path, {"metadata": {"name": "a"}, "spec": spec}).ok()

    def progress() -> tuple[str, str]:
        conditions = status_of(plane, f"{path}/a").get("conditions", [])
        found = [one for one in conditions if one["type"] == "Progressing"]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")

    until("it moves", lambda: progress()[0] == "True")
    until("it is late", lambda: progress() == ("False", "ProgressDeadlineExceeded"))
    seen = set[tuple[str, str]]()
    for _ in range(15):
        threading.Event().wait(0.1)
        seen.add(progress())
    assert seen == {("False", "ProgressDeadlineExceeded")}
