"""What a CustomResourceDefinition may say: upstream's rules of form, in its words, and what is not evaluated here.

A schema that would be kept but not obeyed is refused with 501 and the path of what is lacking.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from windlass.lab.kubernetes import formats
from windlass.lab.kubernetes.crds import compile_schema
from windlass.lab.kubernetes.documents import Document, entries, is_array, is_object, section
from windlass.lab.kubernetes.status import (
    Cause,
    Subject,
    field_forbidden,
    invalid,
    invalid_value,
    not_implemented,
    required,
    unsupported_value,
)
from windlass.lab.kubernetes.structural import validate

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_NEVER = ("$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id")
_COMBINED = ("allOf", "anyOf", "oneOf")
# Upstream's words for what must not be said below allOf, anyOf, oneOf and not.
_ONLY_ABOVE = {
    "description": "must be empty to be structural",
    "title": "must be empty to be structural",
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "nullable": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
# What Go's regular expressions have and Python's read differently, and the other way round.
_ONLY_GO = re.compile(r"\\[pPzQCE]|\[\[:|\(\?[a-zA-Z-]*U|\(\?<[a-zA-Z]")
_ONLY_PYTHON = re.compile(r"\(\?(=|!|<=|<!|P=|\(|#|>)|\\Z|\\[1-9]")


_LABEL = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")
_LONGEST_LABEL = 63
_NO_LABEL = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character "
    "(e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)


@dataclass
class _Findings:
    """`causes` are upstream's; `lacking` is what the lab does not evaluate."""

    causes: list[Cause] = field(default_factory=list[Cause])
    lacking: list[str] = field(default_factory=list[str])
    warnings: set[str] = field(default_factory=set[str])


def check(doc: Document) -> list[str]:
    """What to warn of.

    Raises:
        ApiError: 422 where upstream refuses the definition, 501 where it would obey what the lab cannot.
    """
    spec, name = section(doc, "spec"), doc["metadata"]["name"]
    found = _Findings(causes=list(_names(spec, name)))
    versions = entries(spec, "versions")
    for version in versions:
        schema = section(version, "schema").get("openAPIV3Schema")
        if is_object(schema):
            # One version's schema stands for all, as upstream words it.
            where = (
                "spec.validation"
                if len(versions) == 1
                else f"spec.versions[{version.get('name', '')}]"
            )
            _root(schema, f"{where}.openAPIV3Schema", found)
    if found.causes:
        about = Subject("apiextensions.k8s.io", "customresourcedefinitions",
                        "CustomResourceDefinition", name)  # fmt: skip
        raise invalid(about, found.causes)
    if section(spec, "conversion").get("strategy") == "Webhook":
        found.lacking.append("conversion webhooks (spec.conversion.strategy)")
    if found.lacking:
        raise not_implemented(", ".join(found.lacking))
    return sorted(found.warnings)


def _version_name(name: str, index: int) -> Iterator[Cause]:
    if len(name) <= _LONGEST_LABEL and _LABEL.fullmatch(name):
        return
    yield invalid_value(f"spec.versions[{index}].name", name, _NO_LABEL)
    if name and index == 0:
        # The API of old had one version only, and the first of today stands in its place.
        yield invalid_value("spec.version", name, _NO_LABEL)


def _names(spec: Document, name: str) -> Iterator[Cause]:
    names = section(spec, "names")
    if name != f"{names.get('plural', '')}.{spec.get('group', '')}":
        text = 'must be spec.names.plural+"."+spec.group'
        yield invalid_value("metadata.name", name, text)
    for key in ("plural", "kind"):
        if not names.get(key):
            yield required(f"spec.names.{key}")
    versions = entries(spec, "versions")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        yield invalid_value("spec.versions", [v.get("name") for v in versions], text)
    for index, version in enumerate(versions):
        yield from _version_name(version.get("name", ""), index)
        if "openAPIV3Schema" not in section(version, "schema"):
            where = f"spec.versions[{index}].schema.openAPIV3Schema"
            yield required(where, "schemas are required")


def _root(schema: Document, path: str, found: _Findings) -> None:
    if not schema.get("type"):
        found.causes.append(required(f"{path}.type", "must not be empty at the root"))
    elif schema["type"] != "object":
        text = "must be object at the root"
        found.causes.append(invalid_value(f"{path}.type", schema["type"], text))
    said = section(schema, "properties", "metadata", "properties")
    if not said.keys() <= {"name", "generateName"}:
        text = "must not specify anything other than name and generateName, but metadata is"
        where = f"{path}.properties[metadata]"
        found.causes.append(field_forbidden(where, f"{text} implicitly specified"))
    _node(schema, path, found)


