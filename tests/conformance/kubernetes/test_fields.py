"""What a body says: its fields, their defaults, what is wrong with them, and what is said twice."""

from typing import Any

import pytest

from tests.conformance.kubernetes.makers import cause, config_map, deployment, pod
from tests.conformance.kubernetes_peers import APPLY, JSON_PATCH, MERGE, Plane

Spec = dict[str, Any]


def test_unknown_fields_are_errors_when_asked(plane: Plane, deployments: str):
    doc = deployment("web")
    doc["spec"]["template"]["spec"]["containers"][0]["imag"] = "x"
    doc["spec"]["foo"] = 1

    answer = plane.post(deployments, doc, fieldValidation="Strict")

    assert (answer.code, answer.doc["reason"]) == (400, "BadRequest")
    assert answer.doc["message"] == (
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field '
        '"spec.template.spec.containers[0].imag", unknown field "spec.foo"'
    )


def test_unknown_fields_are_warnings_otherwise(plane: Plane, maps: str):
    answer = plane.post(maps, {**config_map("a"), "dat": {}})

    assert answer.code == 201
    assert answer.headers["Warning"] == '299 - "unknown field \\"dat\\""'
    assert "dat" not in answer.doc


def test_wrong_types_name_the_go_field(plane: Plane, deployments: str):
    answer = plane.post(deployments, deployment("web", replicas="two"))

    assert answer.doc["message"] == (
        'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go '
        "struct field DeploymentSpec.spec.replicas of type int32"
    )


def test_everything_invalid_is_listed(plane: Plane, deployments: str):
    doc = {"metadata": {"name": "web"}, "spec": {"replicas": -1, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {}}}}  # fmt: skip

    answer = plane.post(deployments, doc)

    assert answer.code == 422
    assert [cause["field"] for cause in answer.doc["details"]["causes"]] == [
        "spec.replicas",
        "spec.selector",
        "spec.template.metadata.labels",
        "spec.template.spec.containers",
    ]


def test_recreate_rolls_nothing(plane: Plane, deployments: str):
    plane.post(deployments, deployment("web")).ok()

    answer = plane.merge(f"{deployments}/web", {"spec": {"strategy": {"type": "Recreate"}}})

    assert answer.code == 422
    assert answer.doc["details"]["causes"] == [
        cause(
            "FieldValueForbidden",
            "Forbidden: may not be specified when strategy `type` is 'Recreate'",
            "spec.strategy.rollingUpdate",
        )
    ]


def test_a_selector_is_for_ever(plane: Plane, deployments: str):
    plane.post(deployments, deployment("web")).ok()

    answer = plane.merge(
        f"{deployments}/web", {"spec": {"selector": {"matchLabels": {"app": "x"}}}}
    )

    assert answer.code == 422
    assert {c["field"] for c in answer.doc["details"]["causes"]} == {
        "spec.selector",
        "spec.template.metadata.labels",
    }


@pytest.mark.parametrize(
    ("resource", "spec"),
    [
        ("apps/v1/deployments", deployment("x")["spec"]),
        ("apps/v1/daemonsets", {k: v for k, v in deployment("x")["spec"].items() if k != "replicas"}),
        ("apps/v1/statefulsets", {**deployment("x")["spec"], "serviceName": "x"}),
        ("apps/v1/replicasets", deployment("x")["spec"]),
        ("v1/pods", pod("x")["spec"]),
        ("v1/services", {"ports": [{"port": 80}], "selector": {"a": "b"}, "clusterIP": "None"}),
        ("v1/persistentvolumeclaims", {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}),
        ("policy/v1/poddisruptionbudgets", {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}),
        ("networking.k8s.io/v1/networkpolicies", {"podSelector": {}}),
    ],
)  # fmt: skip
def test_defaults_are_filled_in(plane: Plane, resource: str, spec: Spec):
    group, _, plural = resource.rpartition("/")
    base = f"/api/{group}" if group == "v1" else f"/apis/{group}"
    path = f"{base}/namespaces/{plane.space()}/{plural}"

    made = plane.post(path, {"metadata": {"name": "x"}, "spec": spec}, dryRun="All").ok()

    assert made["spec"] == DEFAULTED[resource]


