"""Sync options, of an Application and of single objects, and what the cluster has afterwards."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.argocd_stories import HEAL, application, conditions_of, is_well, settings, web
from tests.lab.gitops_fixture import GitOpsLab, gitops
from windlass.lab.controllers.argocd.differences import LAST_APPLIED
from windlass.lab.controllers.objects import Object, annotations_of, dig
from windlass.lab.controllers.resources import APPLICATIONS, CONFIG_MAPS, DEPLOYMENTS, JOBS

NAMESPACE = "CreateNamespace=true"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitOpsLab]:
    with gitops(tmp_path_factory.mktemp("options"), "127.17.3.3") as found:
        yield found


def asking(document: Object, options: str) -> Object:
    meta = {**document["metadata"], "annotations": {"argocd.argoproj.io/sync-options": options}}
    return {**document, "metadata": meta}


def migration(image: str) -> Object:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": image}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate"},
        "spec": {"template": {"spec": pod}},
    }


def start(
    lab: GitOpsLab, name: str, options: list[str], retry: Object | None = None, **spec: Any
) -> None:
    policy: Object = {"automated": HEAL, "syncOptions": [NAMESPACE, *options]}
    if retry is not None:
        policy["retry"] = retry
    body = application(name, syncPolicy=policy, **spec)
    lab.do(lab.client.create(APPLICATIONS, body))


def result_of(lab: GitOpsLab, name: str, kind: str) -> Object:
    results = lab.says(name, "operationState", "syncResult", "resources")
    return next(one for one in results if one["kind"] == kind)


def test_a_job_that_is_replaced_by_force_runs_anew_with_its_new_image(lab: GitOpsLab):
    options = "Replace=true,Force=true"
    before = lab.commit(
        {"anew/job.yaml": asking(migration("docker.io/library/busybox:1.36"), options)}
    )
    start(lab, "anew", ["ServerSideApply=true"])
    lab.until("anew is well", lambda: is_well(lab, "anew", before))
    first = lab.do(lab.client.get(JOBS.ref("migrate", "anew")))
    assert first is not None
    assert result_of(lab, "anew", "Job")["message"] == "job.batch/migrate created"

    after = lab.commit(
        {"anew/job.yaml": asking(migration("docker.io/library/busybox:1.37"), options)}
    )
    lab.refresh("anew")

    lab.until("anew is well again", lambda: is_well(lab, "anew", after))
    second = lab.do(lab.client.get(JOBS.ref("migrate", "anew")))
    assert second is not None
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert dig(second, "spec", "template", "spec", "containers")[0]["image"].endswith(":1.37")
    assert result_of(lab, "anew", "Job")["message"] == "job.batch/migrate replaced"


def test_what_is_replaced_loses_what_git_does_not_have(lab: GitOpsLab):
    before = lab.commit({"whole/x.yaml": asking(settings("x", a="1"), "Replace=true")})
    start(lab, "whole", ["ServerSideApply=true"])
    lab.until("whole is well", lambda: is_well(lab, "whole", before))
    ref = CONFIG_MAPS.ref("x", "whole")
    lab.do(lab.client.merge(ref, {"data": {"by-hand": "2"}}))

    after = lab.commit({"whole/x.yaml": asking(settings("x", a="3"), "Replace=true")})
    lab.refresh("whole")

    lab.until("whole is well again", lambda: is_well(lab, "whole", after))
    assert (lab.do(lab.client.get(ref)) or {})["data"] == {"a": "3"}


def test_a_job_that_is_replaced_without_force_fails_as_the_api_says(lab: GitOpsLab):
    before = lab.commit(
        {"fixed/job.yaml": asking(migration("docker.io/library/busybox:1.36"), "Replace=true")}
    )
    start(
        lab,
        "fixed",
        ["ServerSideApply=true"],
    )
    lab.until("fixed is well", lambda: is_well(lab, "fixed", before))
    lab.do(
        lab.client.merge(
            APPLICATIONS.ref("fixed", "argocd"), {"spec": {"syncPolicy": {"retry": {"limit": 0}}}}
        )
    )

    lab.commit(
        {"fixed/job.yaml": asking(migration("docker.io/library/busybox:1.37"), "Replace=true")}
    )
    lab.refresh("fixed")

    lab.until("a failure", lambda: lab.says("fixed", "operationState", "phase") == "Failed")
    assert "field is immutable" in result_of(lab, "fixed", "Job")["message"]


def test_client_side_apply_remembers_what_it_applied_and_server_side_apply_does_not(
    lab: GitOpsLab,
):
    own = asking(settings("own", a="1"), "ServerSideApply=true")
    commit = lab.commit({"sides/theirs.yaml": settings("theirs", a="1"), "sides/own.yaml": own})
    start(lab, "sides", [])
    lab.until("sides is well", lambda: is_well(lab, "sides", commit))

    marks = {
        name: annotations_of(lab.do(lab.client.get(CONFIG_MAPS.ref(name, "sides"))) or {})
        for name in ("own", "theirs")
    }

    assert LAST_APPLIED not in marks["own"]
    assert '"data":{"a":"1"}' in marks["theirs"][LAST_APPLIED]
    results = lab.says("sides", "operationState", "syncResult", "resources")
    said = {one["name"]: one["message"] for one in results}
    assert said["own"] == "configmap/own serverside-applied"
    assert said["theirs"] == "configmap/theirs created"


@pytest.mark.parametrize("options", [["ServerSideApply=true"], ["Replace=true"]])
def test_a_large_object_needs_server_side_apply_or_replace(lab: GitOpsLab, options: list[str]):
    name = f"large-{options[0].partition('=')[0].lower()}"
    large = settings("large", a="x" * 262144)
    commit = lab.commit({f"{name}/large.yaml": large})
    start(lab, name, [], retry={"limit": 0})
    lab.until("a failure", lambda: lab.says(name, "operationState", "phase") == "Failed")
    said = (
        'ConfigMap "large" is invalid: metadata.annotations: Too long: may not be more than '
        "262144 bytes"
    )
    assert result_of(lab, name, "ConfigMap")["message"] == said
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("large", name))) is None

    operation = {"operation": {"sync": {"syncOptions": options}}}
    lab.do(lab.client.merge(APPLICATIONS.ref(name, "argocd"), operation))

    lab.until("well", lambda: is_well(lab, name, commit))


def test_an_ignored_difference_is_respected_when_something_else_is_synced(lab: GitOpsLab):
    before = lab.commit({"scaled/web.yaml": web(1), "scaled/x.yaml": settings("x", a="1")})
    rule = {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}
    start(
        lab,
        "scaled",
        ["ServerSideApply=true", "RespectIgnoreDifferences=true"],
        ignoreDifferences=[rule],
    )
    lab.until("scaled is well", lambda: is_well(lab, "scaled", before))
    ref = DEPLOYMENTS.ref("web", "scaled")
    lab.do(lab.client.merge(ref, {"spec": {"replicas": 2}}))

    after = lab.commit({"scaled/x.yaml": settings("x", a="2")})
    lab.refresh("scaled")

    lab.until("scaled is well again", lambda: is_well(lab, "scaled", after))
    assert dig(lab.do(lab.client.get(ref)) or {}, "spec", "replicas") == 2


def test_an_object_that_may_not_be_pruned_stays_and_keeps_its_application_out_of_sync(
    lab: GitOpsLab,
):
    before = lab.commit(
        {"kept/stay.yaml": asking(settings("stay"), "Prune=false"), "kept/x.yaml": settings("x")}
    )
    start(lab, "kept", ["ServerSideApply=true"])
    lab.until("kept is well", lambda: is_well(lab, "kept", before))

    lab.commit({"kept/stay.yaml": None})
    lab.refresh("kept")

    def skipped() -> bool:
        found: Any = lab.says("kept", "operationState", "syncResult", "resources")
        results: list[Object] = found or []
        return any(one["message"] == "ignored (no prune)" for one in results)

    lab.until("the prune is skipped", skipped)
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("stay", "kept"))) is not None
    lab.until("out of sync", lambda: lab.says("kept", "sync", "status") == "OutOfSync")


def test_an_option_of_an_object_that_is_not_evaluated_is_named_with_the_object(lab: GitOpsLab):
    lab.commit({"asks/x.yaml": asking(settings("x"), "Prune=confirm")})

    start(lab, "asks", [])

    lab.until("compared", lambda: lab.says("asks", "sync", "status") == "Unknown")
    said = "argocd.argoproj.io/sync-options Prune=confirm of ConfigMap/x"
    assert conditions_of(lab, "asks") == {"ComparisonError": f"the lab does not evaluate {said}"}


def test_an_object_of_two_applications_is_told_of_and_may_fail_the_sync(lab: GitOpsLab):
    commit = lab.commit(
        {"first/x.yaml": {**settings("x"), "metadata": {"name": "x", "namespace": "first"}}}
    )
    start(lab, "first", [])
    lab.until("first is well", lambda: is_well(lab, "first", commit))
    source = {**application("first")["spec"]["source"]}

    start(lab, "second", ["FailOnSharedResource=true"], source=source)

    lab.until("a failure", lambda: lab.says("second", "operationState", "phase") == "Failed")
    lab.until("the warning", lambda: "SharedResourceWarning" in conditions_of(lab, "second"))
    shared = "ConfigMap/x is part of applications argocd/second and first"
    assert conditions_of(lab, "second")["SharedResourceWarning"] == shared
    assert lab.says("second", "operationState", "message").startswith(
        f"Shared resource found: {shared}"
    )
