"""Hooks and waves of a sync: what runs when, what is told of it, and what is left afterwards."""

from collections.abc import Iterator

import pytest

from tests.lab.argocd_stories import HEAL, application, is_well, settings, web
from tests.lab.gitops_fixture import GitOpsLab, gitops
from windlass.lab.controllers.objects import Object
from windlass.lab.controllers.resources import APPLICATIONS, CONFIG_MAPS, JOBS

HOOK = "argocd.argoproj.io/hook"
POLICY = "argocd.argoproj.io/hook-delete-policy"
WAVE = "argocd.argoproj.io/sync-wave"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitOpsLab]:
    with gitops(tmp_path_factory.mktemp("hooks"), "127.17.3.4") as found:
        yield found


@pytest.fixture
def lab(cluster: GitOpsLab) -> Iterator[GitOpsLab]:
    yield cluster
    cluster.clear()


def marked(document: Object, **annotations: str) -> Object:
    names = {"hook": HOOK, "policy": POLICY, "wave": WAVE}
    marks = {names[key]: value for key, value in annotations.items()}
    return {**document, "metadata": {**document["metadata"], "annotations": marks}}


def job(name: str, image: str = "docker.io/library/busybox:1.37", **annotations: str) -> Object:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": image}]}
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }
    return marked(body, **annotations)


def start(lab: GitOpsLab, name: str, **automated: bool) -> None:
    policy = {
        "automated": {**HEAL, **automated},
        "syncOptions": ["CreateNamespace=true", "ServerSideApply=true"],
        "retry": {"limit": 0},
    }
    lab.do(lab.client.create(APPLICATIONS, application(name, syncPolicy=policy)))


def results(lab: GitOpsLab, name: str) -> list[tuple[str, ...]]:
    """Name, phase of the sync, kind of hook, and state of each result, without the namespace's."""
    keys = ("name", "syncPhase", "hookType", "hookPhase")
    return [
        tuple(one.get(key, "") for key in keys)
        for one in lab.says(name, "operationState", "syncResult", "resources")
        if one["kind"] != "Namespace"
    ]


def ended(lab: GitOpsLab, name: str) -> bool:
    return lab.says(name, "operationState", "phase") in ("Succeeded", "Failed", "Error")


def test_hooks_of_every_phase_are_told_of_with_their_outcome(lab: GitOpsLab):
    files = {
        "phases/before.yaml": job("before", hook="PreSync"),
        "phases/beside.yaml": job("beside", hook="Sync"),
        "phases/after.yaml": job("after", hook="PostSync"),
        "phases/alarm.yaml": job("alarm", hook="SyncFail"),
        "phases/never.yaml": job("never", hook="Skip"),
        "phases/x.yaml": settings("x"),
    }
    commit = lab.commit(files)

    start(lab, "phases")

    lab.until("phases is well", lambda: is_well(lab, "phases", commit))
    assert results(lab, "phases") == [
        ("before", "PreSync", "PreSync", "Succeeded"),
        ("x", "Sync", "", "Succeeded"),
        ("beside", "Sync", "Sync", "Succeeded"),
        ("after", "PostSync", "PostSync", "Succeeded"),
    ]
    said = lab.says("phases", "operationState", "message")
    assert said == "successfully synced (no more tasks)"
    assert lab.do(lab.client.get(JOBS.ref("alarm", "phases"))) is None
    assert lab.do(lab.client.get(JOBS.ref("never", "phases"))) is None


def test_resources_of_the_last_wave_are_not_waited_for(lab: GitOpsLab):
    commit = lab.commit(
        {
            "last/first.yaml": marked(settings("first"), wave="-1"),
            "last/web.yaml": marked(web(), wave="1"),
        }
    )
    lab.fault("pod-unready", namespace="last")

    start(lab, "last")

    lab.until("synced", lambda: lab.says("last", "operationState", "phase") == "Succeeded")
    assert lab.says("last", "operationState", "syncResult", "revision") == commit
    assert results(lab, "last") == [
        ("first", "Sync", "", "Succeeded"),
        ("web", "Sync", "", "Running"),
    ]
    assert lab.says("last", "operationState", "message") == "successfully synced (all tasks run)"


