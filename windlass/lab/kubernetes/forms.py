"""How objects are written into an answer: whole, as metadata only, or as rows of a Table."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from windlass.lab.kubernetes import tables
from windlass.lab.kubernetes.calls import Call
from windlass.lab.kubernetes.cluster import Cluster
from windlass.lab.kubernetes.documents import Document
from windlass.lab.kubernetes.keyspace import Change, Stored
from windlass.lab.kubernetes.resources import Resource

_AS = re.compile(r"as=(Table|PartialObjectMetadata(?:List)?)\b")
_META = "meta.k8s.io/v1"


@dataclass(frozen=True)
class Form:
    """The shape one client asked for. `name` is empty for whole objects."""

    cluster: Cluster
    resource: Resource
    name: str
    include: str
    call: Call

    @classmethod
    def of(cls, call: Call, cluster: Cluster) -> "Form":
        name = ""
        for offer in call.accept.split(","):
            found = _AS.search(offer)
            if found and "v=v1beta1" not in offer:
                name = found[1].removesuffix("List")
                break
            if "application/json" in offer or "*/*" in offer:
                break
        include = call.query.get("includeObject", "Metadata")
        return cls(cluster, call.target.resource, name, include, call)

    @property
    def key(self) -> tuple[str, str, str]:
        """Clients with the same key share rendered watch events."""
        return self.name, self.include, self.resource.version

    def one(self, stored: Stored, *, columns: bool = True) -> bytes:
        if self.name == "Table":
            return self._table([stored], stored.doc["metadata"]["resourceVersion"], columns=columns)
        if self.name:
            return _partial(stored, typed=True)
        return stored.render(self.resource.kind, self.resource.api_version)

    def many(self, items: list[Stored], metadata: Document) -> bytes:
        if self.name == "Table":
            return self._table(items, metadata["resourceVersion"], metadata=metadata)
        if self.name:
            kind, version = "PartialObjectMetadataList", _META
            rendered = [_partial(one, typed=True) for one in items]
        else:
            kind, version = f"{self.resource.kind}List", self.resource.api_version
            rendered = self._items(items)
        return b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[%b]}' % (
            kind.encode(),
            version.encode(),
            orjson.dumps(metadata),
            b",".join(rendered),
        )

    def _items(self, items: Iterable[Stored]) -> list[bytes]:
        """Items of built-in lists have no type of their own, those of custom kinds do."""
        if self.resource.custom:
            return [one.render(self.resource.kind, self.resource.api_version) for one in items]
        return [b"{" + one.tail for one in items]

    def _table(
        self,
        items: list[Stored],
        revision: str,
        *,
        columns: bool = True,
        metadata: Document | None = None,
    ) -> bytes:
        definitions, cells = tables.of(self.resource, self.cluster)
        now = self.call.now.timestamp()
        rows = [
            b'{"cells":%b%b}' % (orjson.dumps(cells(one.doc, now)), self._row_object(one))
            for one in items
        ]
        return (
            b'{"kind":"Table","apiVersion":"%b","metadata":%b,"columnDefinitions":%b,"rows":[%b]}'
            % (
                _META.encode(),
                orjson.dumps(metadata or {"resourceVersion": revision}),
                orjson.dumps(definitions if columns else []),
                b",".join(rows),
            )
        )

    def _row_object(self, stored: Stored) -> bytes:
        if self.include == "None":
            return b""
        if self.include == "Object":
            return b',"object":' + stored.render(self.resource.kind, self.resource.api_version)
        return b',"object":' + _partial(stored, typed=True)

    def event(self, kind: str, change: Change, stored: Stored, *, columns: bool) -> bytes:
        """One line of a watch; shared between clients that want the same."""
        key = (kind, columns, stored is change.now, *self.key)
        known = change.lines.get(key)
        if known is None:
            known = _line(kind, self.one(stored, columns=columns))
            change.lines[key] = known
        return known

    def bookmark(self, revision: int, annotations: dict[str, str]) -> bytes:
        metadata: Document = {"resourceVersion": str(revision), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        if self.name == "Table":
            row: Document = {"cells": [], "object": {"kind": "PartialObjectMetadata", "apiVersion": _META,
                                           "metadata": metadata}}  # fmt: skip
            doc: Document = {
                "kind": "Table", "apiVersion": _META, "metadata": {"resourceVersion": str(revision)},
                "columnDefinitions": [], "rows": [row],
            }  # fmt: skip
        elif self.name:
            doc = {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": metadata}
        else:
            doc = {"kind": self.resource.kind, "apiVersion": self.resource.api_version,
                   "metadata": metadata}  # fmt: skip
        return _line("BOOKMARK", orjson.dumps(doc))


def _line(kind: str, body: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), body)


def _partial(stored: Stored, *, typed: bool) -> bytes:
    doc = {"metadata": stored.doc["metadata"]}
    if typed:
        doc = {"kind": "PartialObjectMetadata", "apiVersion": _META, **doc}
    return orjson.dumps(doc)
