"""What the API server refuses in built-in kinds: names, required fields, immutable fields. In upstream's words."""

import re
from collections.abc import Callable, Iterator

from windlass.lab.kubernetes.documents import Document, entries, section
from windlass.lab.kubernetes.resources import Resource
from windlass.lab.kubernetes.selectors import matches_label_selector
from windlass.lab.kubernetes.status import (
    Cause,
    field_forbidden,
    invalid,
    invalid_value,
    required,
)

_LABEL_FORM = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_FORM = rf"{_LABEL_FORM}(\.{_LABEL_FORM})*"
_LABEL = re.compile(_LABEL_FORM)
_SUBDOMAIN = re.compile(_SUBDOMAIN_FORM)
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_SUBDOMAIN_FORM}')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    f"end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL_FORM}')"
)
_SERVICE_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation "
    "is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
# Names with colons and more are fine here.
_FREE_NAMES = {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "Event"}
_POD_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_STATEFUL_MAY_CHANGE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STATEFUL_CHANGEABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip


def check(doc: Document, old: Document | None, resource: Resource) -> None:
    """Raise 422 with everything that is wrong with a built-in object; `old` for an update."""
    causes = list(_metadata(doc, resource)) if old is None else list(_labels(doc))
    for rule in _RULES.get(resource.kind, ()):
        causes.extend(rule(doc, old))
    if causes:
        raise invalid(resource.about(doc["metadata"]["name"]), causes)


def check_metadata(doc: Document, resource: Resource) -> None:
    causes = list(_metadata(doc, resource))
    if causes:
        raise invalid(resource.about(doc["metadata"]["name"]), causes)


def _metadata(doc: Document, resource: Resource) -> Iterator[Cause]:
    name, kind = doc["metadata"]["name"], resource.kind
    if kind == "Namespace":
        form, text, longest = _LABEL, _LABEL_TEXT, 63
    elif kind == "Service":
        form, text, longest = _SERVICE, _SERVICE_TEXT, 63
    else:
        form, text, longest = _SUBDOMAIN, _SUBDOMAIN_TEXT, 253
    if kind not in _FREE_NAMES:
        if len(name) > longest:
            yield invalid_value("metadata.name", name, f"must be no more than {longest} bytes")
        elif not form.fullmatch(name):
            yield invalid_value("metadata.name", name, text)
    yield from _labels(doc)


def _labels(doc: Document) -> Iterator[Cause]:
    for value in section(doc["metadata"], "labels").values():
        if value and (len(value) > 63 or not _QUALIFIED.fullmatch(value)):
            text = "must be no more than 63 bytes" if len(value) > 63 else _LABEL_VALUE_TEXT
            yield invalid_value("metadata.labels", value, text)


def _replicas(doc: Document, _old: Document | None) -> Iterator[Cause]:
    replicas = doc["spec"].get("replicas", 1)
    if replicas < 0:
        text = "must be greater than or equal to 0"
        yield invalid_value("spec.replicas", replicas, text)


def _fixed_selector(doc: Document, old: Document | None) -> Iterator[Cause]:
    selector = doc["spec"].get("selector")
    if old is not None and selector != old["spec"].get("selector"):
        yield invalid_value("spec.selector", selector, "field is immutable")


def _selector(doc: Document, _old: Document | None) -> Iterator[Cause]:
    spec = doc["spec"]
    selector = spec.get("selector")
    labels = section(spec["template"], "metadata", "labels")
    if not selector:
        yield required("spec.selector")
    if not selector or not matches_label_selector(selector, labels):
        text = "`selector` does not match template `labels`"
        yield invalid_value("spec.template.metadata.labels", labels or None, text)


def _pod_spec(spec: Document, path: str) -> Iterator[Cause]:
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    seen = set[str]()
    for index, one in enumerate(entries(spec, "containers")):
        here = f"{path}.containers[{index}]"
        name = one.get("name", "")
        if not name:
            yield required(f"{here}.name")
        elif not _LABEL.fullmatch(name):
            yield invalid_value(f"{here}.name", name, _LABEL_TEXT)
        elif name in seen:
            yield Cause("FieldValueDuplicate", f'Duplicate value: "{name}"', f"{here}.name")
        seen.add(name)
        if not one.get("image"):
            yield required(f"{here}.image")
    yield from _mounts(spec, path)


def _mounts(spec: Document, path: str) -> Iterator[Cause]:
    volumes = {volume.get("name") for volume in entries(spec, "volumes")}
    for index, one in enumerate(entries(spec, "containers")):
        for at, mount in enumerate(entries(one, "volumeMounts")):
            if mount.get("name") not in volumes:
                field = f"{path}.containers[{index}].volumeMounts[{at}].name"
                yield Cause("FieldValueNotFound", f'Not found: "{mount.get("name")}"', field)


def _pod(doc: Document, old: Document | None) -> Iterator[Cause]:
    yield from _pod_spec(doc["spec"], "spec")
    if old is not None and _fixed(doc["spec"]) != _fixed(old["spec"]):
        yield field_forbidden("spec", _POD_MAY_CHANGE)


def _fixed(spec: Document) -> Document:
    """The part of a pod's spec that nobody may change."""
    free = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")
    left = {key: value for key, value in spec.items() if key not in free}
    for kind in ("containers", "initContainers"):
        if kind in left:
            left[kind] = [{k: v for k, v in one.items() if k != "image"} for one in left[kind]]
    return left


