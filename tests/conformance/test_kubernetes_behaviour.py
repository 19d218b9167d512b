"""One suite for two API servers: a case counts because it passed on the real one first."""

import threading
from collections.abc import Iterator
from typing import Any

import kubernetes as _official
import pytest

from tests.conformance.kubernetes_peers import Document, Plane, lab_plane, real_plane

Spec = dict[str, Any]

# The official client has no types of its own.
kubernetes: Any = _official


@pytest.fixture(scope="module", params=["realplane", "lab"])
def plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "realplane":
        with real_plane(folder, "127.26.0.2") as real:
            yield real
    else:
        with lab_plane(folder, "127.16.0.2") as lab:
            yield lab


@pytest.fixture
def maps(plane: Plane) -> str:
    """The path of the config maps of a new namespace."""
    return f"/api/v1/namespaces/{plane.space()}/configmaps"


@pytest.fixture
def deployments(plane: Plane) -> str:
    return f"/apis/apps/v1/namespaces/{plane.space()}/deployments"


def config_map(name: str, **data: str) -> Document:
    return {"metadata": {"name": name}, "data": data}


def typed_map(name: str, **data: str) -> Document:
    return {"apiVersion": "v1", "kind": "ConfigMap", **config_map(name, **data)}


def deployment(name: str, **spec: Any) -> Document:
    containers = [{"name": "web", "image": "nginx:1", "ports": [{"containerPort": 80}]}]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": template,
            **spec,
        },
    }


def pod(name: str, **labels: str) -> Document:
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "containers": [{"name": "c", "image": "nginx:1"}],
    }
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def owned(doc: Document, manager: str, operation: str = "Apply") -> Document:
    entries = doc["metadata"]["managedFields"]
    return next(
        e["fieldsV1"] for e in entries if (e["manager"], e["operation"]) == (manager, operation)
    )


def bound_pod(plane: Plane, space: str, name: str, **labels: str) -> str:
    """A pod that a node of the test's own runs; returns its path."""
    path = f"/api/v1/namespaces/{space}/pods"
    doc = pod(name, **labels)
    doc["spec"]["nodeName"] = f"node-{space}"
    node = {"metadata": {"name": doc["spec"]["nodeName"]}}
    plane.post("/api/v1/nodes", node)
    plane.post(path, doc).ok()
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    plane.merge(f"{path}/{name}/status", {"status": ready}).ok()
    return f"{path}/{name}"


# Objects and their bookkeeping


def test_a_new_object_gets_an_identity(plane: Plane, maps: str):
    made = plane.post(maps, config_map("a", x="1"))

    metadata = made.doc["metadata"]
    assert made.code == 201
    assert (made.doc["kind"], made.doc["apiVersion"]) == ("ConfigMap", "v1")
    assert {"uid", "resourceVersion", "creationTimestamp", "namespace"} <= set(metadata)
    assert metadata["managedFields"][0]["fieldsV1"] == {"f:data": {".": {}, "f:x": {}}}
    assert metadata["managedFields"][0]["manager"] == "suite"


def test_a_name_is_made_up_on_request(plane: Plane, maps: str):
    made = plane.post(maps, {"metadata": {"generateName": "job-"}}).ok()

    name = made["metadata"]["name"]
    assert name.startswith("job-")
    assert len(name) == 9


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/absent", None),
        ("DELETE", "/absent", None),
        ("PUT", "/absent", {"metadata": {"name": "absent"}}),
        ("PUT", "/absent", {"metadata": {"name": "other"}}),
        ("POST", "", {"metadata": {}}),
        ("POST", "", {"metadata": {"name": "Upper"}}),
        ("POST", "", {"metadata": {"name": "a", "namespace": "elsewhere"}}),
        ("POST", "", {"metadata": {"name": "a"}, "data": {"x": 1}}),
        ("POST", "", {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}),
        ("GET", "?labelSelector=a b", None),
        ("GET", "?fieldSelector=data.x=1", None),
        ("GET", "?resourceVersion=abc", None),
        ("POST", "/named", {"metadata": {"name": "named"}}),
    ],
)
def test_a_refusal_says_the_same_on_both(plane: Plane, method: str, path: str, body: Any):
    space = plane.space()

    answer = plane.call(method, f"/api/v1/namespaces/{space}/configmaps{path}", body)

    said = {key: answer.doc.get(key) for key in ("code", "reason", "message", "details")}
    assert said == REFUSALS[method, path, str(body)]


def _refusal(code: int, reason: str, message: str, details: Any = None) -> Document:
    return {"code": code, "reason": reason, "message": message, "details": details}


_ABSENT = _refusal(
    404, "NotFound", 'configmaps "absent" not found', {"name": "absent", "kind": "configmaps"}
)
_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def _cause(reason: str, message: str, field: str) -> Document:
    return {"reason": reason, "message": message, "field": field}


