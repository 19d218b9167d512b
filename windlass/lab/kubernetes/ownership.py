"""Server-side apply and the bookkeeping of field managers, for applies and for all other writes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from windlass.lab.kubernetes import fieldsets
from windlass.lab.kubernetes.documents import Document, entries, is_array, is_object, section
from windlass.lab.kubernetes.fieldsets import Path, Trie
from windlass.lab.kubernetes.schema import ANY, Schema
from windlass.lab.kubernetes.status import ApiError, Cause

# Never owned by anybody.
_STRIPPED: tuple[Path, ...] = (
    ("f:apiVersion",),
    ("f:kind",),
    *(
        ("f:metadata", f"f:{name}")
        for name in (
            "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation",
            "managedFields", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds",
        )
    ),
)  # fmt: skip

# Struct members that Go writes even when they are empty: adding below them adds only what is below.
_ALWAYS_THERE = {
    "metadata", "spec", "status", "template", "strategy", "updateStrategy", "jobTemplate", "resources",
    "containers",
}  # fmt: skip

# Update managers beyond this are folded into one, oldest first.
_MOST_UPDATERS = 10


@dataclass(frozen=True)
class Who:
    """A field manager at work. `now` is an RFC 3339 time."""

    manager: str
    api_version: str
    now: str
    subresource: str = ""
    operation: str = "Update"


@dataclass(frozen=True)
class Entry:
    """What one manager owns, as it stands in `metadata.managedFields`."""

    who: Who
    fields: Trie

    @classmethod
    def parse(cls, doc: Document) -> "Entry":
        who = Who(
            manager=doc.get("manager", ""),
            api_version=doc.get("apiVersion", ""),
            now=doc.get("time", ""),
            subresource=doc.get("subresource", ""),
            operation=doc.get("operation", "Update"),
        )
        return cls(who, section(doc, "fieldsV1"))

    def json(self) -> Document:
        doc = {
            "manager": self.who.manager,
            "operation": self.who.operation,
            "apiVersion": self.who.api_version,
            "time": self.who.now,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields,
            "subresource": self.who.subresource,
        }
        return {key: value for key, value in doc.items() if value != ""}

    def is_of(self, who: Who) -> bool:
        mine, theirs = replace(self.who, now=""), replace(who, now="")
        if mine.operation == "Apply":
            mine, theirs = replace(mine, api_version=""), replace(theirs, api_version="")
        return mine == theirs


@dataclass(frozen=True)
class Comparison:
    """What changed between two states: `changed` is added or modified."""

    changed: Trie
    removed: Trie


def compare(before: Any, after: Any, schema: Schema) -> Comparison:
    """Two values that are not atomic."""
    old = {key: (below, inner) for key, below, inner in fieldsets.members(before, schema)}
    changed: Trie = {}
    removed: Trie = {}
    for key, below, inner in fieldsets.members(after, schema):
        if key not in old:
            changed[key] = _added(key, below, inner)
            continue
        was, _ = old.pop(key)
        if was is below or (was == below and type(was) is type(below)):
            continue
        if fieldsets.is_atomic(below, inner) or type(was) is not type(below):
            changed[key] = {}
            continue
        under = compare(was, below, inner)
        if under.changed:
            changed[key] = under.changed
        if under.removed:
            removed[key] = under.removed
    for key, (below, inner) in old.items():
        removed[key] = _added(key, below, inner)
    return Comparison(changed, removed)


def _added(key: str, value: Any, schema: Schema, *, in_list: bool = False) -> Trie:
    if fieldsets.is_atomic(value, schema) or not value:
        return {}
    in_list = in_list or key.startswith("k:")
    under: Trie = {}
    for element, below, inner in fieldsets.members(value, schema):
        under[element] = _added(element, below, inner, in_list=in_list)
    # A new list element had no members of its own before, not even empty ones.
    always = not in_list and key.removeprefix("f:") in _ALWAYS_THERE
    return under if always else {".": {}, **under}


def strip(fields: Trie) -> Trie:
    for path in _STRIPPED:
        fields = fieldsets.without(fields, path)
    return fields


def entries_of(doc: Document) -> list[Entry]:
    return [Entry.parse(one) for one in entries(doc["metadata"], "managedFields")]


def track_update(live: Document | None, new: Document, schema: Schema, who: Who) -> None:
    """Write into `new` who owns what after an update by `who`; `live` is None for a creation."""
    entries = entries_of(live) if live else []
    base: Document = live or {"metadata": {}}
    found = compare(_without_managers(base), _without_managers(new), schema)
    changed, removed = strip(found.changed), strip(found.removed)
    if not changed and not removed:
        _write(new, entries)
        return
    after = [
        entry
        if entry.is_of(who)
        else replace(
            entry, fields=fieldsets.difference(fieldsets.difference(entry.fields, changed), removed)
        )
        for entry in entries
    ]
    mine = next((entry for entry in after if entry.is_of(who)), None)
    before = mine.fields if mine else {}
    fields = fieldsets.union(fieldsets.difference(before, removed), changed)
    after = [entry for entry in after if not entry.is_of(who)]
    if fields:
        time = mine.who.now if mine and fields == before else who.now
        after.append(Entry(replace(who, now=time), fields))
    _write(new, _fold([entry for entry in after if entry.fields]))


def _without_managers(doc: Document) -> Document:
    metadata = {k: v for k, v in section(doc, "metadata").items() if k != "managedFields"}
    return {**doc, "metadata": metadata}


def _fold(entries: list[Entry]) -> list[Entry]:
    updaters = sorted(
        (e for e in entries if e.who.operation == "Update"), key=lambda entry: entry.who.now
    )
    surplus = updaters[: max(0, len(updaters) - _MOST_UPDATERS + 1)]
    if len(updaters) <= _MOST_UPDATERS:
        return entries
    ancient: Trie = {}
    for entry in surplus:
        ancient = fieldsets.union(ancient, entry.fields)
    folded = Entry(replace(surplus[-1].who, manager="ancient-changes"), ancient)
    return [folded, *(entry for entry in entries if entry not in surplus)]


def _write(doc: Document, entries: Iterable[Entry]) -> None:
    listed = sorted(
        entries,
        key=lambda e: (e.who.operation != "Apply", e.who.now, e.who.manager, e.who.api_version),
    )
    if listed:
        doc["metadata"]["managedFields"] = [entry.json() for entry in listed]
    else:
        doc["metadata"].pop("managedFields", None)


def apply(
    live: Document, config: Document, schema: Schema, who: Who, *, force: bool
) -> tuple[Document, list[Entry]]:
    """Merge an applied configuration into the live object; return it with the managers that own it then.

    Raises:
        ApiError: 409, fields of other managers would change and `force` is not set.
    """
    entries = entries_of(live)
    mine = next((entry for entry in entries if entry.is_of(who)), None)
    last = mine.fields if mine else {}
    applied = fieldsets.field_set(config, schema)
    wanted = strip(applied)
    others = [entry for entry in entries if entry is not mine]
    base = _without_managers(live)
    merged = merge(base, config, schema)
    # Name and namespace are nobody's, and yet what they lie in stays.
    kept = applied
    for entry in others:
        kept = fieldsets.union(kept, entry.fields)
    for path in _to_remove(last, kept):
        _remove(merged, path, schema)
    found = compare(base, merged, schema)
    others = _settle(others, strip(found.changed), strip(found.removed), force=force)
    now = last == wanted and mine is not None and mine.who.now
    after = [*others, Entry(replace(who, now=now or who.now), wanted)]
    return merged, [entry for entry in after if entry.fields]


def write_entries(doc: Document, entries: Iterable[Entry]) -> None:
    """Put managers into an object that carries the outcome of `apply`."""
    _write(doc, entries)


def _settle(others: list[Entry], changed: Trie, removed: Trie, *, force: bool) -> list[Entry]:
    taken = [(entry, fieldsets.intersection(entry.fields, changed)) for entry in others]
    conflicts = [(entry, fields) for entry, fields in taken if fields]
    if conflicts and not force:
        raise _conflict(conflicts)
    return [
        replace(entry, fields=fieldsets.difference(fieldsets.difference(entry.fields, f), removed))
        for entry, f in taken
    ]


def _conflict(conflicts: list[tuple[Entry, Trie]]) -> ApiError:
    causes = list[Cause]()
    grouped: dict[str, list[str]] = {}
    for entry, fields in conflicts:
        who = entry.who
        said = f'"{who.manager}"'
        if who.subresource:
            said += f' with subresource "{who.subresource}"'
        if who.operation == "Update":
            said += f" using {who.api_version}"
        for path in fieldsets.paths(fields):
            shown = fieldsets.display(path)
            causes.append(Cause("FieldManagerConflict", f"conflict with {said}", shown))
            grouped.setdefault(said, []).append(shown)
    lines = [
        f"conflict with {said}: {fields[0]}"
        if len(causes) == 1
        else f"conflicts with {said}:\n" + "\n".join(f"- {one}" for one in fields)
        for said, fields in sorted(grouped.items())
    ]
    count = "1 conflict" if len(causes) == 1 else f"{len(causes)} conflicts"
    return ApiError(
        409,
        "Conflict",
        f"Apply failed with {count}: " + "\n".join(lines),
        details={"causes": [cause.json() for cause in causes]},
    )


def merge(live: Any, config: Any, schema: Schema) -> Any:
    """The live value with the configuration laid over it: list maps by key, sets as unions, the rest replaced."""
    if is_object(config) and is_object(live) and not schema.atomic:
        merged = dict(live)
        for key, below in config.items():
            if key in live:
                merged[key] = merge(live[key], below, schema.child(key) or ANY)
            else:
                merged[key] = below
        return merged
    if is_array(config) and is_array(live) and not fieldsets.is_atomic(live, schema):
        return _merge_lists(live, config, schema)
    return config


def _merge_lists(live: list[Any], config: list[Any], schema: Schema) -> list[Any]:
    """Elements of both in the configuration's order; elements of the live list alone keep their neighbours."""
    items = schema.items or ANY
    theirs = {fieldsets.element_key(one, schema): one for one in live}
    ours = {fieldsets.element_key(one, schema): one for one in config}
    left, right = list(theirs), list(ours)
    merged = list[Any]()
    while left or right:
        head = left[0] if left else ""
        if head and head not in ours:
            merged.append(theirs[left.pop(0)])
        elif head and head != next((key for key in right if key in theirs), None):
            # Taken already, or not its turn: it comes where the configuration has it.
            left.pop(0)
        else:
            key = right.pop(0)
            known = key in theirs and schema.keys
            merged.append(merge(theirs[key], ours[key], items) if known else ours[key])
            if key == head:
                left.pop(0)
    return merged