def _strategy(doc: Document, _old: Document | None) -> Iterator[Cause]:
    strategy = section(doc, "spec", "strategy")
    if strategy.get("type") == "Recreate" and "rollingUpdate" in strategy:
        text = "may not be specified when strategy `type` is 'Recreate'"
        yield field_forbidden("spec.strategy.rollingUpdate", text)


def _template(doc: Document, _old: Document | None) -> Iterator[Cause]:
    spec = doc["spec"]["template"]["spec"]
    # A StatefulSet's pods mount their own claims under the names of its claim templates.
    claimed = [
        {"name": one["metadata"]["name"]} for one in entries(doc["spec"], "volumeClaimTemplates")
    ]
    spec = {**spec, "volumes": [*entries(spec, "volumes"), *claimed]}
    yield from _pod_spec(spec, "spec.template.spec")


def _job(doc: Document, old: Document | None) -> Iterator[Cause]:
    spec = doc["spec"]["template"]["spec"]
    yield from _pod_spec(spec, "spec.template.spec")
    policy = spec.get("restartPolicy")
    if policy not in ("OnFailure", "Never"):
        field = "spec.template.spec.restartPolicy"
        text = 'Required value: valid values: "OnFailure", "Never"'
        yield Cause("FieldValueRequired", text, field)
    if old is not None and doc["spec"]["template"] != old["spec"]["template"]:
        yield invalid_value("spec.template", doc["spec"]["template"], "field is immutable")


def _stateful_set(doc: Document, old: Document | None) -> Iterator[Cause]:
    if old is None:
        return

    def fixed(one: Document) -> Document:
        return {k: v for k, v in one["spec"].items() if k not in _STATEFUL_CHANGEABLE}

    if fixed(doc) != fixed(old):
        yield field_forbidden("spec", _STATEFUL_MAY_CHANGE)


def _service(doc: Document, old: Document | None) -> Iterator[Cause]:
    spec = doc["spec"]
    if old is None:
        if (
            not spec.get("ports")
            and spec.get("clusterIP") != "None"
            and spec["type"] != "ExternalName"
        ):
            yield required("spec.ports")
        return
    before, now = old["spec"].get("clusterIP"), spec.get("clusterIP")
    if before and now != before and spec["type"] != "ExternalName":
        yield invalid_value("spec.clusterIPs[0]", [now], "may not change once set")


def _claim(doc: Document, old: Document | None) -> Iterator[Cause]:
    spec = doc["spec"]
    if not spec.get("accessModes"):
        yield required("spec.accessModes", "at least 1 access mode is required")
    if "storage" not in (section(spec, "resources", "requests")):
        yield required("spec.resources[storage]")
    if old is None:
        return

    def fixed(one: Document) -> Document:
        free = {"resources", "volumeName", "storageClassName", "volumeAttributesClassName"}
        return {k: v for k, v in one["spec"].items() if k not in free}

    changed = fixed(doc) != fixed(old)
    for key in ("volumeName", "storageClassName"):
        changed |= key in old["spec"] and old["spec"][key] != spec.get(key)
    if changed:
        text = (
            "spec is immutable after creation except resources.requests and "
            "volumeAttributesClassName for bound claims"
        )
        yield field_forbidden("spec", text)


def _budget(doc: Document, _old: Document | None) -> Iterator[Cause]:
    spec = section(doc, "spec")
    if "minAvailable" in spec and "maxUnavailable" in spec:
        text = "minAvailable and maxUnavailable cannot be both set"
        yield invalid_value("spec", spec, text)


def _immutable_data(doc: Document, old: Document | None) -> Iterator[Cause]:
    if old is None or not old.get("immutable"):
        return
    if not doc.get("immutable"):
        yield field_forbidden("immutable", "field is immutable when `immutable` is set")
    for key in ("data", "binaryData"):
        if doc.get(key) != old.get(key):
            yield field_forbidden(key, "field is immutable when `immutable` is set")


def _storage_class(doc: Document, old: Document | None) -> Iterator[Cause]:
    if not doc.get("provisioner"):
        yield required("provisioner")
    if old is None:
        return
    for key in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
        if doc.get(key) != old.get(key):
            yield field_forbidden(key, f"updates to {key} are forbidden.")


def _role_ref(doc: Document, old: Document | None) -> Iterator[Cause]:
    if old is not None and doc.get("roleRef") != old.get("roleRef"):
        yield invalid_value("roleRef", doc.get("roleRef"), "cannot change roleRef")


_Rule = Callable[[Document, Document | None], Iterator[Cause]]

_RULES: dict[str, tuple[_Rule, ...]] = {
    "Pod": (_pod,),
    "Deployment": (_replicas, _selector, _template, _strategy, _fixed_selector),
    "ReplicaSet": (_replicas, _selector, _template, _fixed_selector),
    "StatefulSet": (_stateful_set, _replicas, _selector, _template),
    "DaemonSet": (_fixed_selector, _selector, _template),
    "Job": (_job,),
    "Service": (_service,),
    "PersistentVolumeClaim": (_claim,),
    "PodDisruptionBudget": (_budget,),
    "ConfigMap": (_immutable_data,),
    "Secret": (_immutable_data,),
    "StorageClass": (_storage_class,),
    "RoleBinding": (_role_ref,),
    "ClusterRoleBinding": (_role_ref,),
}
