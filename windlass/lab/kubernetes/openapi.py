"""OpenAPI v3 documents, one a group and version, made from the installed schemas when they are asked for."""

from collections.abc import Iterable, Iterator
from typing import Any

from windlass.lab.kubernetes.documents import Document, is_array, is_object, section
from windlass.lab.kubernetes.resources import Registry, Resource
from windlass.lab.kubernetes.schema import raw_definitions

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_REF = "#/$defs/"
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")


def index(registry: Registry, revision: int) -> Document:
    """`/openapi/v3`: where the documents are. The hash changes when custom resources do."""
    paths: Document = {}
    for group, versions in registry.groups().items():
        for version in versions:
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={revision:08X}"}
    return {"paths": paths}


def document(
    registry: Registry, group: str, version: str, minor: str, custom: dict[str, Document]
) -> Document:
    """Schemas and paths of one group and version. `custom` maps kinds to their own schemas."""
    resources = registry.of_version(group, version)
    raw = raw_definitions(minor)
    roots = [r.definition for r in resources if r.definition in raw]
    roots += [_META + name for name in ("DeleteOptions", "ObjectMeta", "ListMeta", "Status")]
    schemas = {name: _v3(raw[name]) for name in _reachable(raw, roots)}
    for resource in resources:
        if resource.kind in custom:
            schemas[_schema_name(resource)] = _custom(resource, custom[resource.kind])
    paths: Document = {}
    for resource in resources:
        paths |= _paths(resource)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": f"v{minor}.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _reachable(raw: Document, roots: Iterable[str]) -> Iterator[str]:
    seen = set[str]()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in seen or name not in raw:
            continue
        seen.add(name)
        yield name
        waiting.extend(_references(raw[name]))


def _references(node: Any) -> Iterator[str]:
    if is_object(node):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix(_REF)
        for below in node.values():
            yield from _references(below)
    elif is_array(node):
        for below in node:
            yield from _references(below)


def _v3(node: Any) -> Any:
    """Without the package's changes: nullable scalars, `$defs`, unions for quantities."""
    if is_array(node):
        return [_v3(one) for one in node]
    if not is_object(node):
        return node
    if "oneOf" in node:
        plain = {key: below for key, below in node.items() if key != "oneOf"}
        return {**plain, "type": "string"}
    doc: Document = {}
    for key, below in node.items():
        if key == "type" and is_array(below):
            doc[key] = next(one for one in below if one != "null")
        elif key == "$ref" and isinstance(below, str):
            doc["allOf"] = [{"$ref": "#/components/schemas/" + below.removeprefix(_REF)}]
        elif key == "properties":
            doc[key] = {name: _v3(inner) for name, inner in below.items()}
        else:
            doc[key] = _v3(below)
    return doc


def _schema_name(resource: Resource) -> str:
    if resource.definition:
        return resource.definition
    reversed_group = ".".join(reversed(resource.group.split(".")))
    return f"{reversed_group}.{resource.version}.{resource.kind}"


def _custom(resource: Resource, schema: Document) -> Document:
    meta = {"allOf": [{"$ref": f"#/components/schemas/{_META}ObjectMeta"}]}
    properties = {
        **section(schema, "properties"),
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": meta,
    }
    kinds = [_gvk(resource)]
    return {**schema, "type": "object", "properties": properties} | {
        "x-kubernetes-group-version-kind": kinds
    }


def _gvk(resource: Resource) -> Document:
    return {"group": resource.group, "kind": resource.kind, "version": resource.version}


def _paths(resource: Resource) -> Document:
    base = f"/apis/{resource.group}/{resource.version}" if resource.group else "/api/v1"
    if resource.namespaced:
        base += "/namespaces/{namespace}"
    collection = f"{base}/{resource.plural}"
    schema = {"$ref": f"#/components/schemas/{_schema_name(resource)}"}
    answer = {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}}
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in _PARAMETERS
    ]

    def operation(action: str, verb: str) -> Document:
        return {
            "operationId": f"{verb}{resource.group.title().replace('.', '')}{resource.kind}",
            "parameters": parameters,
            "responses": answer,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(resource),
        }

    item = {
        "get": operation("get", "read"),
        "put": operation("put", "replace"),
        "patch": operation("patch", "patch"),
        "delete": operation("delete", "delete"),
    }
    paths: Document = {collection: {"post": operation("post", "create")}}
    if "get" in resource.verbs:
        paths[f"{collection}/{{name}}"] = item
    return paths