def _to_remove(last: Trie, kept: Trie) -> list[Path]:
    """What the manager owned and nobody owns now, shallow paths first."""
    return [path for path in _named_members(last) if not _owned(kept, path)]


def _named_members(trie: Trie, at: Path = ()) -> Iterable[Path]:
    for key, below in trie.items():
        if key == ".":
            continue
        if key.startswith("f:") or not below or "." in below:
            yield (*at, key)
        yield from _named_members(below, (*at, key))


def _owned(trie: Trie, path: Path) -> bool:
    for part in path:
        if part not in trie:
            return False
        trie = trie[part]
    return path[-1].startswith("f:") or not trie or "." in trie


def _remove(doc: Any, path: Path, schema: Schema) -> None:
    """Take one field out; parents on the way are copied, because the live object shares them."""
    first, rest = path[0], path[1:]
    if first.startswith("f:"):
        key = first[2:]
        if not is_object(doc) or key not in doc:
            return
        if not rest:
            del doc[key]
            return
        doc[key] = _shallow(doc[key])
        _remove(doc[key], rest, schema.child(key) or ANY)
        return
    if not is_array(doc):
        return
    for index, element in enumerate(doc):
        if fieldsets.element_key(element, schema) == first:
            if not rest:
                del doc[index]
            else:
                doc[index] = _shallow(element)
                _remove(doc[index], rest, schema.items or ANY)
            return


def _shallow(value: Any) -> Any:
    if is_object(value):
        return dict(value)
    return list(value) if is_array(value) else value


def plain_copy(doc: Document) -> Document:
    """A document of its own, for those who change it."""
    return orjson.loads(orjson.dumps(doc))
