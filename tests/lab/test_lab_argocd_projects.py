"""An AppProject is asked about every object of its Applications, not only about their destination."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.argocd_stories import HEAL, application, is_well, settings
from tests.lab.gitops_fixture import GitOpsLab, gitops
from windlass.lab.controllers.objects import Object
from windlass.lab.controllers.resources import APPLICATIONS, CONFIG_MAPS, NAMESPACES, PROJECTS

ANY = {"group": "*", "kind": "*"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitOpsLab]:
    with gitops(tmp_path_factory.mktemp("projects"), "127.17.3.5") as found:
        yield found


def start(lab: GitOpsLab, name: str, **rules: Any) -> None:
    """An Application in a project of its name, which allows its namespace unless `rules` say otherwise."""
    project: Object = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": {
            "sourceRepos": ["*"],
            "destinations": [{"server": "*", "namespace": name}],
            "clusterResourceWhitelist": [ANY],
            **rules,
        },
    }
    lab.do(lab.client.create(PROJECTS, project))
    policy = {
        "automated": HEAL,
        "syncOptions": ["CreateNamespace=true"],
        "retry": {"limit": 0},
    }
    body = application(name, project=name, syncPolicy=policy)
    lab.do(lab.client.create(APPLICATIONS, body))


def refusals(lab: GitOpsLab, name: str) -> list[str]:
    lab.until("the end", lambda: lab.says(name, "operationState", "phase") == "Failed")
    said = "one or more synchronization tasks are not valid"
    assert lab.says(name, "operationState", "message") == said
    results = lab.says(name, "operationState", "syncResult", "resources")
    assert {one["status"] for one in results} == {"SyncFailed"}
    return [one["message"] for one in results]


def test_an_object_in_a_namespace_that_the_project_does_not_have_fails_the_sync(lab: GitOpsLab):
    away = {**settings("x"), "metadata": {"name": "x", "namespace": "default"}}
    lab.commit({"away/x.yaml": away, "away/y.yaml": settings("y")})

    start(lab, "away")

    assert refusals(lab, "away") == ["namespace default is not permitted in project 'away'"]
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("x", "default"))) is None
    assert lab.do(lab.client.get(NAMESPACES.ref("away"))) is None
    states = {one["name"]: one["status"] for one in lab.says("away", "resources")}
    assert states == {"x": "Unknown", "y": "OutOfSync"}


def test_a_cluster_kind_that_is_not_listed_fails_the_sync(lab: GitOpsLab):
    role: Object = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "listed"},
        "rules": [],
    }
    lab.commit({"listed/role.yaml": role})

    start(lab, "listed", clusterResourceWhitelist=[{"group": "", "kind": "Namespace"}])

    said = "resource rbac.authorization.k8s.io:ClusterRole is not permitted in project listed"
    assert refusals(lab, "listed") == [said]


def test_even_the_destinations_own_namespace_needs_permission_to_be_made(lab: GitOpsLab):
    lab.commit({"bare/x.yaml": settings("x")})

    start(lab, "bare", clusterResourceWhitelist=[])

    assert refusals(lab, "bare") == ["resource :Namespace is not permitted in project bare"]


def test_what_a_project_no_longer_permits_is_not_pruned(lab: GitOpsLab):
    commit = lab.commit({"shrinks/x.yaml": settings("x"), "shrinks/README.md": "kept"})
    start(lab, "shrinks")
    lab.until("shrinks is well", lambda: is_well(lab, "shrinks", commit))
    rule = {"spec": {"namespaceResourceBlacklist": [{"group": "", "kind": "ConfigMap"}]}}

    lab.do(lab.client.merge(PROJECTS.ref("shrinks", "argocd"), rule))
    after = lab.commit({"shrinks/x.yaml": None})
    lab.refresh("shrinks")

    lab.until("synced", lambda: lab.says("shrinks", "sync", "revision") == after)
    assert lab.says("shrinks", "sync", "status") == "Synced"
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("x", "shrinks"))) is not None


def test_an_object_without_a_namespace_makes_the_spec_invalid(lab: GitOpsLab):
    lab.commit({"nowhere/x.yaml": settings("x")})
    body = application("nowhere", destination={"name": "in-cluster"})

    lab.do(lab.client.create(APPLICATIONS, body))

    lab.until("compared", lambda: bool(lab.says("nowhere", "conditions")))
    (condition,) = lab.says("nowhere", "conditions")
    assert condition["type"] == "InvalidSpecError"
    assert condition["message"] == "Namespace for x /v1, Kind=ConfigMap is missing."
