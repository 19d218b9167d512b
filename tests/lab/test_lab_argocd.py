"""Argo CD's stand-in: what it syncs, heals, prunes and refuses, and what it says meanwhile."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.argocd_stories import HEAL, conditions_of, is_well, settings, web
from tests.lab.gitops_fixture import URL, GitOpsLab, gitops
from windlass.lab.controllers.objects import items
from windlass.lab.controllers.resources import APPLICATIONS, CONFIG_MAPS, DEPLOYMENTS, PROJECTS


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitOpsLab]:
    with gitops(tmp_path_factory.mktemp("gitops"), "127.17.3.1") as lab:
        yield lab


@pytest.fixture
def lab(cluster: GitOpsLab) -> Iterator[GitOpsLab]:
    yield cluster
    cluster.clear()


def test_an_automated_application_is_synced_and_healthy_at_its_commit(lab: GitOpsLab):
    commit = lab.commit({"one/web.yaml": web(2), "one/settings.yaml": settings("one", a="1")})

    lab.make_app("one", "one", automated=HEAL)

    lab.until("one is well", lambda: is_well(lab, "one", commit))
    kinds = {entry["kind"] for entry in lab.says("one", "resources")}
    assert kinds == {"Deployment", "ConfigMap"}
    assert lab.says("one", "operationState", "syncResult", "revision") == commit


def test_what_somebody_changes_by_hand_is_healed(lab: GitOpsLab):
    commit = lab.commit({"heal/web.yaml": web(), "heal/settings.yaml": settings("heal", a="1")})
    lab.make_app("heal", "heal", automated=HEAL)
    lab.until("heal is well", lambda: is_well(lab, "heal", commit))
    ref = CONFIG_MAPS.ref("heal", "heal")

    lab.do(lab.client.merge(ref, {"data": {"a": "2"}}))

    lab.until("a is 1", lambda: (lab.do(lab.client.get(ref)) or {})["data"] == {"a": "1"})


def test_what_git_no_longer_has_is_pruned(lab: GitOpsLab):
    before = lab.commit({"prune/keep.yaml": settings("keep"), "prune/go.yaml": settings("go")})
    lab.make_app("prune", "prune", automated=HEAL)
    lab.until("prune is well", lambda: is_well(lab, "prune", before))

    after = lab.commit({"prune/go.yaml": None})
    lab.refresh("prune")

    lab.until("prune is well again", lambda: is_well(lab, "prune", after))
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("go", "prune"))) is None
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("keep", "prune"))) is not None


def test_a_source_that_became_empty_does_not_wipe_out_an_automated_application(lab: GitOpsLab):
    before = lab.commit({"wiped/only.yaml": settings("only"), "wiped/README.md": "kept"})
    lab.make_app("wiped", "wiped", automated=HEAL)
    lab.until("wiped is well", lambda: is_well(lab, "wiped", before))

    after = lab.commit({"wiped/only.yaml": None})
    lab.refresh("wiped")

    lab.until("the condition", lambda: "SyncError" in conditions_of(lab, "wiped"))
    said = f"Skipping sync attempt to [{after}]: auto-sync will wipe out all resources"
    assert conditions_of(lab, "wiped") == {"SyncError": said}
    assert lab.says("wiped", "sync", "status") == "OutOfSync"
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("only", "wiped"))) is not None


def test_a_source_that_may_become_empty_is_pruned_to_nothing(lab: GitOpsLab):
    before = lab.commit({"empty/only.yaml": settings("only"), "empty/README.md": "kept"})
    lab.make_app("empty", "empty", automated={**HEAL, "allowEmpty": True})
    lab.until("empty is well", lambda: is_well(lab, "empty", before))

    after = lab.commit({"empty/only.yaml": None})
    lab.refresh("empty")

    lab.until("empty is well again", lambda: is_well(lab, "empty", after))
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("only", "empty"))) is None


def test_what_keeps_an_application_from_syncing_is_written_once(lab: GitOpsLab):
    lab.fault("argocd-sync-failed", app="once", message="denied by a webhook")
    lab.commit({"once/settings.yaml": settings("once")})
    lab.make_app("once", "once", automated=HEAL)
    lab.until("the condition", lambda: "SyncError" in conditions_of(lab, "once"))
    before = lab.app("once")["metadata"]["resourceVersion"]

    lab.do(asyncio.sleep(1))

    assert lab.app("once")["metadata"]["resourceVersion"] == before


def test_without_automation_nothing_is_synced_until_an_operation_asks_for_a_commit(
    lab: GitOpsLab,
):
    first = lab.commit({"manual/settings.yaml": settings("manual", a="1")})
    lab.commit({"manual/settings.yaml": settings("manual", a="2")})
    lab.make_app("manual", "manual")
    lab.until("compared", lambda: lab.says("manual", "sync", "status") == "OutOfSync")
    assert lab.says("manual", "operationState") is None
    sync = {"revision": first, "syncOptions": ["CreateNamespace=true"]}
    operation = {"operation": {"sync": sync, "initiatedBy": {"username": "test"}}}

    lab.do(lab.client.merge(APPLICATIONS.ref("manual", "argocd"), operation))

    lab.until("synced", lambda: lab.says("manual", "operationState", "phase") == "Succeeded")
    found = lab.do(lab.client.get(CONFIG_MAPS.ref("manual", "manual")))
    assert found is not None
    assert found["data"] == {"a": "1"}
    assert "operation" not in lab.app("manual")


def test_waves_wait_for_each_other_and_hooks_run_between(lab: GitOpsLab):
    hook = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "first", "annotations": {"argocd.argoproj.io/hook": "PreSync"}},
        "spec": {
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "main", "image": "docker.io/library/busybox:1.37"}],
                }
            }
        },
    }
    commit = lab.commit({"waves/hook.yaml": hook, "waves/web.yaml": web()})

    lab.make_app("waves", "waves", automated=HEAL)

    lab.until("waves is well", lambda: is_well(lab, "waves", commit))
    entries = lab.says("waves", "operationState", "syncResult", "resources")
    assert [entry["kind"] for entry in entries] == ["Namespace", "Job", "Deployment"]


def test_a_failed_sync_is_not_tried_again_at_the_same_commit(lab: GitOpsLab):
    lab.fault("argocd-sync-failed", app="fails", message="denied by a webhook")
    lab.commit({"fails/settings.yaml": settings("fails")})

    lab.make_app("fails", "fails", automated=HEAL)

    lab.until("failed", lambda: lab.says("fails", "operationState", "phase") == "Failed")
    lab.until(
        "the condition",
        lambda: "SyncError" in [one["type"] for one in lab.says("fails", "conditions")],
    )
    said = "denied by a webhook (retried 5 times)."
    assert lab.says("fails", "operationState", "message") == said
    assert lab.says("fails", "sync", "status") == "OutOfSync"


def test_a_chart_ends_in_a_comparison_error_that_names_it(lab: GitOpsLab):
    chart = "helmCharts:\n  - name: redis\n    repo: https://charts.example.org\n"
    lab.commit({"chart/kustomization.yaml": chart})

    lab.make_app("chart", "chart", automated=HEAL)

    lab.until("compared", lambda: lab.says("chart", "sync", "status") is not None)
    assert lab.says("chart", "sync", "status") == "Unknown"
    (condition,) = lab.says("chart", "conditions")
    assert condition["type"] == "ComparisonError"
    assert "Helm chart redis" in condition["message"]


def test_an_unreachable_repository_leaves_the_cluster_as_it_is(lab: GitOpsLab):
    commit = lab.commit({"away/settings.yaml": settings("away")})
    lab.make_app("away", "away", automated=HEAL)
    lab.until("away is well", lambda: is_well(lab, "away", commit))

    lab.fault("git-unreachable", url=URL)
    lab.refresh("away")

    lab.until("unknown", lambda: lab.says("away", "sync", "status") == "Unknown")
    assert lab.says("away", "health", "status") == "Healthy"
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("away", "away"))) is not None


@pytest.mark.parametrize(
    ("fault", "health"),
    [("argocd-degraded", "Degraded"), ("argocd-progressing-forever", "Progressing")],
)
def test_faults_decide_what_health_is_reported(lab: GitOpsLab, fault: str, health: str):
    name = fault.removeprefix("argocd-")
    lab.fault(fault, app=name)
    lab.commit({f"{name}/settings.yaml": settings(name)})

    lab.make_app(name, name, automated=HEAL)

    lab.until(health, lambda: lab.says(name, "health", "status") == health)


def test_a_drift_loop_syncs_again_and_again(lab: GitOpsLab):
    lab.fault("argocd-drift-loop", app="drift")
    lab.commit({"drift/settings.yaml": settings("drift")})

    lab.make_app("drift", "drift", automated=HEAL)

    lab.until("three syncs", lambda: len(lab.says("drift", "history") or []) >= 3)


def test_a_project_that_forbids_the_repository_makes_the_spec_invalid(lab: GitOpsLab):
    lab.commit({"closed/settings.yaml": settings("closed")})
    project: dict[str, Any] = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {"name": "closed", "namespace": "argocd"},
        "spec": {"sourceRepos": ["https://git.example.org/other"], "destinations": []},
    }
    lab.do(lab.client.create(PROJECTS, project))
    lab.make_app("closed", "closed", automated=HEAL)

    lab.do(lab.client.merge(APPLICATIONS.ref("closed", "argocd"), {"spec": {"project": "closed"}}))

    def refused() -> bool:
        conditions = items(lab.app("closed"), "status", "conditions")
        return any("is not permitted in project 'closed'" in one["message"] for one in conditions)

    lab.until("an invalid spec", refused)


def test_a_set_makes_an_application_a_folder_and_removes_it_with_the_folder(lab: GitOpsLab):
    lab.commit({"many/a/x.yaml": settings("x"), "many/b/y.yaml": settings("y")})
    template = {
        "metadata": {"name": "many-{{ .path.basename }}"},
        "spec": {
            "project": "default",
            "source": {"repoURL": URL, "targetRevision": "main", "path": "{{ .path.path }}"},
            "destination": {"name": "in-cluster", "namespace": "default"},
            "syncPolicy": {"automated": HEAL},
        },
    }
    directories = [{"path": "many/*"}, {"path": "many/b", "exclude": True}]
    generator = {"git": {"repoURL": URL, "revision": "main", "directories": directories}}
    body: dict[str, Any] = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": "many", "namespace": "argocd"},
        "spec": {"goTemplate": True, "generators": [generator], "template": template},
    }
    resource = lab.do(lab.client.kind("argoproj.io/v1alpha1", "ApplicationSet"))
    assert resource is not None

    lab.do(lab.client.create(resource, body))

    def names() -> set[str]:
        apps = lab.do(lab.client.list(APPLICATIONS, "argocd"))
        return {one["metadata"]["name"] for one in apps if "many" in one["metadata"]["name"]}

    lab.until("one application", lambda: names() == {"many-a"})


def test_a_deployment_that_never_gets_ready_keeps_its_application_progressing(lab: GitOpsLab):
    lab.fault("pod-unready", namespace="slow")
    lab.commit({"slow/web.yaml": web()})

    lab.make_app("slow", "slow", automated=HEAL)

    lab.until("synced", lambda: lab.says("slow", "sync", "status") == "Synced")
    assert lab.says("slow", "health", "status") == "Progressing"
    found = lab.do(lab.client.get(DEPLOYMENTS.ref("web", "slow")))
    assert found is not None
    assert found["status"].get("readyReplicas", 0) == 0
