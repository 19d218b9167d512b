"""Where an API is and who we are there: given, or a kubeconfig file's current context, kept in memory.

The official loader writes keys to temporary files that outlive a killed process; this one does not.
Only what Windlass and Talos write is read: embedded or named certificates, or a token.
"""

import base64
import binascii
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import SecretStr

from windlass.deadline import Trust, identify
from windlass.errors import BadInputError


@dataclass(frozen=True)
class Access:
    """Where an API is, whom to believe there and who we are. `server_name` is the TLS name."""

    server: str
    server_name: str
    trust: Trust
    token: SecretStr | None


def access(*, server: str, server_name: str, authority: str, certificate: str, key: str) -> Access:
    """Access with what is already in memory; `authority`, `certificate` and `key` are PEM."""
    trust = Trust.of(ca_pem=authority)
    identify(trust, certificate.encode(), key.encode())
    return Access(server=server, server_name=server_name, trust=trust, token=None)


def read_kubeconfig(path: Path) -> Access:
    """Read the current context.

    Raises:
        BadInputError: the file is missing, broken, or asks for what is not supported.
    """
    try:
        document = yaml.safe_load(path.read_bytes())
        context = _named(document, "contexts", document["current-context"])["context"]
        cluster = _named(document, "clusters", context["cluster"])["cluster"]
        user = _named(document, "users", context["user"])["user"]
        return _access(path.parent, cluster, user)
    except OSError as error:
        raise BadInputError(f"kubeconfig {path} cannot be read: {error}") from error
    except (KeyError, TypeError, yaml.YAMLError, ssl.SSLError, ValueError) as error:
        raise BadInputError(f"kubeconfig {path} makes no sense: {_why(error)}") from error


def _access(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> Access:
    if cluster.get("insecure-skip-tls-verify"):
        raise ValueError("insecure-skip-tls-verify is not supported: name the CA")
    if unknown := {"exec", "auth-provider", "username"} & set(user):
        raise ValueError(f"credentials by {', '.join(sorted(unknown))} are not supported")
    server = str(cluster["server"])
    parts = urlsplit(server)
    if parts.scheme != "https" or parts.hostname is None:
        raise ValueError(f"server {server} is no https URL")
    authority = _material(folder, cluster, "certificate-authority")
    if authority is None:
        raise ValueError("the cluster names no certificate-authority")
    trust = Trust.of(ca_pem=authority.decode("ascii"))
    certificate = _material(folder, user, "client-certificate")
    key = _material(folder, user, "client-key")
    if certificate is not None and key is not None:
        identify(trust, certificate, key)
    return Access(
        server=server.rstrip("/"),
        server_name=str(cluster.get("tls-server-name") or parts.hostname),
        trust=trust,
        token=SecretStr(str(user["token"])) if user.get("token") else None,
    )


def _material(folder: Path, where: dict[str, Any], key: str) -> bytes | None:
    if data := where.get(f"{key}-data"):
        return base64.b64decode(data, validate=True)
    if name := where.get(key):
        return (folder / name).read_bytes()
    return None


def _named(document: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = document[kind]
    for entry in found:
        if entry["name"] == name:
            return entry
    raise ValueError(f"{kind} has no {name}")


def _why(error: Exception) -> str:
    # A YAML error quotes the file, which holds keys.
    texts: dict[type[Exception], Callable[[], str]] = {
        KeyError: lambda: f"{error} is missing",
        binascii.Error: lambda: "broken base64",
        TypeError: lambda: "it has not the shape of a kubeconfig",
        ssl.SSLError: lambda: "a certificate or key in it is broken",
    }
    for kind, text in texts.items():
        if isinstance(error, kind):
            return text()
    return "it is no YAML" if isinstance(error, yaml.YAMLError) else str(error)
