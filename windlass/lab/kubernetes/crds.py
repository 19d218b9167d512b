"""Custom kinds: from a CustomResourceDefinition to resources and schemas that are served at once."""

from typing import Any

from windlass.lab.kubernetes import structural
from windlass.lab.kubernetes.documents import Document, entries, is_object, section
from windlass.lab.kubernetes.keyspace import Change, Keyspace
from windlass.lab.kubernetes.resources import Registry, Resource
from windlass.lab.kubernetes.schema import ANY, OBJECT_META, Kind, Schema, definitions
from windlass.lab.kubernetes.status import invalid

STORAGE = "apiextensions.k8s.io/customresourcedefinitions"

_COMBINED = ("allOf", "anyOf", "oneOf")


class CustomKinds:
    """Keeps the registry in step with the definitions in the keyspace."""

    def __init__(self, keyspace: Keyspace, registry: Registry) -> None:
        self._keyspace = keyspace
        self._registry = registry
        self._schemas: dict[tuple[str, str, str], Schema] = {}
        for stored in keyspace.objects(STORAGE):
            self._serve(stored.doc)
        keyspace.listeners.append(self._observe)

    def _observe(self, change: Change) -> None:
        if change.storage != STORAGE:
            return
        self._schemas.clear()
        if change.type == "DELETED":
            self._registry.withdraw(change.now.name)
        else:
            self._serve(change.now.doc)

    def _serve(self, crd: Document) -> None:
        conditions = entries(crd, "status", "conditions")
        if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            self._registry.serve(crd["metadata"]["name"], _resources(crd))

    def forget(self) -> None:
        """All definitions are gone."""
        self._schemas.clear()
        self._registry.withdraw_all()

    def served_by(self, name: str) -> list[Resource]:
        """The resources of a definition, one a version."""
        return [r for r in self._registry if r.custom and f"{r.plural}.{r.group}" == name]

    def definition(self, resource: Resource) -> Document:
        stored = self._keyspace.get(STORAGE, "", f"{resource.plural}.{resource.group}")
        if stored is None:
            raise LookupError(f"{resource.plural}.{resource.group} is not defined")
        return stored.doc

    def version(self, resource: Resource) -> Document:
        """The definition's entry of this resource's version."""
        versions = self.definition(resource)["spec"]["versions"]
        return next(one for one in versions if one["name"] == resource.version)

    def raw_schema(self, resource: Resource) -> Document:
        return section(section(self.version(resource), "schema"), "openAPIV3Schema")

    def selectable(self, resource: Resource) -> tuple[str, ...]:
        fields = entries(self.version(resource), "selectableFields")
        return tuple(one["jsonPath"].lstrip(".") for one in fields)

    def schema(self, resource: Resource, minor: str) -> Schema:
        key = (resource.group, resource.version, resource.plural)
        known = self._schemas.get(key)
        if known is None:
            known = self._schemas[key] = _root(self.raw_schema(resource), resource, minor)
        return known

    def complete(self, doc: Document, resource: Resource, schema: Schema) -> None:
        """Fill in defaults and check an object.

        Raises:
            ApiError: 422 with everything that its schema forbids.
        """
        structural.fill(doc, schema)
        causes = list(structural.validate(doc, schema))
        if causes:
            raise invalid(resource.about(doc["metadata"].get("name", "")), causes)


def accept(crd: Document, now: str) -> None:
    """A definition is served as soon as it is stored: its names are accepted and it is established."""
    names = crd["spec"]["names"]
    before = {c["type"]: c for c in entries(crd, "status", "conditions")}
    conditions = [
        {
            "type": kind,
            "status": "True",
            "lastTransitionTime": section(before, kind).get("lastTransitionTime", now),
            "reason": reason,
            "message": message,
        }
        for kind, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
    ]
    stored = list(entries(crd, "status", "storedVersions"))
    stored += [
        one["name"]
        for one in crd["spec"]["versions"]
        if one.get("storage") and one["name"] not in stored
    ]
    crd["status"] = {"conditions": conditions, "acceptedNames": names, "storedVersions": stored}


def _root(raw: Document, resource: Resource, minor: str) -> Schema:
    schema = compile_schema(raw)
    schema.kind = "object"
    schema.go = resource.kind
    schema.properties = {
        **schema.properties,
        "apiVersion": Schema(kind="string"),
        "kind": Schema(kind="string"),
        "metadata": definitions(minor).get(OBJECT_META),
    }
    return schema


def compile_schema(raw: Document) -> Schema:
    """One node of a structural schema."""
    properties = {key: compile_schema(below) for key, below in section(raw, "properties").items()}
    values = raw.get("additionalProperties")
    items = raw.get("items")
    preserve = bool(raw.get("x-kubernetes-preserve-unknown-fields"))
    return Schema(
        kind=_kind(raw, properties, values),
        properties=properties,
        values=compile_schema(values) if is_object(values) else ANY if preserve else None,
        items=compile_schema(items) if is_object(items) else None,
        list_type=raw.get("x-kubernetes-list-type", "atomic"),
        keys=tuple(entries(raw, "x-kubernetes-list-map-keys")),
        atomic=raw.get("x-kubernetes-map-type") == "atomic",
        required=tuple(entries(raw, "required")),
        preserve=preserve,
        embedded=bool(raw.get("x-kubernetes-embedded-resource")),
        nullable=bool(raw.get("nullable")),
        has_default="default" in raw,
        default=raw.get("default"),
        format=raw.get("format", ""),
        rules=_rules(raw),
    )


def _rules(raw: Document) -> dict[str, Any]:
    """What a node checks, in the order in which upstream checks it; schemas are compiled, bounds say if they count."""
    rules: dict[str, Any] = {key: raw[key] for key in structural.RULES if key in raw}
    for key in ("minimum", "maximum"):
        if key in rules:
            rules[key] = (raw[key], bool(raw.get(f"exclusive{key.capitalize()}")))
    rules |= {key: [compile_schema(one) for one in raw[key]] for key in _COMBINED if key in raw}
    return rules | ({"not": compile_schema(raw["not"])} if is_object(raw.get("not")) else {})


def _kind(raw: Document, properties: dict[str, Schema], values: Any) -> Kind:
    if raw.get("x-kubernetes-int-or-string"):
        return "int-or-string"
    kind = raw.get("type", "any")
    if kind == "object" and is_object(values) and not properties:
        return "map"
    return kind


def _resources(crd: Document) -> list[Resource]:
    spec = crd["spec"]
    names = spec["names"]
    served = list[Resource]()
    for version in sorted(spec["versions"], key=lambda one: _priority(one["name"])):
        if not version.get("served"):
            continue
        below = section(version, "subresources")
        served.append(
            Resource(
                group=spec["group"],
                version=version["name"],
                plural=names["plural"],
                kind=names["kind"],
                namespaced=spec["scope"] == "Namespaced",
                short=tuple(entries(names, "shortNames")),
                categories=tuple(entries(names, "categories")),
                subresources=tuple(name for name in ("scale", "status") if name in below),
                singular=names.get("singular") or names["kind"].lower(),
                custom=True,
            )
        )
    return served


def _priority(version: str) -> tuple[int, int, int, str]:
    """Stable versions before beta before alpha, higher numbers first."""
    rest = version.removeprefix("v")
    for rank, word in ((1, "beta"), (2, "alpha")):
        major, found, minor = rest.partition(word)
        if found and major.isdigit():
            return rank, -int(major), -int(minor or 0), ""
    return (0, -int(rest), 0, "") if rest.isdigit() else (3, 0, 0, version)