REFUSALS: dict[tuple[str, str, str], Document] = {
    ("GET", "/absent", "None"): _ABSENT,
    ("DELETE", "/absent", "None"): _ABSENT,
    ("PUT", "/absent", "{'metadata': {'name': 'absent'}}"): _ABSENT,
    ("PUT", "/absent", "{'metadata': {'name': 'other'}}"): _refusal(
        400,
        "BadRequest",
        "the name of the object (other) does not match the name on the URL (absent)",
    ),
    ("POST", "", "{'metadata': {}}"): _refusal(
        422,
        "Invalid",
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
        {
            "kind": "ConfigMap",
            "causes": [
                _cause(
                    "FieldValueRequired",
                    "Required value: name or generateName is required",
                    "metadata.name",
                )
            ],
        },
    ),
    ("POST", "", "{'metadata': {'name': 'Upper'}}"): _refusal(
        422,
        "Invalid",
        f'ConfigMap "Upper" is invalid: metadata.name: Invalid value: "Upper": {_SUBDOMAIN}',
        {
            "name": "Upper",
            "kind": "ConfigMap",
            "causes": [
                _cause(
                    "FieldValueInvalid", f'Invalid value: "Upper": {_SUBDOMAIN}', "metadata.name"
                )
            ],
        },
    ),
    ("POST", "", "{'metadata': {'name': 'a', 'namespace': 'elsewhere'}}"): _refusal(
        400,
        "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
    ("POST", "", "{'metadata': {'name': 'a'}, 'data': {'x': 1}}"): _refusal(
        400,
        "BadRequest",
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go '
        "struct field ConfigMap.data of type string",
    ),
    ("POST", "", "{'kind': 'Pod', 'apiVersion': 'v1', 'metadata': {'name': 'a'}}"): _refusal(
        400,
        "BadRequest",
        'Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): '
        "unknown conversion",
    ),
    ("GET", "?labelSelector=a b", "None"): _refusal(
        400,
        "BadRequest",
        "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
    ),
    ("GET", "?fieldSelector=data.x=1", "None"): _refusal(
        400,
        "BadRequest",
        '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"',
    ),
    ("GET", "?resourceVersion=abc", "None"): _refusal(
        400,
        "BadRequest",
        'invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": '
        "invalid syntax",
    ),
    ("POST", "/named", "{'metadata': {'name': 'named'}}"): _refusal(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
        {},
    ),
}


def test_a_second_object_by_the_same_name_is_refused(plane: Plane, maps: str):
    plane.post(maps, config_map("a")).ok()

    again = plane.post(maps, config_map("a"))

    assert (again.code, again.doc["reason"]) == (409, "AlreadyExists")
    assert again.doc["message"] == 'configmaps "a" already exists'


def test_a_namespace_must_be_there(plane: Plane):
    answer = plane.post("/api/v1/namespaces/absent/configmaps", config_map("a"))

    assert (answer.code, answer.doc["message"]) == (404, 'namespaces "absent" not found')


def test_an_update_of_an_old_state_conflicts(plane: Plane, maps: str):
    old = plane.post(maps, config_map("a", x="1")).ok()
    plane.merge(f"{maps}/a", {"data": {"x": "2"}}).ok()

    late = plane.put(f"{maps}/a", old)

    assert (late.code, late.doc["reason"]) == (409, "Conflict")
    assert late.doc["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your '
        "changes to the latest version and try again"
    )


def test_a_write_that_changes_nothing_keeps_the_revision(plane: Plane, maps: str):
    made = plane.post(maps, config_map("a", x="1")).ok()

    same = plane.put(f"{maps}/a", made).ok()

    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_a_deletion_may_depend_on_the_uid(plane: Plane, maps: str):
    plane.post(maps, config_map("a")).ok()

    refused = plane.delete(f"{maps}/a", {"preconditions": {"uid": "another"}})

    assert refused.code == 409
    assert refused.doc["message"].startswith(
        'Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition (another) does not match '
        "the UID in record ("
    )


def test_a_deletion_answers_with_a_status(plane: Plane, maps: str):
    uid = plane.post(maps, config_map("a")).ok()["metadata"]["uid"]

    gone = plane.delete(f"{maps}/a").ok()

    assert gone["status"] == "Success"
    assert gone["details"] == {"name": "a", "kind": "configmaps", "uid": uid}


def test_a_dry_run_leaves_nothing_behind(plane: Plane, maps: str):
    plane.post(maps, config_map("a"), dryRun="All").ok()

    assert plane.get(f"{maps}/a").code == 404


def test_generations_count_specs_not_metadata(plane: Plane, deployments: str):
    plane.post(deployments, deployment("web", paused=True)).ok()

    labelled = plane.merge(f"{deployments}/web", {"metadata": {"labels": {"a": "b"}}}).ok()
    changed = plane.merge(f"{deployments}/web", {"spec": {"minReadySeconds": 3}}).ok()

    assert labelled["metadata"]["generation"] == 1
    assert changed["metadata"]["generation"] == 2


# Fields


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
        _cause(
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


# Lists and watches


def test_labels_select(plane: Plane, maps: str):
    for name, tier in (("a", "front"), ("b", "back"), ("c", "front")):
        plane.post(maps, {"metadata": {"name": name, "labels": {"tier": tier}}}).ok()

    def names(selector: str) -> list[str]:
        listed = plane.get(maps, labelSelector=selector).ok()["items"]
        return [one["metadata"]["name"] for one in listed if one["metadata"]["name"] in "abc"]

    assert names("tier=front") == ["a", "c"]
    assert names("tier!=front") == ["b"]
    assert names("tier in (front,back),tier notin (back)") == ["a", "c"]
    assert names("!tier") == []


def test_fields_select(plane: Plane, maps: str):
    for name in "ab":
        plane.post(maps, config_map(name)).ok()

    listed = plane.get(maps, fieldSelector="metadata.name=b").ok()["items"]

    assert [one["metadata"]["name"] for one in listed] == ["b"]


def test_lists_come_in_pages(plane: Plane, maps: str):
    for name in "abc":
        plane.post(maps, {"metadata": {"name": name, "labels": {"mine": "yes"}}}).ok()

    first = plane.get(maps, limit=2, labelSelector="mine").ok()
    rest = plane.get(
        maps, limit=2, labelSelector="mine", **{"continue": first["metadata"]["continue"]}
    ).ok()

    assert [one["metadata"]["name"] for one in first["items"]] == ["a", "b"]
    assert [one["metadata"]["name"] for one in rest["items"]] == ["c"]
    assert "continue" not in rest["metadata"]


def test_a_list_is_not_newer_than_the_world(plane: Plane, maps: str):
    answer = plane.get(maps, resourceVersion="99999999", resourceVersionMatch="NotOlderThan")

    assert (answer.code, answer.doc["reason"]) == (504, "Timeout")
    assert answer.doc["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_a_watch_goes_on_where_a_list_ended(plane: Plane, maps: str):
    revision = plane.get(maps).ok()["metadata"]["resourceVersion"]
    plane.post(maps, config_map("watched", x="1")).ok()
    plane.merge(f"{maps}/watched", {"data": {"x": "2"}}).ok()
    plane.delete(f"{maps}/watched").ok()

    events = plane.events(maps, resourceVersion=revision, fieldSelector="metadata.name=watched")

    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))


def test_leaving_a_selector_is_a_deletion(plane: Plane, maps: str):
    plane.post(maps, {"metadata": {"name": "a", "labels": {"in": "yes"}}}).ok()
    revision = plane.get(maps).ok()["metadata"]["resourceVersion"]
    plane.merge(f"{maps}/a", {"metadata": {"labels": {"in": "no"}}}).ok()
    plane.merge(f"{maps}/a", {"metadata": {"labels": {"in": "yes"}}}).ok()

    events = plane.events(maps, resourceVersion=revision, labelSelector="in=yes")

    assert [event["type"] for event in events] == ["DELETED", "ADDED"]


def test_initial_events_end_with_a_bookmark(plane: Plane, maps: str):
    plane.post(maps, config_map("a")).ok()

    events = plane.events(
        maps, sendInitialEvents="true", resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true", fieldSelector="metadata.name=a",
    )  # fmt: skip

    assert [event["type"] for event in events][:2] == ["ADDED", "BOOKMARK"]
    annotations = events[1]["object"]["metadata"]["annotations"]
    assert annotations == {"k8s.io/initial-events-end": "true"}


def test_initial_events_need_a_match(plane: Plane, maps: str):
    answer = plane.get(maps, watch="1", sendInitialEvents="true")

    assert answer.doc["message"] == (
        'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires '
        "setting resourceVersionMatch to NotOlderThan"
    )


def test_a_live_watch_hears_at_once(plane: Plane, maps: str):
    revision = plane.get(maps).ok()["metadata"]["resourceVersion"]
    writer = threading.Timer(0.5, lambda: plane.post(maps, config_map("late")))
    writer.start()

    events = plane.events(maps, resourceVersion=revision, fieldSelector="metadata.name=late")

    writer.join()
    assert [event["type"] for event in events] == ["ADDED"]


# Patches


def test_a_merge_patch_removes_with_null(plane: Plane, maps: str):
    plane.post(maps, config_map("a", x="1", y="2")).ok()

    patched = plane.merge(f"{maps}/a", {"data": {"x": None, "z": "3"}}).ok()

    assert patched["data"] == {"y": "2", "z": "3"}


def test_a_json_patch_is_all_or_nothing(plane: Plane, maps: str):
    plane.post(maps, config_map("a", x="1")).ok()

    failed = plane.json_patch(
        f"{maps}/a",
        [
            {"op": "replace", "path": "/data/x", "value": "2"},
            {"op": "remove", "path": "/data/absent"},
        ],
    )

    assert (failed.code, failed.doc["reason"]) == (422, "Invalid")
    assert plane.get(f"{maps}/a").ok()["data"] == {"x": "1"}


def test_a_json_patch_tests(plane: Plane, maps: str):
    plane.post(maps, config_map("a", x="1")).ok()

    refused = plane.json_patch(f"{maps}/a", [{"op": "test", "path": "/data/x", "value": "9"}])
    done = plane.json_patch(
        f"{maps}/a",
        [
            {"op": "test", "path": "/data/x", "value": "1"},
            {"op": "add", "path": "/data/y", "value": "2"},
        ],
    ).ok()

    assert refused.code == 422
    assert done["data"] == {"x": "1", "y": "2"}


def test_an_unknown_patch_type_is_refused(plane: Plane, maps: str):
    plane.post(maps, config_map("a")).ok()

    answer = plane.call("PATCH", f"{maps}/a", {}, "text/plain")

    assert (answer.code, answer.doc["reason"]) == (415, "UnsupportedMediaType")


_SIDE = {"name": "side", "image": "side:1"}
_WEB = {"name": "web"}


@pytest.mark.parametrize(
    ("patch", "containers"),
    [
        ([{**_WEB, "image": "nginx:2"}], [("web", "nginx:2"), ("log", "log:1")]),
        ([_SIDE], [("side", "side:1"), ("web", "nginx:1"), ("log", "log:1")]),
        ([{"name": "log", "$patch": "delete"}], [("web", "nginx:1")]),
        ([_SIDE, {"$patch": "replace"}], [("side", "side:1")]),
    ],
)
def test_a_strategic_patch_merges_lists_by_key(
    plane: Plane, deployments: str, patch: list[Document], containers: list[tuple[str, str]]
):
    doc = deployment("web")
    doc["spec"]["template"]["spec"]["containers"].append({"name": "log", "image": "log:1"})
    plane.post(deployments, doc).ok()
    wrapped = {"spec": {"template": {"spec": {"containers": patch}}}}

    patched = plane.strategic(f"{deployments}/web", wrapped).ok()

    found = patched["spec"]["template"]["spec"]["containers"]
    assert [(one["name"], one["image"]) for one in found] == containers


def test_a_strategic_patch_sets_the_order(plane: Plane, deployments: str):
    doc = deployment("web")
    doc["spec"]["template"]["spec"]["containers"].append({"name": "log", "image": "log:1"})
    plane.post(deployments, doc).ok()
    spec = {
        "$setElementOrder/containers": [{"name": "log"}, {"name": "web"}],
        "containers": [{"name": "web", "image": "nginx:3"}],
    }

    patched = plane.strategic(f"{deployments}/web", {"spec": {"template": {"spec": spec}}}).ok()

    found = patched["spec"]["template"]["spec"]["containers"]
    assert [(one["name"], one["image"]) for one in found] == [("log", "log:1"), ("web", "nginx:3")]


def test_a_strategic_patch_retains_keys(plane: Plane, deployments: str):
    plane.post(deployments, deployment("web")).ok()

    patched = plane.strategic(
        f"{deployments}/web", {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    ).ok()

    assert patched["spec"]["strategy"] == {"type": "Recreate"}


def test_a_strategic_patch_takes_from_a_set(plane: Plane, maps: str):
    finalizers = ["example.org/a", "example.org/b"]
    plane.post(maps, {"metadata": {"name": "a", "finalizers": finalizers}}).ok()

    patched = plane.strategic(
        f"{maps}/a", {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.org/a"]}}
    ).ok()

    assert patched["metadata"]["finalizers"] == ["example.org/b"]


# Server-side apply


def test_apply_creates_and_owns(plane: Plane, deployments: str):
    made = plane.apply(f"{deployments}/web", deployment("web"), "gitops")

    assert made.code == 201
    assert owned(made.doc, "gitops") == {
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"web"}': {
                            ".": {},
                            "f:image": {},
                            "f:name": {},
                            "f:ports": {
                                'k:{"containerPort":80,"protocol":"TCP"}': {
                                    ".": {},
                                    "f:containerPort": {},
                                }
                            },
                        }
                    }
                },
            },
        }
    }


