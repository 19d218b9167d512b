"""Schemas of built-in and custom kinds in one compiled form that all walks share.

A walk is decoding, pruning, defaulting, merging or field ownership: each needs the same few facts of a node.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs]
import orjson

from windlass.lab.kubernetes.documents import entries, is_object, section

Kind = Literal[
    "object", "map", "array", "string", "integer", "number", "boolean", "int-or-string", "any"
]

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"

# kubernetes-validate has no defaults; these are the only ones among the keys of list maps.
_KEY_DEFAULTS = {"protocol": "TCP"}


@dataclass
class Schema:
    """One node. `rules` holds what only custom resources check (enum, pattern, bounds, ...).

    `strategies` and `merge_key` are the strategic merge patch's view, `list_type` and `keys` server-side apply's;
    they differ in a few lists. `go` names the Go struct in decoding errors.
    """

    kind: Kind = "any"
    properties: dict[str, "Schema"] = field(default_factory=dict[str, "Schema"])
    values: "Schema | None" = None
    items: "Schema | None" = None
    list_type: str = "atomic"
    keys: tuple[str, ...] = ()
    key_defaults: dict[str, Any] = field(default_factory=dict[str, Any])
    atomic: bool = False
    strategies: frozenset[str] = frozenset()
    merge_key: str = ""
    required: tuple[str, ...] = ()
    preserve: bool = False
    embedded: bool = False
    nullable: bool = False
    has_default: bool = False
    default: Any = None
    format: str = ""
    go: str = ""
    rules: dict[str, Any] = field(default_factory=dict[str, Any])

    def child(self, key: str) -> "Schema | None":
        """The schema of a member of an object or a map; None where the schema says nothing."""
        return self.properties.get(key) or self.values


ANY = Schema(preserve=True)


def _folder(minor: str) -> Path:
    root = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    return root / f"v{minor}.0-local"


def minor_of(version: str) -> str:
    """`v1.34.4` to `1.34`."""
    return ".".join(version.removeprefix("v").split(".")[:2])


@cache
def raw_definitions(minor: str) -> dict[str, Any]:
    """All schemas of a Kubernetes minor as its package carries them.

    Raises:
        LookupError: the installed package does not know this minor.
    """
    path = _folder(minor) / "_definitions.json"
    if not path.exists():
        raise LookupError(f"kubernetes-validate has no schemas for Kubernetes {minor}")
    return orjson.loads(path.read_bytes())["$defs"]


@cache
def definitions(minor: str) -> "Definitions":
    return Definitions(raw_definitions(minor))


class Definitions:
    """Compiled schemas of one Kubernetes minor, each compiled when it is first asked for."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw = raw
        self._compiled: dict[str, Schema] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def get(self, name: str) -> Schema:
        known = self._compiled.get(name)
        if known is not None:
            return known
        doc = self._raw[name]
        schema = self._compiled[name] = _shell(doc, name)
        self._fill(schema, doc)
        return schema

    def _fill(self, schema: Schema, doc: dict[str, Any]) -> None:
        for key, below in section(doc, "properties").items():
            schema.properties[key] = self._compile(below)
        if is_object(doc.get("additionalProperties")):
            schema.values = self._compile(doc["additionalProperties"])
        if "items" in doc:
            schema.items = self._compile(doc["items"])
        if schema.keys and schema.items:
            names = set(schema.keys) & set(schema.items.properties)
            schema.key_defaults = {k: _KEY_DEFAULTS[k] for k in names if k in _KEY_DEFAULTS}

    def _compile(self, doc: dict[str, Any]) -> Schema:
        if "$ref" in doc:
            return replace(self.get(doc["$ref"].removeprefix("#/$defs/")), **_annotations(doc))
        schema = _shell(doc, "")
        self._fill(schema, doc)
        return schema


def _annotations(doc: dict[str, Any]) -> dict[str, Any]:
    """What a property says on top of the type it refers to."""
    found: dict[str, Any] = {}
    if "x-kubernetes-patch-strategy" in doc:
        found["strategies"] = frozenset(doc["x-kubernetes-patch-strategy"].split(","))
    if "x-kubernetes-patch-merge-key" in doc:
        found["merge_key"] = doc["x-kubernetes-patch-merge-key"]
    if "x-kubernetes-list-type" in doc:
        found["list_type"] = doc["x-kubernetes-list-type"]
        found["keys"] = tuple(entries(doc, "x-kubernetes-list-map-keys"))
    if doc.get("x-kubernetes-map-type") == "atomic":
        found["atomic"] = True
    return found


def _shell(doc: dict[str, Any], name: str) -> Schema:
    kind = _kind_of(doc, name)
    return Schema(
        kind=kind,
        required=tuple(entries(doc, "required")),
        preserve=kind == "any",
        format=doc.get("format", ""),
        go=name.rsplit(".", 1)[-1],
        **_annotations(doc),
    )


def _kind_of(doc: dict[str, Any], name: str) -> Kind:
    if name in (_QUANTITY, _INT_OR_STRING):
        return "int-or-string"
    types: Any = doc.get("type", [])
    listed: list[Any] = [types] if isinstance(types, str) else types
    found: Any = next((one for one in listed if one != "null"), "any")
    if found == "object":
        if "properties" in doc:
            return "object"
        return "map" if is_object(doc.get("additionalProperties")) else "any"
    return found
