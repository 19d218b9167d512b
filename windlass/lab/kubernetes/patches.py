"""JSON patch, merge patch and strategic merge patch on plain documents. Results are new; inputs stay as they are."""

from typing import Any

import jsonpatch
import jsonpointer

from windlass.lab.kubernetes.documents import Document, entries, is_array, is_object
from windlass.lab.kubernetes.schema import ANY, Schema
from windlass.lab.kubernetes.status import ApiError, bad_request

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def json_patch(doc: Document, operations: Any) -> Document:
    """RFC 6902, all or nothing.

    Raises:
        ApiError: 400 for what is not a patch, 422 for one that does not fit the document.
    """
    if not is_array(operations):
        kind = "object" if is_object(operations) else "string"
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {kind} into Go value of type []handlers.jsonPatchOp"
        )
    try:
        return jsonpatch.JsonPatch(operations).apply(doc, in_place=False)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        # A real server does not say which operation failed, nor why.
        message = "the server rejected our request due to an error in our request"
        raise ApiError(422, "Invalid", message, details={}) from error


def merge_patch(doc: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not is_object(patch):
        return patch
    merged = dict(doc) if is_object(doc) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_merge_patch(doc: Document, patch: Document, schema: Schema) -> Document:
    """Merge with the merge keys of the kind and the directives `$patch`, `$retainKeys`, `$setElementOrder`, ..."""
    return _merge_map(doc, patch, schema)


def _merge_map(doc: Document, patch: Document, schema: Schema) -> Document:
    patch = dict(patch)
    directive = patch.pop(_DIRECTIVE, "merge")
    if directive == "replace":
        return _plain(patch)
    if directive == "delete":
        return {}
    if directive != "merge":
        raise bad_request(f"unable to recognize directive: {directive}")
    kept = patch.pop(_RETAIN, None)
    merged = {key: value for key, value in doc.items() if kept is None or key in kept}
    orders = _directives(patch, _ORDER)
    for key, gone in _directives(patch, _DELETE).items():
        merged[key] = [one for one in entries(merged, key) if one not in gone]
    for key, value in patch.items():
        _merge_member(merged, key, value, schema.child(key) or ANY, orders.get(key))
    for key, order in orders.items():
        if key not in patch and is_array(merged.get(key)):
            merge_key = (schema.child(key) or ANY).merge_key
            merged[key] = _reorder(merged[key], order, merged[key], merge_key)
    return merged


def _directives(patch: Document, prefix: str) -> Document:
    """Take the directives of one kind out of a patch; keyed by the member they are about."""
    found = [key for key in patch if key.startswith(prefix)]
    return {key.removeprefix(prefix): patch.pop(key) for key in found}


def _merge_member(
    merged: Document, key: str, value: Any, schema: Schema, order: list[Any] | None
) -> None:
    before = merged.get(key)
    if value is None:
        merged.pop(key, None)
    elif is_object(value) and is_object(before) and _merges(schema):
        merged[key] = _merge_map(before, value, schema)
    elif is_array(value) and is_array(before) and "merge" in schema.strategies:
        merged[key] = _merge_list(before, value, schema, order)
    else:
        merged[key] = _plain(value)


def _merges(schema: Schema) -> bool:
    return "replace" not in schema.strategies


def _merge_list(before: list[Any], patch: list[Any], schema: Schema, order: Any) -> list[Any]:
    key = schema.merge_key
    if not key:
        merged = before + [one for one in patch if one not in before]
        return _reorder(merged, order if order is not None else patch, before, "")
    if any(one.get(_DIRECTIVE) == "replace" for one in patch):
        return [_plain(one) for one in patch if one.get(_DIRECTIVE) != "replace"]
    wanted = [one for one in patch if one.get(_DIRECTIVE) != "delete"]
    gone = [_key_of(one, key) for one in patch if one.get(_DIRECTIVE) == "delete"]
    merged = [one for one in before if one.get(key) not in gone]
    for one in wanted:
        at = next((i for i, old in enumerate(merged) if old.get(key) == _key_of(one, key)), None)
        if at is None:
            merged.append(_plain(one))
        else:
            merged[at] = _merge_map(merged[at], one, schema.items or ANY)
    return _reorder(merged, order if order is not None else wanted, before, key)


def _key_of(element: Document, key: str) -> Any:
    if key not in element:
        raise bad_request(f"map: {element} does not contain declared merge key: {key}")
    return element[key]


def _reorder(merged: list[Any], order: list[Any], before: list[Any], key: str) -> list[Any]:
    """Elements named in `order` follow it; the others keep their place relative to `before`."""

    def identity(element: Any) -> Any:
        return element.get(key) if key and is_object(element) else element

    wanted = [identity(one) for one in order]
    stood = [identity(one) for one in before]
    named = sorted(
        (one for one in merged if identity(one) in wanted),
        key=lambda one: wanted.index(identity(one)),
    )
    others = [one for one in merged if identity(one) not in wanted]
    result = list[Any]()
    while named and others:
        left, right = identity(others[0]), identity(named[0])
        first = left in stood and right in stood and stood.index(left) < stood.index(right)
        result.append(others.pop(0) if first else named.pop(0))
    return result + others + named


def _plain(value: Any) -> Any:
    """A patch value that meets nothing: without directives and nulls."""
    if is_array(value):
        items = [_plain(one) for one in value if not _is_delete(one)]
        return [one for one in items if one is not None]
    if not is_object(value):
        return value
    return {
        key: _plain(below)
        for key, below in value.items()
        if below is not None
        and key not in (_DIRECTIVE, _RETAIN)
        and not key.startswith((_ORDER, _DELETE))
    }


def _is_delete(value: Any) -> bool:
    return is_object(value) and value.get(_DIRECTIVE) == "delete"
