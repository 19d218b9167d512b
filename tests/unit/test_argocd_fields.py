"""What Argo CD's objects ask for and the lab does not evaluate is named, path by path."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from windlass.lab import homelab
from windlass.lab.controllers.argocd.fields import (
    APPLICATION,
    APPLICATION_SET,
    OPERATION,
    PROJECT,
    Fields,
    lacking,
    not_evaluated,
)
from windlass.lab.controllers.argocd.projects import not_evaluated_for

TABLES = {"Application": APPLICATION, "ApplicationSet": APPLICATION_SET, "AppProject": PROJECT}


@pytest.mark.parametrize(
    ("fields", "spec", "named"),
    [
        (APPLICATION, {"source": {"helm": {"values": "a: 1"}}}, ["spec.source.helm"]),
        (APPLICATION, {"source": {"chart": "redis"}}, ["spec.source.chart"]),
        (APPLICATION, {"source": {"kustomize": {"namePrefix": "a-"}}}, ["spec.source.kustomize.namePrefix"]),
        (APPLICATION, {"source": {"directory": {"jsonnet": {"libs": ["x"]}}}}, ["spec.source.directory.jsonnet"]),
        (APPLICATION, {"sources": [{"repoURL": "x"}]}, ["spec.sources"]),
        (APPLICATION, {"syncPolicy": {"automated": {"prun": True}}}, ["spec.syncPolicy.automated.prun"]),
        (
            APPLICATION,
            {"ignoreDifferences": [{"kind": "Job"}, {"jqPathExpressions": [".a"]}]},
            ["spec.ignoreDifferences[1].jqPathExpressions"],
        ),
        (APPLICATION_SET, {"generators": [{"list": {"elements": [{"a": "b"}]}}]}, ["spec.generators[0].list"]),
        (
            APPLICATION_SET,
            {"generators": [{"git": {"files": [{"path": "x"}], "values": {"a": "b"}}}]},
            ["spec.generators[0].git.files", "spec.generators[0].git.values"],
        ),
        (APPLICATION_SET, {"templatePatch": "a", "strategy": {"type": "RollingSync"}},
         ["spec.templatePatch", "spec.strategy"]),
        (OPERATION, {"sync": {"dryRun": True, "manifests": ["a"]}}, ["spec.sync.dryRun", "spec.sync.manifests"]),
        (PROJECT, {"signatureKeys": [{"keyID": "A"}]}, ["spec.signatureKeys"]),
    ],
)  # fmt: skip
def test_what_is_set_and_not_evaluated_is_named(
    fields: Fields, spec: dict[str, Any], named: list[str]
):
    assert list(lacking(spec, fields, "spec")) == named


def test_what_is_empty_asks_for_nothing():
    spec: dict[str, Any] = {
        "source": {"kustomize": {}, "helm": {}, "chart": ""},
        "sources": [],
        "info": None,
    }

    assert list(lacking(spec, APPLICATION, "spec")) == []


def test_every_object_of_the_labs_own_homelab_is_evaluated_whole():
    found = [
        document
        for path in sorted((Path(homelab.__file__).parent / "seed/k8s").rglob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document and document.get("kind") in TABLES
    ]

    assert {one["kind"] for one in found} == set(TABLES)
    for one in found:
        assert list(lacking(one["spec"], TABLES[one["kind"]], "spec")) == []


def test_orphans_are_only_refused_where_there_is_a_namespace_to_look_for_them():
    project = {"metadata": {"name": "all"}, "spec": {"orphanedResources": {"warn": True}}}
    nowhere: dict[str, Any] = {"spec": {"destination": {"server": "x"}}}
    somewhere = {"spec": {"destination": {"server": "x", "namespace": "web"}}}

    assert list(not_evaluated_for(nowhere, project)) == []
    assert list(not_evaluated_for(somewhere, project)) == [
        "spec.orphanedResources.warn of AppProject all"
    ]


def test_one_message_names_all_of_them():
    assert not_evaluated([]) == ""
    assert not_evaluated(["spec.a", "spec.b"]) == "the lab does not evaluate spec.a, spec.b"
