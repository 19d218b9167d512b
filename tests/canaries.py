"""The secrets of a site, and a search for them in everything that is kept: files, databases, compressed parts."""

import base64
import gzip
import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import yaml

# Names of leaves, in secrets.yaml, kubeconfig and talosconfig, whose values open something.
SECRET_LEAVES = frozenset({
    "secret", "token", "key", "bootstraptoken", "secretboxencryptionsecret", "aescbcencryptionsecret",
    "client-key-data",
})  # fmt: skip
DATABASE = b"SQLite format 3\0"
GZIP = b"\x1f\x8b"
# One line of a key's body says enough to know it, and is what a key cut into lines has in it.
PEM_LINE = 60


def secrets_in(path: Path) -> dict[str, str]:
    """Every secret value of a YAML file, by where it stands in it."""
    return dict(_leaves(path.name, yaml.safe_load(path.read_text())))


def _leaves(where: str, found: Any) -> Iterator[tuple[str, str]]:
    if isinstance(found, dict):
        for key, value in cast("dict[str, Any]", found).items():
            if key in SECRET_LEAVES and isinstance(value, str):
                yield f"{where}.{key}", value
            yield from _leaves(f"{where}.{key}", value)
    elif isinstance(found, list):
        for number, value in enumerate(cast("list[Any]", found)):
            yield from _leaves(f"{where}.{number}", value)


def forms_of(secret: str) -> set[bytes]:
    """What a secret looks like where it was written in some other way."""
    plain = {secret.encode()}
    plain |= {line.encode() for line in _decoded(secret).splitlines() if len(line) >= PEM_LINE}
    return {form for one in plain for form in _written(one)}


def _decoded(secret: str) -> str:
    """Keys are PEM behind base64."""
    try:
        text = base64.b64decode(secret, validate=True).decode()
    except ValueError:
        return secret
    return text if "-----BEGIN" in text else secret


def _written(one: bytes) -> Iterator[bytes]:
    yield one
    yield one.hex().encode()
    yield quote(one, safe="").encode()
    yield json.dumps(one.decode()).strip('"').encode()
    for shift in range(3):
        # Base64 of a text that has the secret at any offset; what the neighbours spoil is cut away.
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * shift + one)[4 if shift else 0 : -4]


def search(folder: Path, secrets: dict[str, str]) -> list[str]:
    """`PLACE: SECRET` for every secret in any form in any file below the folder."""
    forms = {name: forms_of(secret) for name, secret in secrets.items()}
    return sorted(
        {
            f"{place}: {name}"
            for path in folder.rglob("*")
            if path.is_file()
            for place, blob in _blobs(path, str(path.relative_to(folder)))
            for name, looks in forms.items()
            if any(look in blob for look in looks)
        }
    )


def _blobs(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """What is in a file; of a database each value too, since a page's end cuts a value in two."""
    content = path.read_bytes()
    yield name, content
    yield from _unpacked(name, content)
    if content.startswith(DATABASE):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            tables = [
                row[0] for row in db.execute("select name from sqlite_master where type = 'table'")
            ]
            for table in tables:
                for row in db.execute(f'select * from "{table}"'):
                    for value in row:
                        if isinstance(value, str | bytes):
                            blob = value.encode() if isinstance(value, str) else value
                            yield f"{name}/{table}", blob
                            yield from _unpacked(f"{name}/{table}", blob)


def _unpacked(name: str, blob: bytes) -> Iterator[tuple[str, bytes]]:
    if blob.startswith(GZIP):
        try:
            yield name, gzip.decompress(blob)
        except (EOFError, OSError, zlib.error):
            # It only begins like one.
            return
