"""The administrator's kubeconfig, signed with the site's own authority."""

import yaml

from windlass.talosconfig.pki import KeyPair, Mint, client_certificate
from windlass.talosconfig.secrets import SecretsBundle, b64


def admin_certificate(secrets: SecretsBundle, mint: Mint) -> KeyPair:
    """The client certificate of an administrator of Kubernetes, valid for a year."""
    return client_certificate(
        secrets.kubernetes, organization=("system:masters",), common_name="admin", mint=mint
    )


def admin_kubeconfig(
    cluster: str, secrets: SecretsBundle, *, server: str, tls_server_name: str | None, mint: Mint
) -> str:
    """A kubeconfig with one context, valid for a year. `tls_server_name` must answer where `server` is a detour."""
    pair = admin_certificate(secrets, mint)
    name = f"admin@{cluster}"
    reached: dict[str, str] = {
        "server": server,
        "certificate-authority-data": b64(secrets.kubernetes.crt),
    }
    if tls_server_name is not None:
        reached["tls-server-name"] = tls_server_name
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": cluster, "cluster": reached}],
            "contexts": [
                {
                    "name": name,
                    "context": {"cluster": cluster, "user": name, "namespace": "default"},
                }
            ],
            "users": [
                {
                    "name": name,
                    "user": {
                        "client-certificate-data": b64(pair.crt),
                        "client-key-data": b64(pair.key),
                    },
                }
            ],
        },
        sort_keys=False,
    )