def test_apply_conflicts_with_another_manager(plane: Plane, maps: str):
    plane.apply(f"{maps}/a", typed_map("a", x="1"), "one").ok()

    answer = plane.apply(f"{maps}/a", typed_map("a", x="2"), "two")

    assert (answer.code, answer.doc["reason"]) == (409, "Conflict")
    assert answer.doc["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.x'
    assert answer.doc["details"] == {
        "causes": [_cause("FieldManagerConflict", 'conflict with "one"', ".data.x")]
    }


def test_several_conflicts_are_listed(plane: Plane, maps: str):
    plane.apply(f"{maps}/a", typed_map("a", x="1", y="1"), "one").ok()

    answer = plane.apply(f"{maps}/a", typed_map("a", x="2", y="2"), "two")

    assert answer.doc["message"] == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .data.x\n- .data.y'
    )


def test_apply_conflicts_with_an_update(plane: Plane, maps: str):
    plane.post(maps, config_map("a", x="1")).ok()

    answer = plane.apply(f"{maps}/a", typed_map("a", x="2"), "two")

    assert answer.doc["message"] == (
        'Apply failed with 1 conflict: conflict with "suite" using v1: .data.x'
    )


def test_conflicts_with_several_managers_are_grouped(plane: Plane, maps: str):
    plane.apply(f"{maps}/a", typed_map("a", x="1"), "one").ok()
    plane.merge(f"{maps}/a", {"data": {"y": "1"}}).ok()

    answer = plane.apply(f"{maps}/a", typed_map("a", x="2", y="2"), "two")

    assert answer.doc["message"] == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .data.x\n'
        'conflicts with "suite" using v1:\n- .data.y'
    )


