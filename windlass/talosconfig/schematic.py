"""Talos images: the id of a schematic, and where the image factory keeps what is made from it.

The id is the SHA-256 of the schematic's canonical YAML, so it is known before the factory is asked.
"""

import hashlib
from collections.abc import Sequence
from urllib.parse import urlsplit

import yaml

PLATFORM = "nocloud"
ARCH = "amd64"


def canonical(extensions: Sequence[str] = (), kernel_args: Sequence[str] = ()) -> str:
    """The YAML that the factory hashes: four spaces, its order of keys, the given order of values."""
    lines: list[str] = []
    if kernel_args:
        lines += ["    extraKernelArgs:", *(f"        - {_scalar(a)}" for a in kernel_args)]
    if extensions:
        lines += ["    systemExtensions:", "        officialExtensions:"]
        lines += [f"            - {_scalar(e)}" for e in extensions]
    if not lines:
        return "customization: {}\n"
    return "\n".join(["customization:", *lines, ""])


def schematic_id(extensions: Sequence[str] = (), kernel_args: Sequence[str] = ()) -> str:
    """Hex, 64 characters. The order of the values matters."""
    return hashlib.sha256(canonical(extensions, kernel_args).encode()).hexdigest()


def iso_url(factory: str, schematic: str, version: str) -> str:
    """Where the factory serves the boot image; `version` as in v1.13.9."""
    return f"{factory.rstrip('/')}/image/{schematic}/{version}/{PLATFORM}-{ARCH}.iso"


def installer_image(factory: str, schematic: str, version: str) -> str:
    """The container image that installs or upgrades to `version` with the schematic's extensions."""
    parts = urlsplit(factory)
    registry = f"{parts.netloc}{parts.path}".rstrip("/")
    return f"{registry}/{PLATFORM}-installer/{schematic}:{version}"


def _scalar(text: str) -> str:
    """The text as a YAML value, quoted only where YAML would read it as something else."""
    return yaml.safe_dump(text, width=1_000_000).removesuffix("\n").removesuffix("\n...")
