"""Talos images: the id of a schematic, and where the image factory keeps what is made from it.

The id is the SHA-256 of the schematic's canonical YAML, so it is known before the factory is asked.
"""

import hashlib
from urllib.parse import urlsplit

import yaml

from windlass.models.site import Schematic

PLATFORM = "nocloud"
ARCH = "amd64"


def canonical(schematic: Schematic) -> str:
    """The YAML that the factory hashes: four spaces, its order of keys, the file's order of values."""
    lines: list[str] = []
    if schematic.kernel_args:
        lines += [
            "    extraKernelArgs:",
            *(f"        - {_scalar(a)}" for a in schematic.kernel_args),
        ]
    if schematic.extensions:
        lines += ["    systemExtensions:", "        officialExtensions:"]
        lines += [f"            - {_scalar(e)}" for e in schematic.extensions]
    if not lines:
        return "customization: {}\n"
    return "\n".join(["customization:", *lines, ""])


def schematic_id(schematic: Schematic) -> str:
    """Hex, 64 characters."""
    return hashlib.sha256(canonical(schematic).encode()).hexdigest()


def iso_name(schematic: Schematic, version: str) -> str:
    """The name of the boot image in a Proxmox storage; `version` as in v1.13.9."""
    return f"talos-{version}-{schematic_id(schematic)[:12]}-{PLATFORM}-{ARCH}.iso"


def iso_url(factory: str, schematic: Schematic, version: str) -> str:
    """Where the factory serves the boot image."""
    return f"{factory.rstrip('/')}/image/{schematic_id(schematic)}/{version}/{PLATFORM}-{ARCH}.iso"


def installer_image(factory: str, schematic: Schematic, version: str) -> str:
    """The container image that installs or upgrades to `version` with this schematic's extensions."""
    parts = urlsplit(factory)
    registry = f"{parts.netloc}{parts.path}".rstrip("/")
    return f"{registry}/{PLATFORM}-installer/{schematic_id(schematic)}:{version}"


def _scalar(text: str) -> str:
    """The text as a YAML value, quoted only where YAML would read it as something else."""
    return yaml.safe_dump(text, width=1_000_000).removesuffix("\n").removesuffix("\n...")
