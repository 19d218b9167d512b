"""Sync options and ignored differences: which are obeyed, which are named, what they change."""

from typing import Any

import pytest

from windlass.lab.controllers.argocd.differences import bare, pointers_for, respecting
from windlass.lab.controllers.argocd.options import lacking_annotations, lacking_options, wave_of

SYNC_OPTIONS = "argocd.argoproj.io/sync-options"
JOB = ("batch", "Job", "web", "migrate")


def marked(**annotations: str) -> dict[str, Any]:
    names = {f"argocd.argoproj.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
    return {"kind": "Job", "metadata": {"name": "migrate", "annotations": names}}


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (marked(sync_options="Replace=true, Prune=false,Force=true", sync_wave="1"), []),
        (marked(sync_options="Prune=confirm"), [f"{SYNC_OPTIONS} Prune=confirm"]),
        (marked(sync_options="replace=true"), [f"{SYNC_OPTIONS} replace=true"]),
        (marked(compare_options="IgnoreExtraneous"), []),
        (
            marked(compare_options="IncludeMutationWebhook=true"),
            ["argocd.argoproj.io/compare-options IncludeMutationWebhook=true"],
        ),
        (marked(hook="PreSync,PostDelete"), ["argocd.argoproj.io/hook PostDelete"]),
        (marked(hydrate="normal"), ["the annotation argocd.argoproj.io/hydrate"]),
        (
            {"kind": "Job", "metadata": {"annotations": {"helm.sh/hook": "pre-install"}}},
            ["the annotation helm.sh/hook"],
        ),
        ({"kind": "Job", "metadata": {"annotations": {"example.org/any": "x"}}}, []),
    ],
)
def test_what_an_objects_annotations_ask_for_is_obeyed_or_named(
    document: dict[str, Any], named: list[str]
):
    assert list(lacking_annotations(document)) == named


def test_options_of_a_sync_that_are_not_evaluated_are_named():
    options = ["CreateNamespace=true", "PrunePropagationPolicy=background", "Sharding=true"]

    assert list(lacking_options(options)) == ["the sync option Sharding=true"]


def test_a_wave_that_is_no_number_counts_as_none():
    assert wave_of(marked(sync_wave="-3")) == -3
    assert wave_of(marked(sync_wave="first")) == 0


def test_rules_for_ignored_differences_find_their_objects_by_pattern():
    everywhere = {"group": "*", "kind": "*", "jsonPointers": ["/a"]}
    named = {"group": "batch", "kind": "Job", "name": "other", "jsonPointers": ["/b"]}
    here = {"group": "batch", "kind": "Job", "namespace": "web", "jsonPointers": ["/c", "/d"]}

    assert pointers_for([everywhere, named, here], JOB) == ["/a", "/c", "/d"]


def test_ignored_differences_reach_into_lists_and_escaped_names():
    document: dict[str, Any] = {
        "metadata": {"uid": "1", "labels": {"a/b": "x", "c": "y"}},
        "spec": {"containers": [{"image": "one", "name": "main"}]},
        "status": {"phase": "Running"},
    }

    left = bare(document, ["/metadata/labels/a~1b", "/spec/containers/0/image", "/spec/none/1/x"])

    assert left == {
        "metadata": {"labels": {"c": "y"}, "annotations": {}},
        "spec": {"containers": [{"name": "main"}]},
    }


def test_a_target_that_respects_ignored_differences_has_what_is_live():
    target: dict[str, Any] = {"spec": {"replicas": 1, "list": [{"image": "new"}], "gone": 1}}
    live: dict[str, Any] = {"spec": {"replicas": 5, "list": [{"image": "old"}], "more": {"a": 1}}}
    pointers = ["/spec/replicas", "/spec/list/0/image", "/spec/gone", "/spec/more/a"]

    assert respecting(target, live, pointers) == {
        "spec": {"replicas": 5, "list": [{"image": "old"}], "more": {"a": 1}}
    }
    assert target["spec"]["replicas"] == 1
