"""Argo CD's decisions that need no cluster: sync windows, projects, templates, health."""

from datetime import UTC, datetime
from typing import Any

import pytest

from windlass.lab.controllers.argocd.health import health_of, worst
from windlass.lab.controllers.argocd.projects import may_sync, permits_destination, permits_kind
from windlass.lab.controllers.argocd.templates import (
    TemplateError,
    directory_parameters,
    filled,
)

SUNDAY_NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
APP: dict[str, Any] = {
    "metadata": {"name": "web"},
    "spec": {"destination": {"name": "in-cluster", "namespace": "web"}},
}


def window(kind: str, schedule: str, duration: str, **more: Any) -> dict[str, Any]:
    """A window of every Application, unless `more` names some."""
    named = more.keys() & {"applications", "namespaces", "clusters"}
    whose = {} if named else {"applications": ["*"]}
    return {"kind": kind, "schedule": schedule, "duration": duration, **whose, **more}


@pytest.mark.parametrize(
    ("windows", "automatic", "manual"),
    [
        ([], True, True),
        ([window("allow", "* * * * *", "24h")], True, True),
        ([window("allow", "0 11 * * 0", "2h")], True, True),
        ([window("allow", "0 2 * * *", "1h")], False, False),
        ([window("allow", "0 2 * * *", "1h", manualSync=True)], False, True),
        ([window("deny", "0 11 * * 7", "90m")], False, False),
        ([window("deny", "0 11 * * *", "90m", manualSync=True)], False, True),
        ([window("deny", "0 2 * * *", "1h")], True, True),
        ([window("allow", "* * * * *", "1h"), window("deny", "0 12 * * *", "1h")], False, False),
        ([window("deny", "* * * * *", "1h", applications=["other-*"])], True, True),
        ([window("deny", "* * * * *", "1h", namespaces=["w*"])], False, False),
        ([window("allow", "0 12 * * *", "1h", timeZone="Asia/Tokyo")], False, False),
        ([window("deny", "* * * * *", "1h", applications=[])], True, True),
        (
            [window("deny", "* * * * *", "1h", applications=["other"], clusters=["in-*"])],
            False,
            False,
        ),
        (
            [
                window(
                    "deny",
                    "* * * * *",
                    "1h",
                    applications=["other"],
                    clusters=["*"],
                    andOperator=True,
                )
            ],
            True,
            True,
        ),
    ],
)
def test_a_sync_is_allowed_as_the_windows_say(
    windows: list[dict[str, Any]], automatic: bool, manual: bool
):
    project = {"spec": {"syncWindows": windows}}

    assert may_sync(APP, project, SUNDAY_NOON, manual=False) is automatic
    assert may_sync(APP, project, SUNDAY_NOON, manual=True) is manual


def test_cluster_kinds_need_permission_and_namespaced_ones_do_not():
    project: dict[str, Any] = {"spec": {}}

    assert not permits_kind(project, "", "Namespace", namespaced=False)
    assert permits_kind(project, "apps", "Deployment", namespaced=True)


def test_a_destination_with_an_exclamation_mark_is_denied():
    anywhere = {"server": "*", "namespace": "*"}
    project = {"spec": {"destinations": [anywhere, {"server": "*", "namespace": "!kube-system"}]}}

    assert permits_destination(project, "web")
    assert not permits_destination(project, "kube-system")


def test_fasttemplate_fills_what_it_knows_and_leaves_the_rest():
    parameters = directory_parameters("k8s/apps/It_Tools", go=False)

    text = "{{path.basename}} {{ path }} {{path[1]}} {{path.basenameNormalized}} {{ other }}"

    assert filled(text, parameters, go=False) == (
        "It_Tools k8s/apps/It_Tools apps it-tools {{ other }}"
    )


def test_go_templates_know_fields_indexes_and_pipes():
    parameters = directory_parameters("k8s/apps/Web", go=True)

    text = "{{ .path.path }} {{.path.basename | lower}} {{ index .path.segments 1 }}"

    assert filled({"name": [text]}, parameters, go=True) == {"name": ["k8s/apps/Web web apps"]}


@pytest.mark.parametrize(
    "text", ["{{ .path.no.thing }}", "{{ .path.path | sha256sum }}", "{{ if .x }}"]
)
def test_go_templates_refuse_what_they_do_not_know(text: str):
    with pytest.raises(TemplateError):
        filled(text, directory_parameters("a/b", go=True), go=True)


def test_go_templates_take_white_space_away_where_a_dash_asks_for_it():
    text = "a {{- .path.path -}} b {{ .path.path }} c"

    assert filled(text, directory_parameters("x", go=True), go=True) == "axb x c"


def test_what_a_go_template_misses_is_an_error_only_if_its_options_say_so():
    parameters = directory_parameters("a/b", go=True)

    assert filled("{{ .path.nothing }}", parameters, go=True) == "<no value>"
    with pytest.raises(TemplateError, match='no entry for key "nothing"'):
        filled("{{ .path.nothing }}", parameters, go=True, options=["missingkey=error"])


def test_an_application_is_as_healthy_as_its_worst_resource():
    assert worst([]) == "Healthy"
    assert worst(["Healthy", "Progressing", "Missing"]) == "Missing"
    assert worst(["Degraded", "Progressing"]) == "Degraded"


def test_a_deployment_past_its_deadline_is_degraded():
    live: dict[str, Any] = {
        "kind": "Deployment",
        "metadata": {"name": "web", "generation": 2},
        "spec": {"replicas": 1},
        "status": {
            "observedGeneration": 2,
            "conditions": [
                {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
            ],
        },
    }

    assert health_of("apps", live) == (
        "Degraded",
        'Deployment "web" exceeded its progress deadline',
    )


def test_a_kind_without_a_check_has_no_health():
    live = {"kind": "ConfigMap", "metadata": {"name": "web"}}

    assert health_of("", live) is None
