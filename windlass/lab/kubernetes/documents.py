"""Typed looks into JSON documents."""

from typing import Any, TypeGuard

Document = dict[str, Any]


def is_object(value: Any) -> TypeGuard[Document]:
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def dig(doc: Any, *keys: str) -> Any:
    """What lies under `keys`, or None where the way ends early."""
    for key in keys:
        if not is_object(doc):
            return None
        doc = doc.get(key)
    return doc


def section(doc: Document, *keys: str) -> Document:
    """The object under `keys`; empty where there is none."""
    found = dig(doc, *keys)
    return found if is_object(found) else {}


def entries(doc: Document, *keys: str) -> list[Any]:
    """The list under `keys`; empty where there is none."""
    found = dig(doc, *keys)
    return found if is_array(found) else []
