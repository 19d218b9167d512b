"""Reading documents that people write: a part that is missing or of another shape reads as empty."""

from typing import Any, cast

Tree = dict[str, Any]


def table(tree: Any, *path: str) -> Tree:
    """The mapping at `path`."""
    for key in path:
        tree = cast(Tree, tree).get(key) if isinstance(tree, dict) else None
    return cast(Tree, tree) if isinstance(tree, dict) else {}


def rows(tree: Any, *path: str) -> list[Any]:
    """The list at `path`."""
    found = table(tree, *path[:-1]).get(path[-1])
    return cast(list[Any], found) if isinstance(found, list) else []


def tables(tree: Any, *path: str) -> list[Tree]:
    """The mappings in the list at `path`."""
    return [cast(Tree, row) for row in rows(tree, *path) if isinstance(row, dict)]


def text(tree: Any, *path: str) -> str:
    """The value at `path` as it is written; nothing for a mapping or a list."""
    found = table(tree, *path[:-1]).get(path[-1])
    return "" if found is None or isinstance(found, (dict, list)) else str(found)


def flag(tree: Any, *path: str) -> bool:
    """Whether the value at `path` is true."""
    return table(tree, *path[:-1]).get(path[-1]) is True
