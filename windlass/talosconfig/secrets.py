"""The secrets bundle: everything that makes a Talos cluster this cluster, in talosctl's own layout.

Whoever has it can sign an administrator; without its secretbox key a restored etcd is unreadable.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, cast

import yaml

from windlass.errors import BadInputError
from windlass.talosconfig.pki import (
    Algorithm,
    Entropy,
    KeyPair,
    Mint,
    make_authority,
    new_rsa_key,
)

TOKEN = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
TOKEN_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
TOKEN_LENGTH = 22
# The last multiple of 36 in a byte: what lies beyond would prefer some letters.
EVEN_BYTES = 252


@dataclass(frozen=True, repr=False)
class SecretsBundle:
    """Keys and certificates are PEM with Talos' labels. Exactly one of `secretbox` and `aescbc` is set."""

    cluster_id: str
    cluster_secret: str
    bootstrap_token: str
    trustd_token: str
    etcd: KeyPair
    kubernetes: KeyPair
    aggregator: KeyPair
    service_account: str
    os: KeyPair
    secretbox: str = ""
    aescbc: str = ""

    @classmethod
    def generate(cls, entropy: Entropy, now: datetime) -> Self:
        """A new cluster's secrets. Takes about a second: a 4096-bit RSA key is among them."""
        mint = Mint(entropy, now)
        return cls(
            cluster_id=base64.urlsafe_b64encode(entropy(32)).decode(),
            cluster_secret=base64.b64encode(entropy(32)).decode(),
            bootstrap_token=_token(entropy),
            secretbox=base64.b64encode(entropy(32)).decode(),
            trustd_token=_token(entropy),
            etcd=make_authority(Algorithm.P256, "etcd", mint),
            kubernetes=make_authority(Algorithm.P256, "kubernetes", mint),
            aggregator=make_authority(Algorithm.P256, "", mint),
            service_account=new_rsa_key(),
            os=make_authority(Algorithm.ED25519, "talos", mint),
        )

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """Read what `talosctl gen secrets` or `to_yaml` wrote.

        Raises:
            BadInputError: what is missing or malformed, by key; never a value.
        """
        bundle = _Reader(text)
        secretbox = bundle.text("secrets.secretboxencryptionsecret", needed=False)
        aescbc = bundle.text("secrets.aescbcencryptionsecret", needed=False)
        if bool(secretbox) == bool(aescbc):
            raise BadInputError(
                "secrets bundle: exactly one of secrets.secretboxencryptionsecret and"
                " secrets.aescbcencryptionsecret is needed"
            )
        return cls(
            cluster_id=bundle.text("cluster.id"),
            cluster_secret=bundle.text("cluster.secret"),
            bootstrap_token=bundle.token("secrets.bootstraptoken"),
            trustd_token=bundle.token("trustdinfo.token"),
            etcd=bundle.pair("certs.etcd"),
            kubernetes=bundle.pair("certs.k8s"),
            aggregator=bundle.pair("certs.k8saggregator"),
            service_account=bundle.pem("certs.k8sserviceaccount.key"),
            os=bundle.pair("certs.os"),
            secretbox=secretbox,
            aescbc=aescbc,
        )

    def to_yaml(self) -> str:
        """The bundle as `talosctl gen config --with-secrets` reads it."""
        encryption = (
            {"secretboxencryptionsecret": self.secretbox}
            if self.secretbox
            else {"aescbcencryptionsecret": self.aescbc}
        )
        content = {
            "cluster": {"id": self.cluster_id, "secret": self.cluster_secret},
            "secrets": {"bootstraptoken": self.bootstrap_token} | encryption,
            "trustdinfo": {"token": self.trustd_token},
            "certs": {
                "etcd": encoded_pair(self.etcd),
                "k8s": encoded_pair(self.kubernetes),
                "k8saggregator": encoded_pair(self.aggregator),
                "k8sserviceaccount": {"key": b64(self.service_account)},
                "os": encoded_pair(self.os),
            },
        }
        return yaml.safe_dump(content, sort_keys=False, width=1_000_000)


def b64(pem: str) -> str:
    """PEM as Talos keeps it in YAML: base64 in one line."""
    return base64.b64encode(pem.encode()).decode()


def encoded_pair(pair: KeyPair) -> dict[str, str]:
    """Certificate and key, each as `b64` makes it."""
    return {"crt": b64(pair.crt), "key": b64(pair.key)}


def _token(entropy: Entropy) -> str:
    letters = ""
    while len(letters) < TOKEN_LENGTH:
        letters += "".join(TOKEN_LETTERS[b % 36] for b in entropy(32) if b < EVEN_BYTES)
    return f"{letters[:6]}.{letters[6:TOKEN_LENGTH]}"


class _Reader:
    """Values of the bundle by their dotted key."""

    def __init__(self, text: str) -> None:
        try:
            self._content: Any = yaml.safe_load(text)
        except yaml.YAMLError as error:
            # The parser's own message quotes the line, and the line may hold a key.
            where = getattr(error, "problem_mark", None)
            line = f", line {where.line + 1}" if where is not None else ""
            raise BadInputError(f"secrets bundle: not YAML{line}") from None

    def text(self, key: str, *, needed: bool = True) -> str:
        value: Any = self._content
        for part in key.split("."):
            known = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
            value = known.get(part)
        if value is None and not needed:
            return ""
        if not isinstance(value, str) or not value:
            raise BadInputError(f"secrets bundle: {key} is required and is a string")
        return value

    def token(self, key: str) -> str:
        value = self.text(key)
        if not TOKEN.fullmatch(value):
            raise BadInputError(f"secrets bundle: {key} is not of the form xxxxxx.xxxxxxxxxxxxxxxx")
        return value

    def pem(self, key: str) -> str:
        try:
            value = base64.b64decode(self.text(key), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise BadInputError(f"secrets bundle: {key} is not base64 of PEM") from None
        if not value.startswith("-----BEGIN "):
            raise BadInputError(f"secrets bundle: {key} is not base64 of PEM")
        return value

    def pair(self, key: str) -> KeyPair:
        return KeyPair(crt=self.pem(f"{key}.crt"), key=self.pem(f"{key}.key"))