def test_labels_that_are_not_applied_any_more_go_alone(plane: Plane, maps: str):
    labelled = typed_map("a", x="1")
    labelled["metadata"]["labels"] = {"tier": "front"}
    plane.apply(f"{maps}/a", labelled, "one").ok()

    applied = plane.apply(f"{maps}/a", typed_map("a", x="1"), "one").ok()

    assert "labels" not in applied["metadata"]
    assert applied["metadata"]["name"] == "a"
    assert applied["data"] == {"x": "1"}


def test_an_applied_list_brings_its_order(plane: Plane, deployments: str):
    doc = deployment("web")
    containers = doc["spec"]["template"]["spec"]["containers"]
    containers += [{"name": "b", "image": "b:1"}, {"name": "c", "image": "c:1"}]
    plane.apply(f"{deployments}/web", doc, "one").ok()
    mine = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    order = [
        {"name": "c", "image": "c:1"},
        {"name": "new", "image": "n:1"},
        {"name": "web", "image": "nginx:1"},
    ]

    both = plane.apply(
        f"{deployments}/web", {**mine, "spec": {"template": {"spec": {"containers": order}}}}, "two"
    ).ok()

    found = both["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in found] == ["b", "c", "new", "web"]


def test_a_forced_apply_takes_over(plane: Plane, maps: str):
    plane.apply(f"{maps}/a", typed_map("a", x="1", y="1"), "one").ok()

    forced = plane.apply(f"{maps}/a", typed_map("a", x="2"), "two", force="true").ok()

    assert forced["data"] == {"x": "2", "y": "1"}
    assert owned(forced, "one") == {"f:data": {"f:y": {}}}
    assert owned(forced, "two") == {"f:data": {"f:x": {}}}


def test_the_same_value_is_owned_by_both(plane: Plane, maps: str):
    plane.apply(f"{maps}/a", typed_map("a", x="1"), "one").ok()

    both = plane.apply(f"{maps}/a", typed_map("a", x="1"), "two").ok()
    left = plane.apply(f"{maps}/a", typed_map("a"), "one").ok()

    assert owned(both, "one") == owned(both, "two") == {"f:data": {"f:x": {}}}
    assert left["data"] == {"x": "1"}


def test_what_is_not_applied_any_more_is_removed(plane: Plane, maps: str):
    plane.apply(f"{maps}/a", typed_map("a", x="1", y="1"), "one").ok()

    applied = plane.apply(f"{maps}/a", typed_map("a", x="1"), "one").ok()

    assert applied["data"] == {"x": "1"}


def test_a_container_that_is_not_applied_any_more_goes_with_its_defaults(
    plane: Plane, deployments: str
):
    doc = deployment("web")
    doc["spec"]["template"]["spec"]["containers"].append({"name": "log", "image": "log:1"})
    plane.apply(f"{deployments}/web", doc, "one").ok()

    applied = plane.apply(f"{deployments}/web", deployment("web"), "one").ok()

    found = applied["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in found] == ["web"]


def test_an_update_takes_a_field_from_an_applier(plane: Plane, deployments: str):
    plane.apply(f"{deployments}/web", deployment("web"), "one").ok()

    scaled = plane.merge(f"{deployments}/web", {"spec": {"replicas": 0, "paused": True}}).ok()
    changed = plane.merge(f"{deployments}/web", {"spec": {"minReadySeconds": 5}}).ok()

    assert owned(scaled, "suite", "Update") == {"f:spec": {"f:paused": {}}}
    assert owned(changed, "suite", "Update") == {
        "f:spec": {"f:minReadySeconds": {}, "f:paused": {}}
    }


def test_an_applied_list_keeps_the_others_elements(plane: Plane, deployments: str):
    plane.apply(f"{deployments}/web", deployment("web"), "one").ok()
    containers = [{"name": "side", "image": "side:1"}]
    mine = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": containers}}}}  # fmt: skip

    both = plane.apply(f"{deployments}/web", mine, "two").ok()

    found = both["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in found] == ["web", "side"]


def test_applying_the_same_again_writes_nothing(plane: Plane, maps: str):
    first = plane.apply(f"{maps}/a", typed_map("a", x="1"), "one").ok()

    again = plane.apply(f"{maps}/a", typed_map("a", x="1"), "one")

    assert again.code == 200
    assert again.doc["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_apply_needs_a_manager(plane: Plane, maps: str):
    answer = plane.call("PATCH", f"{maps}/a", typed_map("a"), "application/apply-patch+yaml")

    assert answer.code == 422
    assert answer.doc["message"] == (
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
    )


def test_conflicts_name_list_elements_by_key(plane: Plane, deployments: str):
    plane.apply(f"{deployments}/web", deployment("web"), "one").ok()
    doc = deployment("web")
    doc["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:9"

    answer = plane.apply(f"{deployments}/web", doc, "two")

    assert answer.doc["message"] == (
        'Apply failed with 1 conflict: conflict with "one": '
        '.spec.template.spec.containers[name="web"].image'
    )


# Subresources


def test_status_is_written_apart(plane: Plane, deployments: str):
    plane.post(deployments, deployment("web", paused=True)).ok()

    ignored = plane.merge(f"{deployments}/web", {"status": {"collisionCount": 7}}).ok()
    written = plane.merge(
        f"{deployments}/web/status",
        {"status": {"collisionCount": 8}, "spec": {"minReadySeconds": 9}},
    ).ok()

    assert "collisionCount" not in ignored["status"]
    assert written["status"]["collisionCount"] == 8
    assert "minReadySeconds" not in written["spec"]
    entry = next(e for e in written["metadata"]["managedFields"] if e.get("subresource"))
    assert entry["subresource"] == "status"


def test_scale_is_a_view_of_replicas(plane: Plane, deployments: str):
    plane.post(deployments, deployment("web", paused=True)).ok()

    scaled = plane.merge(f"{deployments}/web/scale", {"spec": {"replicas": 2}}).ok()

    assert (scaled["kind"], scaled["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scaled["spec"] == {"replicas": 2}
    assert scaled["status"]["selector"] == "app=web"
    assert plane.get(f"{deployments}/web").ok()["spec"]["replicas"] == 2


def test_an_eviction_asks_the_budget(plane: Plane):
    space = plane.space()
    path = bound_pod(plane, space, "p", app="db")
    budget = {"metadata": {"name": "db"}, "spec": {
        "minAvailable": 1, "selector": {"matchLabels": {"app": "db"}}}}  # fmt: skip
    budgets = f"/apis/policy/v1/namespaces/{space}/poddisruptionbudgets"
    plane.post(budgets, budget).ok()
    status = {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1,
              "desiredHealthy": 1, "expectedPods": 1}  # fmt: skip
    plane.merge(f"{budgets}/db/status", {"status": status}).ok()
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}

    refused = plane.post(f"{path}/eviction", eviction)

    assert refused.code == 429
    assert refused.doc["reason"] == "TooManyRequests"
    assert (
        refused.doc["message"]
        == "Cannot evict pod as it would violate the pod's disruption budget."
    )
    assert refused.doc["details"]["causes"] == [
        {
            "reason": "DisruptionBudget",
            "message": "The disruption budget db needs 1 healthy pods and has 1 currently",
        }
    ]
    assert "deletionTimestamp" not in plane.get(path).ok()["metadata"]


def test_two_budgets_are_an_error(plane: Plane):
    space = plane.space()
    path = bound_pod(plane, space, "p", app="db")
    for name in ("one", "two"):
        plane.post(
            f"/apis/policy/v1/namespaces/{space}/poddisruptionbudgets",
            {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": "db"}}}},
        ).ok()
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}

    refused = plane.post(f"{path}/eviction", eviction)

    assert refused.code == 500
    assert "more than one PodDisruptionBudget" in refused.doc["message"]


def test_an_evicted_pod_waits_for_its_kubelet(plane: Plane):
    path = bound_pod(plane, plane.space(), "p", app="db")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}

    evicted = plane.post(f"{path}/eviction", eviction)
    waiting = plane.get(path).ok()["metadata"]
    plane.delete(path, {"gracePeriodSeconds": 0}).ok()

    assert (evicted.code, evicted.doc["status"]) == (201, "Success")
    assert waiting["deletionGracePeriodSeconds"] == 5
    assert waiting["generation"] == 2
    assert plane.get(path).code == 404


def test_a_pod_is_bound_once(plane: Plane):
    space = plane.space()
    path = f"/api/v1/namespaces/{space}/pods"
    doc = pod("p")
    doc["spec"]["schedulerName"] = "nobody"
    plane.post(path, doc).ok()
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}

    first = plane.post(f"{path}/p/binding", binding)
    again = plane.post(f"{path}/p/binding", {**binding, "target": {"kind": "Node", "name": "m"}})

    assert first.code == 201
    assert plane.get(f"{path}/p").ok()["spec"]["nodeName"] == "n"
    assert again.code == 409
    assert 'pod p is already assigned to node "n"' in again.doc["message"]


def test_a_pod_keeps_its_spec(plane: Plane):
    path = f"/api/v1/namespaces/{plane.space()}/pods"
    plane.post(path, pod("p")).ok()

    answer = plane.merge(f"{path}/p", {"spec": {"hostNetwork": True}})

    assert answer.code == 422
    assert answer.doc["message"].startswith(
        'Pod "p" is invalid: spec: Forbidden: pod updates may not change fields other than'
    )


# Deletion


def test_finalizers_hold_an_object(plane: Plane, maps: str):
    plane.post(maps, {"metadata": {"name": "a", "finalizers": ["example.org/hold"]}}).ok()

    held = plane.delete(f"{maps}/a").ok()
    released = plane.merge(f"{maps}/a", {"metadata": {"finalizers": None}})

    assert "deletionTimestamp" in held["metadata"]
    assert released.code == 200
    assert plane.get(f"{maps}/a").code == 404


def test_foreground_deletion_leaves_a_finalizer(plane: Plane, maps: str):
    finalizers = ["example.org/hold"]
    plane.post(maps, {"metadata": {"name": "a", "finalizers": finalizers}}).ok()

    held = plane.delete(f"{maps}/a", {"propagationPolicy": "Foreground"}).ok()

    assert set(held["metadata"]["finalizers"]) == {"example.org/hold", "foregroundDeletion"}


def test_a_collection_goes_at_once(plane: Plane, maps: str):
    for name in "ab":
        plane.post(maps, {"metadata": {"name": name, "labels": {"go": "yes"}}}).ok()

    plane.delete(maps, labelSelector="go=yes").ok()

    assert plane.get(maps, labelSelector="go=yes").ok()["items"] == []


def test_a_namespace_that_goes_takes_nothing_new(plane: Plane):
    space = plane.space()
    path = f"/api/v1/namespaces/{space}/configmaps"
    plane.post(path, {"metadata": {"name": "hold", "finalizers": ["example.org/hold"]}}).ok()
    going = plane.delete(f"/api/v1/namespaces/{space}").ok()

    answer = plane.post(path, config_map("late"))

    plane.merge(f"{path}/hold", {"metadata": {"finalizers": None}})
    assert going["status"]["phase"] == "Terminating"
    assert (answer.code, answer.doc["reason"]) == (403, "Forbidden")
    assert answer.doc["message"] == (
        f'configmaps "late" is forbidden: unable to create new content in namespace {space} because it is '
        "being terminated"
    )


# Custom resources

_WIDGET_SCHEMA: Document = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 9},
                "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                "name": {"type": "string", "pattern": "^[a-z]+$"},
                "replicas": {"type": "integer"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
    },
}


@pytest.fixture(scope="module")
def widgets(plane: Plane) -> str:
    """The path of the widgets in the default namespace, once they are served."""
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = {
        "name": "v1", "served": True, "storage": True,
        "schema": {"openAPIV3Schema": _WIDGET_SCHEMA},
        "subresources": {"status": {}, "scale": scale},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    }  # fmt: skip
    crd = {
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [version],
        },
    }
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    plane.post(path, crd).ok()
    events = plane.events(path, fieldSelector="metadata.name=widgets.example.org", seconds=2)
    conditions = events[-1]["object"]["status"]["conditions"]
    assert {(c["type"], c["status"]) for c in conditions} == {
        ("NamesAccepted", "True"),
        ("Established", "True"),
    }
    return "/apis/example.org/v1/namespaces/default/widgets"


def widget(called: str, **spec: Any) -> Document:
    return {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "metadata": {"name": called},
        "spec": spec,
    }


def test_a_custom_object_is_defaulted_and_pruned(plane: Plane, widgets: str):
    made = plane.post(widgets, widget("pruned", size=2, foo=1, free={"a": 1})).ok()

    assert made["spec"] == {"size": 2, "color": "red", "free": {"a": 1}}
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "spec.size: Required value"),
        (
            {"size": 0},
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ),
        (
            {"size": 10},
            "spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9",
        ),
        (
            {"size": "two"},
            'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"',
        ),
        (
            {"size": 1, "color": "green"},
            'spec.color: Unsupported value: "green": supported values: "red", "blue"',
        ),
        (
            {"size": 1, "name": "A1"},
            "spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'",
        ),
    ],
)
def test_a_custom_object_obeys_its_schema(plane: Plane, widgets: str, spec: Spec, message: str):
    answer = plane.post(widgets, widget("bad", **spec))

    assert answer.code == 422
    assert answer.doc["message"] == f'Widget.example.org "bad" is invalid: {message}'


