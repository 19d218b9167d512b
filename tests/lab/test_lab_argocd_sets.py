"""ApplicationSets: what of the template the Applications have, and what others may write into them."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.argocd_stories import application_set, settings
from tests.lab.gitops_fixture import GitOpsLab, gitops
from windlass.lab.controllers.objects import Object, dig
from windlass.lab.controllers.resources import APPLICATION_SETS, APPLICATIONS

FINALIZER = "resources-finalizer.argocd.argoproj.io"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitOpsLab]:
    with gitops(tmp_path_factory.mktemp("sets"), "127.17.3.7") as found:
        yield found


def start(lab: GitOpsLab, name: str, metadata: Object | None = None, **spec: Any) -> None:
    """A set that looks at Git every lab minute, whose template has this metadata beside the name."""
    body = application_set(name, **spec)
    body["spec"]["generators"][0]["git"]["requeueAfterSeconds"] = 60
    body["spec"]["template"]["metadata"] |= metadata or {}
    lab.do(lab.client.create(APPLICATION_SETS, body))


def found(lab: GitOpsLab, name: str) -> Object | None:
    return lab.do(lab.client.get(APPLICATIONS.ref(name, "argocd")))


def change(lab: GitOpsLab, name: str, patch: Object) -> None:
    lab.do(lab.client.merge(APPLICATIONS.ref(name, "argocd"), patch))


def change_template(lab: GitOpsLab, name: str, patch: Object) -> None:
    body = {"spec": {"template": patch}}
    lab.do(lab.client.merge(APPLICATION_SETS.ref(name, "argocd"), body))


def metadata_of(lab: GitOpsLab, name: str, *path: str) -> Any:
    return dig(found(lab, name) or {}, "metadata", *path)


def test_labels_annotations_and_finalizers_of_the_template_are_carried_over(lab: GitOpsLab):
    lab.commit({"full/a/x.yaml": settings("x")})
    meta = {
        "labels": {"folder": "{{path.basename}}"},
        "annotations": {"example.org/from": "{{path}}"},
        "finalizers": [f"{FINALIZER}/background"],
    }

    start(lab, "full", meta)

    lab.until("made", lambda: found(lab, "full-a") is not None)
    assert metadata_of(lab, "full-a", "labels") == {"folder": "a"}
    assert metadata_of(lab, "full-a", "annotations", "example.org/from") == "full/a"
    assert metadata_of(lab, "full-a", "finalizers") == [f"{FINALIZER}/background"]


def test_a_change_of_the_templates_metadata_reaches_the_applications(lab: GitOpsLab):
    lab.commit({"moves/a/x.yaml": settings("x")})
    start(lab, "moves", {"annotations": {"example.org/old": "1"}})
    lab.until("made", lambda: found(lab, "moves-a") is not None)
    fresh = {"annotations": {"example.org/old": None, "example.org/new": "2"}, "labels": {"a": "b"}}

    change_template(lab, "moves", {"metadata": {**fresh, "finalizers": ["example.org/own"]}})

    lab.until("the label", lambda: metadata_of(lab, "moves-a", "labels") == {"a": "b"})
    assert metadata_of(lab, "moves-a", "annotations") == {"example.org/new": "2"}
    assert metadata_of(lab, "moves-a", "finalizers") == ["example.org/own"]
    change_template(lab, "moves", {"metadata": {"finalizers": []}})


def test_what_others_write_into_an_application_goes_unless_it_is_preserved(lab: GitOpsLab):
    lab.commit({"keeps/a/x.yaml": settings("x")})
    kept = {"annotations": ["example.org/kept"], "labels": ["kept"]}
    start(lab, "keeps", preservedFields=kept)
    lab.until("made", lambda: found(lab, "keeps-a") is not None)

    change(
        lab,
        "keeps-a",
        {
            "metadata": {
                "annotations": {
                    "example.org/kept": "1",
                    "example.org/gone": "2",
                    "notified.notifications.argoproj.io": "3",
                },
                "labels": {"kept": "1", "gone": "2"},
            }
        },
    )

    lab.until("the label goes", lambda: metadata_of(lab, "keeps-a", "labels") == {"kept": "1"})
    assert metadata_of(lab, "keeps-a", "annotations") == {
        "example.org/kept": "1",
        "notified.notifications.argoproj.io": "3",
    }


@pytest.mark.parametrize(
    ("policy", "updated", "deleted"),
    [("create-only", False, False), ("create-update", True, False), ("create-delete", False, True)],
)
def test_a_set_changes_and_removes_only_what_its_policy_allows(
    lab: GitOpsLab, policy: str, updated: bool, deleted: bool
):
    lab.commit({f"{policy}/{one}/x.yaml": settings("x") for one in ("a", "b")})
    start(lab, policy, syncPolicy={"applicationsSync": policy})
    lab.until("made", lambda: found(lab, f"{policy}-b") is not None)

    lab.commit({f"{policy}/b/x.yaml": None, f"{policy}/c/x.yaml": settings("x")})
    change_template(lab, policy, {"metadata": {"labels": {"fresh": "yes"}}})

    lab.until("the third", lambda: found(lab, f"{policy}-c") is not None)
    if deleted:
        lab.until("gone", lambda: found(lab, f"{policy}-b") is None)
    assert (metadata_of(lab, f"{policy}-a", "labels") == {"fresh": "yes"}) is updated
    assert (found(lab, f"{policy}-b") is None) is deleted


def test_an_application_that_is_as_its_set_wants_it_is_not_written_again(lab: GitOpsLab):
    lab.commit({"calm/a/x.yaml": settings("x")})
    start(lab, "calm", {"labels": {"a": "b"}})
    lab.until("compared", lambda: (found(lab, "calm-a") or {}).get("status") is not None)
    lab.until("settled", lambda: lab.says("calm-a", "sync", "status") == "OutOfSync")
    before = metadata_of(lab, "calm-a", "generation")
    version = metadata_of(lab, "calm-a", "resourceVersion")

    change(
        lab, "calm-a", {"metadata": {"annotations": {"notified.notifications.argoproj.io": "1"}}}
    )
    later = metadata_of(lab, "calm-a", "resourceVersion")
    lab.commit({"calm/b/x.yaml": settings("x")})
    lab.until("another round", lambda: found(lab, "calm-b") is not None)

    assert later != version
    assert metadata_of(lab, "calm-a", "resourceVersion") == later
    assert metadata_of(lab, "calm-a", "generation") == before
