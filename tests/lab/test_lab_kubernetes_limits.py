"""What the lab's API server would keep without obeying it is refused by name, or warned of; never kept in silence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.kubernetes_peers import Document, Plane, lab_plane

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SPEC = "spec.validation.openAPIV3Schema.properties[spec]"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
RULE = {"rule": "self.a < self.b"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with lab_plane(tmp_path_factory.mktemp("limits"), "127.27.2.1") as lab:
        yield lab


def definition(spec: Document, **more: Any) -> Document:
    root = {"type": "object", "properties": {"spec": spec}}
    version: Document = {"name": "v1", "served": True, "storage": True}
    return {
        "metadata": {"name": "things.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{**version, "schema": {"openAPIV3Schema": root}}],
            **more,
        },
    }


@pytest.mark.parametrize(
    ("spec", "lacking"),
    [
        (
            {"type": "object", "x-kubernetes-validations": [RULE]},
            f"CEL rules ({SPEC}.x-kubernetes-validations)",
        ),
        (
            {"type": "array", "items": {"type": "object", "x-kubernetes-validations": [RULE]}},
            f"CEL rules ({SPEC}.items.x-kubernetes-validations)",
        ),
        (
            {"type": "object", "properties": {"to": {"type": "string", "format": "email"}}},
            f"the format email ({SPEC}.properties[to].format)",
        ),
        (
            {"type": "string", "anyOf": [{"format": "hostname"}, {"maxLength": 3}]},
            f"the format hostname ({SPEC}.anyOf[0].format)",
        ),
        (
            {"type": "string", "pattern": r"^\p{L}+$"},
            rf"the regular expression ^\p{{L}}+$ ({SPEC}.pattern)",
        ),
    ],
)
def test_a_schema_that_would_not_be_obeyed_is_refused(plane: Plane, spec: Document, lacking: str):
    answer = plane.post(DEFINITIONS, definition(spec))

    assert (answer.code, answer.doc["reason"]) == (501, "NotImplemented")
    assert answer.doc["message"] == f"the lab's Kubernetes API does not have {lacking}"
    assert plane.get(f"{DEFINITIONS}/things.example.org").code == 404


def test_a_definition_cannot_turn_to_what_is_not_obeyed(plane: Plane):
    plain = definition({"type": "object", "properties": {"a": {"type": "string"}}})
    plane.post(DEFINITIONS, plain).ok()
    ruled = definition({"type": "object", "x-kubernetes-validations": [RULE]})

    answer = plane.merge(f"{DEFINITIONS}/things.example.org", ruled)

    assert answer.code == 501
    plane.delete(f"{DEFINITIONS}/things.example.org").ok()


def test_conversion_webhooks_are_refused(plane: Plane):
    webhook = {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}}

    answer = plane.post(DEFINITIONS, definition({"type": "object"}, conversion=webhook))

    assert answer.code == 501
    assert "conversion webhooks (spec.conversion.strategy)" in answer.doc["message"]


@pytest.mark.parametrize(
    ("path", "kind", "lacking"),
    [
        (f"{ADMISSION}/mutatingwebhookconfigurations", "MutatingWebhookConfiguration", "webhooks"),
        (
            f"{ADMISSION}/validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            "webhooks",
        ),
        (f"{ADMISSION}/validatingadmissionpolicies", "ValidatingAdmissionPolicy", "policies"),
        (
            f"{ADMISSION}/validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
            "policies",
        ),
        ("/api/v1/namespaces/default/resourcequotas", "ResourceQuota", "quotas"),
        ("/api/v1/namespaces/default/limitranges", "LimitRange", "limits"),
    ],
)
def test_admission_that_would_not_happen_is_refused(
    plane: Plane, path: str, kind: str, lacking: str
):
    group = "v1" if path.startswith("/api/") else "admissionregistration.k8s.io/v1"
    applied = {"apiVersion": group, "kind": kind, "metadata": {"name": "a"}}

    answers = [
        plane.post(path, {"metadata": {"name": "a"}}),
        plane.apply(f"{path}/a", applied, "m"),
    ]

    assert [answer.code for answer in answers] == [501, 501]
    for answer in answers:
        assert f"does not have {kind}: " in answer.doc["message"]
        assert f"{lacking} are not evaluated" in answer.doc["message"]
    assert plane.get(path).doc["items"] == []


@pytest.mark.parametrize(
    ("spec", "beyond"),
    [
        ({"completionMode": "Indexed", "completions": 2}, "completionMode"),
        ({"podReplacementPolicy": "Failed"}, "podReplacementPolicy"),
        (
            {"podFailurePolicy": {"rules": [{
                "action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
            }]}},
            "podFailurePolicy",
        ),
    ],
)  # fmt: skip
def test_a_job_that_would_be_run_in_another_way_is_refused(
    plane: Plane, spec: Document, beyond: str
):
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    template = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "nginx:1"}]}

    answer = plane.post(
        jobs, {"metadata": {"name": "j"}, "spec": {"template": {"spec": template}, **spec}}
    )

    assert answer.code == 501
    assert answer.doc["message"] == f"the lab's Kubernetes API does not have Job: {beyond}"
    assert plane.get(f"{jobs}/j").code == 404


def test_requests_are_not_passed_on_to_other_api_servers(plane: Plane):
    path = "/apis/apiregistration.k8s.io/v1/apiservices"
    service = {"namespace": "kube-system", "name": "metrics-server"}
    spec = {"group": "metrics.k8s.io", "version": "v1beta1", "service": service}

    answer = plane.post(path, {"metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": spec})

    assert answer.code == 501
    assert "APIService" in answer.doc["message"]


def test_what_no_controller_looks_after_is_kept_with_a_warning(plane: Plane):
    pod = {"containers": [{"name": "c", "image": "x"}], "restartPolicy": "Never"}
    spec = {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": pod}}}}
    path = "/apis/batch/v1/namespaces/default/cronjobs"

    answer = plane.post(path, {"metadata": {"name": "a"}, "spec": spec})

    assert answer.code == 201
    assert answer.headers["Warning"] == (
        '299 - "the lab has no controller for CronJob: it makes no jobs"'
    )


def test_a_restart_keeps_what_combined_schemas_ask_for(tmp_path: Path):
    spec: Document = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "anyOf": [{"required": ["a"]}],
    }
    with lab_plane(tmp_path, "127.27.2.2") as first:
        first.post(DEFINITIONS, definition(spec)).ok()

    with lab_plane(tmp_path, "127.27.2.2") as second:
        path = "/apis/example.org/v1/namespaces/default/things"
        thing: Document = {"apiVersion": "example.org/v1", "kind": "Thing"}
        answer = second.post(path, {**thing, "metadata": {"name": "t"}, "spec": {}})

    assert answer.code == 422
    assert '"spec" must validate at least one schema (anyOf)' in answer.doc["message"]
