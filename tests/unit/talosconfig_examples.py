"""One secrets bundle for all tests of configs and credentials: its RSA key takes a second to make."""

from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any

from tests.unit.observing import site_of
from windlass.models.site import Site
from windlass.talosconfig.pki import Entropy, Mint
from windlass.talosconfig.secrets import SecretsBundle

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def counting(seed: bytes = b"") -> Entropy:
    """Bytes that look random and are the same each time."""
    count = 0

    def entropy(length: int) -> bytes:
        nonlocal count
        drawn = b""
        while len(drawn) < length:
            count += 1
            drawn += sha256(seed + count.to_bytes(8, "big")).digest()
        return drawn[:length]

    return entropy


def mint() -> Mint:
    return Mint(counting(b"leaf"), NOW)


@cache
def bundle() -> SecretsBundle:
    return SecretsBundle.generate(counting(), NOW)


def site_with(cluster: dict[str, Any], **nodes: dict[str, Any]) -> Site:
    """An invented site, with `cluster` and some nodes (by name, with _ for -) changed."""
    body = site_of().model_dump(mode="json", exclude_unset=True)
    body["cluster"] |= cluster
    for node in body["nodes"]:
        node.update(nodes.get(node["name"].replace("-", "_"), {}))
    return Site.model_validate(body)
