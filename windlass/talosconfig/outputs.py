"""What a kubeconfig or talosconfig that lies on the disk is worth: whose cluster it opens, and until when."""

import base64
import binascii
from datetime import datetime
from typing import Any

import yaml
from cryptography import x509

from windlass.errors import RefusedError
from windlass.talosconfig.pki import KeyPair
from windlass.talosconfig.secrets import SecretsBundle


def kubeconfig_ends(text: str, secrets: SecretsBundle) -> datetime:
    """When the administrator's certificate in this kubeconfig ends.

    Raises:
        RefusedError: it is another cluster's, or none that Windlass wrote.
    """
    document = _document(text)
    try:
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        return _ends(
            cluster["certificate-authority-data"],
            user["client-certificate-data"],
            secrets.kubernetes,
        )
    except (KeyError, IndexError, TypeError) as error:
        raise RefusedError(_NOT_OURS) from error


def talosconfig_ends(text: str, secrets: SecretsBundle) -> datetime:
    """When the administrator's certificate in this talosconfig ends.

    Raises:
        RefusedError: it is another cluster's, or none that Windlass wrote.
    """
    document = _document(text)
    try:
        context = document["contexts"][document["context"]]
        return _ends(context["ca"], context["crt"], secrets.os)
    except (KeyError, TypeError) as error:
        raise RefusedError(_NOT_OURS) from error


_NOT_OURS = "it is not as Windlass writes it"


def _document(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] | str | None = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RefusedError("it is no YAML") from error
    if not isinstance(found, dict):
        raise RefusedError(_NOT_OURS)
    return found


def _ends(authority: str, certificate: str, own: KeyPair) -> datetime:
    try:
        theirs = x509.load_pem_x509_certificate(base64.b64decode(authority, validate=True))
        leaf = x509.load_pem_x509_certificate(base64.b64decode(certificate, validate=True))
    except (binascii.Error, ValueError) as error:
        raise RefusedError("a certificate in it is broken") from error
    if theirs != own.certificate:
        raise RefusedError("it is another cluster's: its authority is not this site's")
    return leaf.not_valid_after_utc
