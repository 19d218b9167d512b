"""Decoding machine configs as Talos does: what it registers, what it knows, and its own complaints."""

from collections.abc import Iterator
from typing import Any, cast

import yaml

from windlass.lab.talos.configuration import ConfigError, MachineConfig, minor
from windlass.lab.talos.schema import DOCUMENTS, V1ALPHA1, kinds, unknown_keys
from windlass.lab.talos.trees import Tree


def decode(data: bytes, version: str) -> MachineConfig:
    """The config in `data`, as the decoder of this Talos version reads it.

    Raises:
        ConfigError: it does not decode, in Talos' words.
    """
    main: Tree | None = None
    others: list[Tree] = []
    seen: set[str] = set()
    for document, line in _documents(data):
        name = _identity(document, line, version)
        if name in seen:
            raise ConfigError(f"duplicate document {name} is not allowed (line {line})")
        seen.add(name)
        if "kind" in document:
            others.append(document)
        else:
            main = document
    if not seen:
        raise ConfigError("expected a YAML document at line 1")
    return MachineConfig(data.decode(), main or {}, tuple(others))


def _documents(data: bytes) -> Iterator[tuple[Tree, int]]:
    try:
        loader = yaml.SafeLoader(data)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"error decoding document: yaml: {error}") from error
    try:
        while loader.check_node():
            node: Any = loader.get_node()
            line = node.start_mark.line + 1
            document: Any = cast(Any, loader).construct_document(node)
            if not isinstance(document, dict):
                raise ConfigError(f"expected a YAML document at line {line}")
            yield cast(Tree, document), line
    except yaml.YAMLError as error:
        raise ConfigError(f"yaml: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()


def _identity(document: Tree, line: int, version: str) -> str:
    """Checks that this Talos knows the document and its keys; returns its identity."""
    kind = document.get("kind")
    name = f"/{kind}/{document.get('name', '')}" if kind is not None else "/v1alpha1/"
    shape = V1ALPHA1 if kind is None else _shape(document, f"{name} (line {line})", version)
    if kind is None:
        _check_version(document)
    if (unknown := unknown_keys(document, shape)) is not None:
        listed = yaml.safe_dump(unknown, indent=4, sort_keys=False)
        raise ConfigError(
            f"error decoding document {name} (line {line}): unknown keys found during decoding:\n{listed}"
        )
    return name


def _check_version(document: Tree) -> None:
    """A document without a kind is v1alpha1 or nothing."""
    if "apiVersion" in document:
        raise ConfigError("missing kind")
    if "version" not in document:
        raise ConfigError("missing apiVersion")
    if document["version"] != "v1alpha1":
        raise ConfigError(f"unsupported config version {document['version']!r}")


def _shape(document: Tree, where: str, version: str) -> Tree | None:
    """The keys of a document kind; None where the lab does not look at them."""
    if "apiVersion" not in document:
        raise ConfigError("missing apiVersion")
    kind = document["kind"]
    if kind not in kinds(minor(version)):
        reason = f'"{kind}" "{document["apiVersion"]}": not registered'
        raise ConfigError(f"error decoding document {where}: {reason}")
    known = DOCUMENTS.get(kind)
    return {"apiVersion": None, "kind": None, **known} if known is not None else None
