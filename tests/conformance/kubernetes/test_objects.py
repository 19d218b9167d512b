"""Objects from the first write to the last deletion, and what is said to those who may not."""

from typing import Any

import pytest

from tests.conformance.kubernetes.makers import cause, config_map, deployment, pod
from tests.conformance.kubernetes_peers import Document, Plane


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
                cause(
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
                cause("FieldValueInvalid", f'Invalid value: "Upper": {_SUBDOMAIN}', "metadata.name")
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


def test_a_deletion_may_be_tried_dry_by_its_body(plane: Plane, maps: str):
    plane.post(maps, {"metadata": {"name": "a"}}).ok()

    options = {"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"]}
    plane.delete(f"{maps}/a", options).ok()

    assert plane.get(f"{maps}/a").code == 200


def test_storage_waits_until_nobody_uses_it(plane: Plane):
    space = plane.space()
    claims = f"/api/v1/namespaces/{space}/persistentvolumeclaims"
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    plane.post(claims, {"metadata": {"name": "c"}, "spec": spec}).ok()
    plane.post("/api/v1/nodes", {"metadata": {"name": f"node-{space}"}}).ok()
    user = pod("user")
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "c"}}
    user["spec"] |= {"nodeName": f"node-{space}", "volumes": [volume]}
    plane.post(f"/api/v1/namespaces/{space}/pods", user).ok()

    going = plane.delete(f"{claims}/c").ok()

    assert going["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert "deletionTimestamp" in plane.get(f"{claims}/c").doc["metadata"]
