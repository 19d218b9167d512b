"""What Argo CD's stand-in does not evaluate it refuses, where Argo CD shows what is wrong."""

from collections.abc import Iterator

import pytest

from tests.lab.argocd_stories import HEAL, application, application_set, conditions_of, settings
from tests.lab.gitops_fixture import URL, GitOpsLab, gitops
from windlass.lab.controllers.objects import condition
from windlass.lab.controllers.resources import APPLICATION_SETS, APPLICATIONS, CONFIG_MAPS


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitOpsLab]:
    with gitops(tmp_path_factory.mktemp("refusals"), "127.17.3.2") as found:
        yield found


def test_an_application_with_a_field_that_is_not_evaluated_is_not_compared(lab: GitOpsLab):
    lab.commit({"tool/settings.yaml": settings("tool")})
    source = {"repoURL": URL, "path": "tool", "kustomize": {"images": ["a=b"]}}

    lab.do(
        lab.client.create(
            APPLICATIONS, application("tool", source=source, syncPolicy={"automated": HEAL})
        )
    )

    lab.until("compared", lambda: lab.says("tool", "sync", "status") == "Unknown")
    said = "the lab does not evaluate spec.source.kustomize.images"
    assert conditions_of(lab, "tool") == {"ComparisonError": said}
    assert lab.says("tool", "operationState") is None
    assert lab.do(lab.client.get(CONFIG_MAPS.ref("tool", "tool"))) is None


def test_an_operation_that_asks_for_what_is_not_evaluated_ends_as_an_error(lab: GitOpsLab):
    lab.commit({"dry/settings.yaml": settings("dry")})
    lab.do(lab.client.create(APPLICATIONS, application("dry")))
    lab.until("compared", lambda: lab.says("dry", "sync", "status") == "OutOfSync")

    operation = {"operation": {"sync": {"dryRun": True}}}
    lab.do(lab.client.merge(APPLICATIONS.ref("dry", "argocd"), operation))

    lab.until("the end", lambda: lab.says("dry", "operationState", "phase") == "Error")
    said = "the lab does not evaluate operation.sync.dryRun"
    assert lab.says("dry", "operationState", "message") == said
    assert "operation" not in lab.app("dry")


def test_a_set_with_what_is_not_evaluated_makes_no_application_and_says_why(lab: GitOpsLab):
    lab.commit({"patched/a/settings.yaml": settings("patched")})

    lab.do(
        lab.client.create(
            APPLICATION_SETS, application_set("patched", templatePatch="spec: {project: other}")
        )
    )

    def error() -> dict[str, str]:
        found = lab.do(lab.client.get(APPLICATION_SETS.ref("patched", "argocd")))
        return (found and condition(found, "ErrorOccurred")) or {}

    lab.until("an error", lambda: error().get("status") == "True")
    assert error()["message"] == "the lab does not evaluate spec.templatePatch"
    assert lab.do(lab.client.get(APPLICATIONS.ref("patched-a", "argocd"))) is None