def test_a_hook_that_fails_stops_the_sync_and_starts_the_hooks_for_failures(lab: GitOpsLab):
    broken = "docker.io/library/busybox:1.36"
    lab.fault("pod-crash", namespace="fails", image=broken)
    lab.commit(
        {
            "fails/before.yaml": job("before", broken, hook="PreSync", policy="HookFailed"),
            "fails/x.yaml": settings("x"),
            "fails/alarm.yaml": job("alarm", hook="SyncFail"),
        }
    )

    start(lab, "fails")

    lab.until("the end", lambda: ended(lab, "fails"))
    assert lab.says("fails", "operationState", "phase") == "Failed"
    said = "one or more synchronization tasks completed unsuccessfully"
    assert lab.says("fails", "operationState", "message") == said
    assert results(lab, "fails") == [
        ("before", "PreSync", "PreSync", "Failed"),
        ("alarm", "SyncFail", "SyncFail", "Succeeded"),
    ]
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("x", "fails"))) is None
    lab.until("gone", lambda: lab.do(lab.client.get(JOBS.ref("before", "fails"))) is None)
    assert lab.do(lab.client.get(JOBS.ref("alarm", "fails"))) is not None


def test_hooks_go_when_their_policy_says(lab: GitOpsLab):
    commit = lab.commit(
        {
            "policies/done.yaml": job("done", hook="PostSync", policy="HookSucceeded"),
            "policies/lost.yaml": job("lost", hook="PostSync", policy="HookFailed"),
            "policies/named.yaml": {
                **job("x", hook="PreSync"),
                "metadata": {"generateName": "named-", "annotations": {HOOK: "PreSync"}},
            },
            "policies/x.yaml": settings("x"),
        }
    )

    start(lab, "policies")

    lab.until("policies is well", lambda: is_well(lab, "policies", commit))
    lab.until("gone", lambda: lab.do(lab.client.get(JOBS.ref("done", "policies"))) is None)
    left = lab.do(lab.client.list(JOBS, "policies"))
    names = sorted(one["metadata"]["name"] for one in left)
    assert names[0] == "lost"
    assert names[1].startswith(f"named-{commit[:7]}-presync-")
    assert all("finalizers" not in one["metadata"] for one in left)


def test_self_heal_syncs_what_differs_and_leaves_the_hooks_out(lab: GitOpsLab):
    commit = lab.commit(
        {"heals/before.yaml": job("before", hook="PreSync"), "heals/x.yaml": settings("x", a="1")}
    )
    start(lab, "heals")
    lab.until("heals is well", lambda: is_well(lab, "heals", commit))
    ref = CONFIG_MAPS.ref("x", "heals")

    lab.do(lab.client.merge(ref, {"data": {"a": "2"}}))

    lab.until("healed", lambda: (lab.do(lab.client.get(ref)) or {})["data"] == {"a": "1"})
    lab.until("two syncs", lambda: len(lab.says("heals", "history")) == 2)
    assert results(lab, "heals") == [("x", "Sync", "", "Running")]


def test_what_was_made_last_is_pruned_first(lab: GitOpsLab):
    names = {"early": "-1", "late": "3"}
    files = {f"turns/{name}.yaml": marked(settings(name), wave=at) for name, at in names.items()}
    before = lab.commit({**files, "turns/stay.yaml": settings("stay")})
    start(lab, "turns")
    lab.until("turns is well", lambda: is_well(lab, "turns", before))

    after = lab.commit(dict.fromkeys(files))
    lab.refresh("turns")

    lab.until("turns is well again", lambda: is_well(lab, "turns", after))
    pruned = [
        one["name"]
        for one in lab.says("turns", "operationState", "syncResult", "resources")
        if one["status"] == "Pruned"
    ]
    assert pruned == ["late", "early"]


def test_a_kind_that_the_api_does_not_know_is_found_before_anything_is_applied(lab: GitOpsLab):
    unknown = {"apiVersion": "example.org/v1", "kind": "Gadget", "metadata": {"name": "one"}}
    lab.commit({"kinds/one.yaml": unknown, "kinds/x.yaml": settings("x")})

    start(lab, "kinds")

    lab.until("the end", lambda: ended(lab, "kinds"))
    said = "one or more synchronization tasks are not valid"
    assert lab.says("kinds", "operationState", "message") == said
    assert results(lab, "kinds") == [("one", "Sync", "", "")]
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("x", "kinds"))) is None