def test_unknown_custom_fields_are_errors_when_asked(plane: Plane, widgets: str):
    answer = plane.post(widgets, widget("strict", size=1, foo=1), fieldValidation="Strict")

    assert answer.code == 400
    assert answer.doc["message"] == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.foo"'
    )


def test_a_custom_object_has_status_and_scale(plane: Plane, widgets: str):
    made = plane.post(
        widgets, {**widget("sub", size=1, replicas=3), "status": {"replicas": 9}}
    ).ok()

    seen = plane.merge(f"{widgets}/sub/status", {"status": {"replicas": 2}}).ok()
    scale = plane.get(f"{widgets}/sub/scale").ok()

    assert "status" not in made
    assert seen["status"] == {"replicas": 2}
    assert seen["metadata"]["generation"] == 1
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (3, 2)


def test_a_custom_object_is_applied(plane: Plane, widgets: str):
    plane.apply(f"{widgets}/ssa", widget("ssa", size=1, name="a"), "one").ok()

    applied = plane.apply(f"{widgets}/ssa", widget("ssa", size=2), "one").ok()

    assert applied["spec"] == {"size": 2, "color": "red"}
    assert owned(applied, "one") == {"f:spec": {"f:size": {}}}


def test_a_custom_object_takes_no_strategic_patch(plane: Plane, widgets: str):
    plane.post(widgets, widget("plain", size=1)).ok()

    assert plane.strategic(f"{widgets}/plain", {"spec": {"size": 2}}).code == 415


