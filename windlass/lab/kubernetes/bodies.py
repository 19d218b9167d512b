"""From the bytes of a request to an object of its kind: JSON and YAML, doubled keys, unknown fields, names."""

import json
from collections.abc import Hashable, Iterator
from typing import Any

import orjson
import yaml

from windlass.lab.kubernetes import decoding, structural
from windlass.lab.kubernetes.calls import Call, Target
from windlass.lab.kubernetes.cluster import Cluster
from windlass.lab.kubernetes.decoding import TypeMismatchError, cannot_handle
from windlass.lab.kubernetes.documents import Document, is_array, is_object
from windlass.lab.kubernetes.resources import Resource
from windlass.lab.kubernetes.schema import Schema
from windlass.lab.kubernetes.status import bad_request

_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"


def parse(raw: bytes, call: Call) -> Any:
    """The document in a JSON or YAML body. Keys that were said twice are noted in the call: the last one holds.

    Raises:
        ApiError: 400, it is neither, or an apply under strict validation says a key twice.
    """
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if not call.content_type.endswith("yaml"):
            kind = call.target.resource.kind
            raise bad_request(
                f"the object provided is unrecognized (must be of type {kind}): couldn't get "
                f"version/kind; json parse error: {error} ({raw[:64].decode(errors='replace')})"
            ) from error
        return _parse_yaml(raw, call)
    doubled: list[tuple[Document, list[str]]] = []

    def members(pairs: list[tuple[str, Any]]) -> Document:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen = set[str]()
            again = [key for key, _ in pairs if key in seen or seen.add(key)]
            doubled.append((found, list(dict.fromkeys(again))))
        return found

    document: Any = json.loads(raw, object_pairs_hook=members)
    if doubled and call.content_type == _APPLY:
        return _parse_yaml(raw, call)
    where = "json patch duplicate field" if call.content_type == _JSON_PATCH else "duplicate field"
    names = {id(holder): keys for holder, keys in doubled}
    call.doubled.extend(f'{where} "{path}"' for path in _doubled(document, names, ""))
    return document


def _doubled(value: Any, names: dict[int, list[str]], path: str) -> Iterator[str]:
    """Paths of keys that were said twice, as far as the document still has them."""
    if is_object(value):
        yield from (f"{path}.{key}" if path else key for key in names.get(id(value), ()))
        for key, below in value.items():
            yield from _doubled(below, names, f"{path}.{key}" if path else key)
    elif is_array(value):
        for index, below in enumerate(value):
            yield from _doubled(below, names, f"{path}[{index}]")


def _parse_yaml(raw: bytes, call: Call) -> Any:
    loader = _Loader(raw)
    try:
        document: Any = loader.get_single_data()
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding YAML: {error}") from error
    finally:
        loader.dispose()
    if loader.doubled and call.validation == "Strict":
        said = "yaml: unmarshal errors:\n  " + "\n  ".join(loader.doubled)
        if call.content_type == _APPLY:
            raise bad_request(f"error strict decoding YAML: error converting YAML to JSON: {said}")
        call.doubled.append(said)
    else:
        call.doubled.extend(loader.doubled)
    return document


class _Loader(yaml.SafeLoader):
    """Remembers which keys were said twice, and on which line."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.doubled: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[str]()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                line = key.start_mark.line + 1
                self.doubled.append(f'line {line}: key "{name}" already set in map')
            seen.add(name)
        return super().construct_mapping(node, deep)


def decode(call: Call, doc: Any, resource: Resource, cluster: Cluster) -> Document:
    """Check and prune a whole object of its kind."""
    doc = _typed(doc, resource)
    try:
        unknown = prune(doc, resource, cluster)
    except TypeMismatchError as error:
        raise cannot_handle(resource.kind, resource.version, str(error)) from error
    _report(call, unknown, resource)
    metadata = doc.setdefault("metadata", {})
    for name in ("name", "namespace", "generateName"):
        if metadata.get(name) == "":
            del metadata[name]
    return doc


def prune(doc: Document, resource: Resource, cluster: Cluster) -> list[str]:
    """Drop what the kind does not know; return the paths of what was dropped."""
    schema = cluster.schema(resource)
    if not resource.custom:
        return decoding.prune(doc, schema)
    metadata = doc.get("metadata")
    if not metadata:
        return structural.prune(doc, schema)
    properties = {"metadata": schema.properties["metadata"]}
    head = Schema(kind="object", go=resource.kind, properties=properties)
    return decoding.prune({"metadata": metadata}, head) + structural.prune(doc, schema)


def _typed(doc: Any, resource: Resource) -> Document:
    if not is_object(doc):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): "
            "couldn't get version/kind; json parse error: json: cannot unmarshal "
            "into Go value of type struct"
        )
    kind = doc.pop("kind", None) or resource.kind
    api_version = doc.pop("apiVersion", None) or resource.api_version
    if kind != resource.kind:
        raise bad_request(
            f'{kind} in version "{api_version.rpartition("/")[2]}" cannot be handled as a '
            f"{resource.kind}: converting ({api_version}.{kind}) to "
            f"({resource.group or 'core'}.{resource.kind}): unknown conversion"
        )
    if api_version != resource.api_version:
        raise bad_request(
            "the API version in the data "
            f"({api_version}) does not match the expected API version ({resource.api_version})"
        )
    return {"kind": kind, "apiVersion": api_version, **doc}


def _report(call: Call, unknown: list[str], resource: Resource) -> None:
    # A field that is unknown is not said to be doubled as well.
    ours = {f'duplicate field "{path}"' for path in unknown}
    said = [text for text in call.doubled if text not in ours]
    said += [f'unknown field "{path}"' for path in unknown]
    if not said:
        return
    if call.validation == "Strict":
        why = "strict decoding error: " + ", ".join(said)
        raise cannot_handle(resource.kind, resource.version, why)
    if call.validation == "Warn":
        call.warnings.extend(said)


def place(doc: Document, target: Target) -> None:
    """The path decides about name and namespace; a body that says otherwise is refused."""
    metadata = doc["metadata"]
    if target.name:
        said = metadata.get("name", "")
        if said != target.name:
            if said:
                raise bad_request(
                    f"the name of the object ({said}) does not match the name on the URL ({target.name})"
                )
            metadata["name"] = target.name
    if target.resource.namespaced:
        if metadata.get("namespace", target.namespace) != target.namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = target.namespace
    else:
        metadata.pop("namespace", None)


def applicable(config: Document, target: Target) -> Document:
    """The part of an applied configuration that this endpoint may set."""
    if target.subresource == "status":
        kept = ("kind", "apiVersion", "metadata", "status")
        return {key: value for key, value in config.items() if key in kept}
    if "status" in target.resource.subresources:
        return {key: value for key, value in config.items() if key != "status"}
    return config
