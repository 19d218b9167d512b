"""The administrator's talosconfig, signed with the site's own authority."""

from collections.abc import Sequence

import yaml

from windlass.talosconfig.pki import Mint, client_certificate
from windlass.talosconfig.secrets import SecretsBundle, b64

ADMIN = ("os:admin",)


def admin_talosconfig(
    cluster: str,
    secrets: SecretsBundle,
    *,
    endpoints: Sequence[str],
    nodes: Sequence[str],
    mint: Mint,
) -> str:
    """A talosconfig with one context, valid for a year."""
    pair = client_certificate(secrets.os, organization=ADMIN, common_name=None, mint=mint)
    name = f"admin@{cluster}"
    return yaml.safe_dump(
        {
            "context": name,
            "contexts": {
                name: {
                    "endpoints": list(endpoints),
                    "nodes": list(nodes),
                    "ca": b64(secrets.os.crt),
                    "crt": b64(pair.crt),
                    "key": b64(pair.key),
                }
            },
        },
        sort_keys=False,
    )