def test_a_custom_update_needs_a_revision(plane: Plane, widgets: str):
    plane.post(widgets, widget("unversioned", size=1)).ok()

    answer = plane.put(f"{widgets}/unversioned", widget("unversioned", size=2))

    assert answer.code == 422
    assert answer.doc["details"]["causes"][0]["field"] == "metadata.resourceVersion"
    assert "must be specified for an update" in answer.doc["message"]


def test_a_custom_kind_prints_its_columns(plane: Plane, widgets: str):
    plane.post(widgets, widget("shown", size=4)).ok()

    table = plane.table(f"{widgets}/shown")

    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["shown", 4]


def settled(plane: Plane, path: str) -> Document:
    """A list of a kind whose storage the real server may still be setting up (429, three seconds at most)."""
    answer = plane.get(path)
    for _ in range(3):
        if answer.code != 429:
            break
        # A watch that ends by itself is how this suite waits.
        plane.events("/api/v1/namespaces", seconds=1)
        answer = plane.get(path)
    return answer.ok()


def test_a_definition_goes_with_its_objects(plane: Plane):
    names = {"plural": "mayflies", "kind": "Mayfly", "singular": "mayfly"}
    version = {"name": "v1", "served": True, "storage": True,
               "schema": {"openAPIV3Schema": {"type": "object"}}}  # fmt: skip
    spec = {"group": "example.org", "scope": "Cluster", "names": names, "versions": [version]}
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    crd = {"metadata": {"name": "mayflies.example.org"}, "spec": spec}
    selected = {"fieldSelector": "metadata.name=mayflies.example.org"}
    plane.post(definitions, crd).ok()
    plane.events(definitions, **selected, seconds=2)
    plane.post("/apis/example.org/v1/mayflies", {
        "apiVersion": "example.org/v1", "kind": "Mayfly", "metadata": {"name": "a"}}).ok()  # fmt: skip

    plane.delete(f"{definitions}/mayflies.example.org").ok()
    plane.events(definitions, **selected, seconds=3)
    plane.post(definitions, crd).ok()
    plane.events(definitions, **selected, seconds=2)

    assert settled(plane, "/apis/example.org/v1/mayflies")["items"] == []