def _node(schema: Document, path: str, found: _Findings) -> None:
    """One node that gives a value its shape, with everything below."""
    found.causes.extend(_form(schema, path))
    _values(schema, path, found)
    for key, below in section(schema, "properties").items():
        here = f"{path}.properties[{key}]"
        found.causes.extend(_untyped(below, here, "object fields"))
        _node(below, here, found)
    for key, what in (("items", "array items"), ("additionalProperties", "object fields")):
        below = schema.get(key)
        if is_object(below):
            found.causes.extend(_untyped(below, f"{path}.{key}", what))
            _node(below, f"{path}.{key}", found)
    _combinations(schema, path, found)


def _combinations(schema: Document, path: str, found: _Findings) -> None:
    for key in _COMBINED:
        for index, below in enumerate(entries(schema, key)):
            either = schema.get("x-kubernetes-int-or-string")
            if not (either and key == "anyOf" and schema[key] == _INT_OR_STRING):
                _inner(below, f"{path}.{key}[{index}]", found, either=bool(either))
    if is_object(schema.get("not")):
        _inner(schema["not"], f"{path}.not", found)


def _inner(schema: Document, path: str, found: _Findings, *, either: bool = False) -> None:
    """A node below allOf, anyOf, oneOf or not: it checks values and shapes nothing."""
    if either and schema == {"anyOf": _INT_OR_STRING}:
        return
    for key, text in _ONLY_ABOVE.items():
        if schema.get(key) not in (None, "", False, []):
            found.causes.append(field_forbidden(f"{path}.{key}", text))
    _values(schema, path, found)
    for key, below in section(schema, "properties").items():
        _inner(below, f"{path}.properties[{key}]", found)
    if is_object(schema.get("items")):
        _inner(schema["items"], f"{path}.items", found)
    _combinations(schema, path, found)


def _untyped(schema: Any, path: str, what: str) -> Iterator[Cause]:
    free = ("$ref", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")
    if is_object(schema) and not schema.get("type") and not any(schema.get(key) for key in free):
        yield required(f"{path}.type", f"must not be empty for specified {what}")


def _form(schema: Document, path: str) -> Iterator[Cause]:
    kind = schema.get("type")
    if kind and kind not in _TYPES:
        yield unsupported_value(f"{path}.type", kind, _TYPES)
    if kind == "array" and "items" not in schema:
        yield required(f"{path}.items", "must be specified")
    if is_array(schema.get("items")):
        text = "items must be a schema object and not an array"
        yield field_forbidden(f"{path}.items", text)
    if schema.get("properties") and schema.get("additionalProperties") is not None:
        text = "additionalProperties and properties are mutual exclusive"
        yield field_forbidden(f"{path}.additionalProperties", text)
    if schema.get("default") is not None:
        for cause in validate(schema["default"], compile_schema(schema)):
            yield Cause(cause.reason, cause.message, f"{path}.default")
    keys = schema.get("x-kubernetes-list-map-keys")
    if schema.get("x-kubernetes-list-type") == "map" and not keys:
        where, text = "x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is"
        yield required(f"{path}.{where}", f"{text} map")


def _forbidden(schema: Document, path: str) -> Iterator[Cause]:
    """What upstream takes in no node at all."""
    for key in _NEVER:
        if key in schema:
            yield field_forbidden(f"{path}.{key}", f"{key} is not supported")
    if "$schema" in schema:
        yield invalid_value(path, "", "OpenAPIV3Schema 'schema' is not supported")
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield field_forbidden(f"{path}.uniqueItems", text)


def _values(schema: Document, path: str, found: _Findings) -> None:
    """What any node may not say, or says in vain here."""
    found.causes.extend(_forbidden(schema, path))
    if schema.get("x-kubernetes-validations"):
        found.lacking.append(f"CEL rules ({path}.x-kubernetes-validations)")
    if "pattern" in schema:
        _pattern(schema["pattern"], f"{path}.pattern", found)
    form = schema.get("format")
    if form in formats.LACKING:
        found.lacking.append(f"the format {form} ({path}.format)")
    elif form and form not in formats.CHECKS and schema.get("type") == "string":
        found.warnings.add(f'unrecognized format "{form}"')


def _pattern(pattern: str, path: str, found: _Findings) -> None:
    if _ONLY_GO.search(pattern):
        found.lacking.append(f"the regular expression {pattern} ({path})")
        return
    only = _ONLY_PYTHON.search(pattern)
    why = f"invalid or unsupported Perl syntax: `{only[0]}`" if only else ""
    try:
        re.compile(pattern)
    except re.error as error:
        why = str(error)
    if why:
        text = f"must be a valid regular expression, but isn't: error parsing regexp: {why}"
        found.causes.append(invalid_value(path, pattern, text))