_POD_SPEC: Spec = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}
_CONTAINER: Spec = {
    "image": "nginx:1",
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "IfNotPresent",
}
_TEMPLATE: Spec = {
    "metadata": {"labels": {"app": "x"}},
    "spec": {
        "containers": [
            {"name": "web", "ports": [{"containerPort": 80, "protocol": "TCP"}], **_CONTAINER}
        ],
        "terminationGracePeriodSeconds": 30,
        **_POD_SPEC,
    },
}
_SELECTOR = {"matchLabels": {"app": "x"}}
_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{why}", "operator": "Exists", "effect": "NoExecute",
     "tolerationSeconds": 300}
    for why in ("not-ready", "unreachable")
]  # fmt: skip
DEFAULTED: dict[str, Spec] = {
    "apps/v1/deployments": {
        "replicas": 0,
        "selector": _SELECTOR,
        "template": _TEMPLATE,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
        },
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    },
    "apps/v1/daemonsets": {
        "selector": _SELECTOR,
        "template": _TEMPLATE,
        "updateStrategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
        },
        "revisionHistoryLimit": 10,
    },
    "apps/v1/statefulsets": {
        "replicas": 0,
        "selector": _SELECTOR,
        "template": _TEMPLATE,
        "serviceName": "x",
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "revisionHistoryLimit": 10,
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
    },
    "apps/v1/replicasets": {"replicas": 0, "selector": _SELECTOR, "template": _TEMPLATE},
    "v1/pods": {
        "containers": [{"name": "c", **_CONTAINER}],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "tolerations": _TOLERATIONS,
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
        **_POD_SPEC,
    },
    "v1/services": {
        "ports": [{"protocol": "TCP", "port": 80, "targetPort": 80}],
        "selector": {"a": "b"},
        "clusterIP": "None",
        "clusterIPs": ["None"],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
    },
    "v1/persistentvolumeclaims": {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "volumeMode": "Filesystem",
    },
    "policy/v1/poddisruptionbudgets": {
        "minAvailable": 1,
        "selector": {"matchLabels": {"a": "b"}},
    },
    "networking.k8s.io/v1/networkpolicies": {"podSelector": {}, "policyTypes": ["Ingress"]},
}


def test_a_service_keeps_its_address(plane: Plane):
    path = f"/api/v1/namespaces/{plane.space()}/services"
    made = plane.post(path, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}).ok()

    kept = plane.merge(f"{path}/s", {"spec": {"ports": [{"port": 81}]}}).ok()
    refused = plane.merge(f"{path}/s", {"spec": {"clusterIP": "10.96.0.77"}})

    assert made["spec"]["clusterIP"].startswith("10.")
    assert kept["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    assert refused.code == 422
    assert "may not change once set" in refused.doc["message"]


# Keys that are said twice

TWICE = b'{"metadata":{"name":"a","labels":{"a":"b"},"labels":{"c":"d"}},"data":{"x":"1","x":"2"},"z":1,"z":2}'
TWICE_YAML = b'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: "1"\n  x: "2"\n'


def test_a_key_said_twice_is_an_error_when_asked(plane: Plane, maps: str):
    answer = plane.call("POST", maps, TWICE, fieldValidation="Strict")

    assert answer.code == 400
    assert answer.doc["message"] == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: duplicate field '
        '"metadata.labels", duplicate field "data.x", unknown field "z"'
    )


def test_a_key_said_twice_is_a_warning_otherwise_and_the_last_one_holds(plane: Plane, maps: str):
    answer = plane.call("POST", maps, TWICE)

    assert answer.ok()["data"] == {"x": "2"}
    assert answer.headers["Warning"] == (
        '299 - "duplicate field \\"metadata.labels\\"", 299 - "duplicate field \\"data.x\\"", '
        '299 - "unknown field \\"z\\""'
    )


def test_a_key_said_twice_in_yaml_is_named_by_its_line(plane: Plane, maps: str):
    asked = {"media": "application/yaml", "fieldValidation": "Strict"}

    posted = plane.call("POST", maps, TWICE_YAML, **asked)
    applied = plane.call(
        "PATCH", f"{maps}/a", TWICE_YAML, **{**asked, "media": APPLY}, fieldManager="m"
    )

    said = 'yaml: unmarshal errors:\n  line 7: key "x" already set in map'
    assert posted.doc["message"].endswith(f"strict decoding error: {said}")
    assert applied.doc["message"] == (
        f"error strict decoding YAML: error converting YAML to JSON: {said}"
    )


def test_a_patch_may_not_say_a_key_twice_either(plane: Plane, maps: str):
    plane.call("POST", maps, {"metadata": {"name": "a"}, "data": {"x": "1"}}).ok()

    merged = plane.call("PATCH", f"{maps}/a", b'{"data":{"x":"2","x":"3"}}', media=MERGE)
    patched = plane.call(
        "PATCH",
        f"{maps}/a",
        b'[{"op":"add","op":"replace","path":"/data/x","value":"4"}]',
        media=JSON_PATCH,
    )

    assert merged.headers["Warning"] == '299 - "duplicate field \\"data.x\\""'
    assert patched.headers["Warning"] == '299 - "json patch duplicate field \\"[0].op\\""'
    assert patched.ok()["data"] == {"x": "4"}