def test_the_official_client_creates_lists_and_watches(plane: Plane):
    space = plane.space()
    with kubernetes.config.new_client_from_config(str(plane.kubeconfig)) as connection:
        api = kubernetes.client.CoreV1Api(connection)
        made = api.create_namespaced_config_map(space, config_map("typed", x="1"))
        listed = api.list_namespaced_config_map(space, field_selector="metadata.name=typed")
        stream = kubernetes.watch.Watch().stream(
            api.list_namespaced_config_map, space, field_selector="metadata.name=typed",
            resource_version=listed.metadata.resource_version, timeout_seconds=2,
        )  # fmt: skip
        api.patch_namespaced_config_map("typed", space, {"data": {"x": "2"}})
        seen = [(event["type"], event["object"].data) for event in stream]
        with pytest.raises(kubernetes.client.ApiException) as refused:
            api.read_namespaced_config_map("absent", space)

    assert made.data == {"x": "1"}
    assert [one.metadata.name for one in listed.items] == ["typed"]
    assert seen == [("MODIFIED", {"x": "2"})]
    assert refused.value.status == 404


# Tables and discovery


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/pods", "/api/v1/nodes", "/api/v1/namespaces", "/api/v1/services", "/api/v1/configmaps",
        "/api/v1/secrets", "/apis/apps/v1/deployments", "/apis/apps/v1/replicasets",
        "/apis/apps/v1/statefulsets", "/apis/apps/v1/daemonsets", "/apis/batch/v1/jobs",
        "/apis/policy/v1/poddisruptionbudgets", "/apis/storage.k8s.io/v1/storageclasses",
    ],
)  # fmt: skip
def test_tables_have_upstreams_columns(plane: Plane, path: str):
    table = plane.table(path)

    columns = [(c["name"], c["type"], c["priority"]) for c in table["columnDefinitions"]]
    assert columns == COLUMNS[path.rpartition("/")[2]]


