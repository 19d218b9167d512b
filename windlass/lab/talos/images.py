"""Which Talos an installer image holds. The lab pulls nothing: it knows images by their names."""

import re

from windlass.lab.machine import Medium
from windlass.lab.talos.trees import rows
from windlass.lab.world import World

VANILLA = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
_FACTORY = re.compile(
    r"^[\w.-]+(?::\d+)?/(?:(?P<platform>[a-z]+)-)?installer(?P<secure>-secureboot)?/(?P<schematic>[0-9a-f]{64}):(?P<version>v[\w.-]+)$"
)
_PLAIN = re.compile(r"^ghcr\.io/siderolabs/installer:(?P<version>v[\w.-]+)$")
# Releases that exist in the lab.
VERSIONS = (
    "v1.11.6", "v1.12.4", "v1.12.5", "v1.12.6", "v1.12.8", "v1.12.9", "v1.12.10", "v1.12.11",
    "v1.13.0", "v1.13.2", "v1.13.5", "v1.13.6", "v1.13.7", "v1.13.8", "v1.13.9",
)  # fmt: skip


class UnknownImageError(LookupError):
    """The image cannot be pulled; the message is the puller's."""


def installer(world: World, image: str) -> Medium:
    """What installing this image puts on a disk.

    Raises UnknownImageError.
    """
    if (plain := _PLAIN.match(image)) and plain["version"] in VERSIONS:
        return Medium(plain["version"], VANILLA, "metal")
    named = _FACTORY.match(image)
    if (
        named is None
        or named["version"] not in VERSIONS
        or not _is_known(world, named["schematic"])
    ):
        raise UnknownImageError(
            f'error pulling image: failed to pull image "{image}": failed to resolve reference "{image}":'
            f" {image}: not found"
        )
    return Medium(named["version"], named["schematic"], named["platform"] or "metal")


def _is_known(world: World, schematic: str) -> bool:
    """The factory knows the schematics it was given; the vanilla one it always knew."""
    return schematic == VANILLA or schematic in world.store.section("schematics")


def extensions(world: World, schematic: str) -> tuple[str, ...]:
    """Official extensions of a schematic, such as siderolabs/qemu-guest-agent."""
    document = world.store.section("schematics").get(schematic, {})
    return tuple(
        map(str, rows(document, "customization", "systemExtensions", "officialExtensions"))
    )
