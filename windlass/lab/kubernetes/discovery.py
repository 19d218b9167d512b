"""Discovery documents, aggregated and one by one, from the registry."""

from windlass.lab.kubernetes.documents import Document
from windlass.lab.kubernetes.resources import (
    STATUS,
    SUBRESOURCE_KINDS,
    SUBRESOURCE_VERBS,
    Registry,
    Resource,
)


def wants_aggregated(accept: str) -> bool:
    return "as=APIGroupDiscoveryList" in accept and "v=v2" in accept.replace("v=v2beta1", "")


def aggregated(registry: Registry, *, core: bool) -> Document:
    groups = registry.groups()
    items = list[Document]()
    for group, versions in groups.items():
        if (group == "") != core:
            continue
        served = [
            {
                "version": version,
                "resources": [_aggregated_resource(r) for r in registry.of_version(group, version)],
                "freshness": "Current",
            }
            for version in versions
        ]
        items.append({"metadata": {"name": group} if group else {}, "versions": served})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _aggregated_resource(resource: Resource) -> Document:
    kind = {"group": "", "version": "", "kind": resource.kind}
    if resource.custom:
        kind |= {"group": resource.group, "version": resource.version}
    doc: Document = {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short:
        doc["shortNames"] = list(resource.short)
    if resource.categories:
        doc["categories"] = list(resource.categories)
    if resource.subresources:
        doc["subresources"] = [_aggregated_subresource(resource, s) for s in resource.subresources]
    return doc


def _aggregated_subresource(resource: Resource, name: str) -> Document:
    group, version, kind = SUBRESOURCE_KINDS.get(name, ("", "", resource.kind))
    if resource.custom and name not in SUBRESOURCE_KINDS:
        group, version = resource.group, resource.version
    return {
        "subresource": name,
        "responseKind": {"group": group, "version": version, "kind": kind},
        "verbs": list(SUBRESOURCE_VERBS.get(name, STATUS)),
    }


def versions(address: str) -> Document:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(registry: Registry) -> Document:
    groups = [group(registry, name) for name in registry.groups() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Document:
    """An APIGroup without its type, as it stands in a list."""
    served = [
        {"groupVersion": f"{name}/{version}", "version": version}
        for version in registry.groups()[name]
    ]
    return {"name": name, "versions": served, "preferredVersion": served[0]}


def resource_list(registry: Registry, group: str, version: str) -> Document:
    resources = list[Document]()
    for resource in registry.of_version(group, version):
        resources.append(_legacy(resource))
        resources.extend(_legacy_subresource(resource, name) for name in resource.subresources)
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": resources,
    }


def _legacy(resource: Resource) -> Document:
    doc: Document = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short:
        doc["shortNames"] = list(resource.short)
    if resource.categories:
        doc["categories"] = list(resource.categories)
    return doc


def _legacy_subresource(resource: Resource, name: str) -> Document:
    group, version, kind = SUBRESOURCE_KINDS.get(name, ("", "", resource.kind))
    doc: Document = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind,
        "verbs": list(SUBRESOURCE_VERBS.get(name, STATUS)),
    }
    if name in SUBRESOURCE_KINDS and (group or version) and group != resource.group:
        doc |= {"group": group, "version": version}
    return doc
