"""The lab's image factory: what it cannot put into an image it does not pretend to have put there."""

import asyncio
import ssl
from ipaddress import IPv4Network
from pathlib import Path

import aiohttp
import pytest

from windlass.lab.factory import NAME, PORT, ImageFactory
from windlass.lab.world import World

NETWORK = "127.48.0.0/16"


def posted(folder: Path, schematic: str) -> tuple[int, str]:
    """Status and text of the answer to a schematic."""

    async def scenario() -> tuple[int, str]:
        site, loopback = IPv4Network("10.25.150.0/24"), IPv4Network(NETWORK)
        world = World.open(folder, speed=100, site=site, loopback=loopback)
        factory = ImageFactory(world)
        await factory.start()
        tls = ssl.create_default_context(cafile=str(world.authority.ca_file))
        url = f"https://{world.network.service(1)}:{PORT}/schematics"
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.post(url, data=schematic, ssl=tls, server_hostname=NAME) as answer,
            ):
                return answer.status, await answer.text()
        finally:
            await factory.stop()
            world.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("schematic", "named"),
    [
        ("overlay: {name: rpi_generic, image: siderolabs/sbc-raspberrypi}", "overlay"),
        ("customization: {meta: [{key: 12, value: x}]}", "customization.meta"),
        ("customization: {secureboot: {}}", "customization.secureboot"),
        (
            "customization: {systemExtensions: {extensions: [a]}}",
            "customization.systemExtensions.extensions",
        ),
    ],
)
def test_what_the_lab_does_not_build_is_refused_by_name(tmp_path: Path, schematic: str, named: str):
    assert posted(tmp_path, schematic) == (501, f"the lab's factory does not evaluate {named}\n")


def test_what_it_builds_has_an_id(tmp_path: Path):
    status, said = posted(
        tmp_path,
        "customization: {extraKernelArgs: [console=ttyS0], systemExtensions:"
        " {officialExtensions: [siderolabs/qemu-guest-agent]}}",
    )

    assert status == 201
    assert len(said.partition('"id": "')[2].rstrip('"}')) == 64