_AGE = ("Age", "string", 0)
_NAME = ("Name", "string", 0)
_WIDE = [("Containers", "string", 1), ("Images", "string", 1), ("Selector", "string", 1)]
COLUMNS: dict[str, list[tuple[str, str, int]]] = {
    "pods": [
        _NAME, ("Ready", "string", 0), ("Status", "string", 0), ("Restarts", "string", 0), _AGE,
        ("IP", "string", 1), ("Node", "string", 1), ("Nominated Node", "string", 1),
        ("Readiness Gates", "string", 1),
    ],
    "nodes": [
        _NAME, ("Status", "string", 0), ("Roles", "string", 0), _AGE, ("Version", "string", 0),
        ("Internal-IP", "string", 1), ("External-IP", "string", 1), ("OS-Image", "string", 1),
        ("Kernel-Version", "string", 1), ("Container-Runtime", "string", 1),
    ],
    "namespaces": [_NAME, ("Status", "string", 0), _AGE],
    "services": [
        _NAME, ("Type", "string", 0), ("Cluster-IP", "string", 0), ("External-IP", "string", 0),
        ("Port(s)", "string", 0), _AGE, ("Selector", "string", 1),
    ],
    "configmaps": [_NAME, ("Data", "string", 0), _AGE],
    "secrets": [_NAME, ("Type", "string", 0), ("Data", "string", 0), _AGE],
    "deployments": [
        _NAME, ("Ready", "string", 0), ("Up-to-date", "string", 0), ("Available", "string", 0), _AGE,
        *_WIDE,
    ],
    "replicasets": [
        _NAME, ("Desired", "integer", 0), ("Current", "integer", 0), ("Ready", "integer", 0), _AGE,
        *_WIDE,
    ],
    "statefulsets": [_NAME, ("Ready", "string", 0), _AGE, *_WIDE[:2]],
    "daemonsets": [
        _NAME, ("Desired", "integer", 0), ("Current", "integer", 0), ("Ready", "integer", 0),
        ("Up-to-date", "integer", 0), ("Available", "integer", 0), ("Node Selector", "string", 0),
        _AGE, *_WIDE,
    ],
    "jobs": [_NAME, ("Status", "string", 0), ("Completions", "string", 0), ("Duration", "string", 0),
             _AGE, *_WIDE],
    "poddisruptionbudgets": [
        _NAME, ("Min Available", "string", 0), ("Max Unavailable", "string", 0),
        ("Allowed Disruptions", "integer", 0), _AGE,
    ],
    "storageclasses": [
        _NAME, ("Provisioner", "string", 0), ("ReclaimPolicy", "string", 0),
        ("VolumeBindingMode", "string", 0), ("AllowVolumeExpansion", "string", 0), _AGE,
    ],
}  # fmt: skip


def test_kinds_are_discovered(plane: Plane):
    legacy = plane.get("/api/v1").ok()["resources"]
    group = plane.get("/apis/apps").ok()

    eviction = next(one for one in legacy if one["name"] == "pods/eviction")
    assert (eviction["group"], eviction["version"], eviction["kind"]) == (
        "policy",
        "v1",
        "Eviction",
    )
    pods = next(one for one in legacy if one["name"] == "pods")
    assert (pods["shortNames"], pods["categories"], pods["singularName"]) == (
        ["po"],
        ["all"],
        "pod",
    )
    assert group["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}


def test_unknown_resources_are_not_found(plane: Plane):
    answer = plane.get("/api/v1/foos")

    assert (answer.code, answer.doc["message"]) == (
        404, "the server could not find the requested resource",
    )  # fmt: skip


def test_a_service_keeps_its_address(plane: Plane):
    path = f"/api/v1/namespaces/{plane.space()}/services"
    made = plane.post(path, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}).ok()

    kept = plane.merge(f"{path}/s", {"spec": {"ports": [{"port": 81}]}}).ok()
    refused = plane.merge(f"{path}/s", {"spec": {"clusterIP": "10.96.0.77"}})

    assert made["spec"]["clusterIP"].startswith("10.")
    assert kept["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    assert refused.code == 422
    assert "may not change once set" in refused.doc["message"]
