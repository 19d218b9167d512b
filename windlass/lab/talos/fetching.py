"""How a simulated machine downloads a manifest: by the lab's own names, trusting the lab's own authority."""

import socket
import ssl
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from windlass.lab.world import World

# The lab's servers are run by ordinary users, who cannot have the real ports.
PORTS = {443: 8443, 80: 8080}
TIMEOUT = aiohttp.ClientTimeout(total=30)


class FetchError(Exception):
    """Nothing was downloaded; the message is what Talos says."""


class _Names(AbstractResolver):
    """The names of a world; another name does not exist."""

    def __init__(self, world: World) -> None:
        self._names = world.names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self._names.get(host)
        if address is None:
            raise OSError(None, f"lookup {host}: no such host")
        found = ResolveResult(
            hostname=host,
            host=str(address),
            port=PORTS.get(port, port),
            family=family,
            proto=0,
            flags=0,
        )
        return [found]

    async def close(self) -> None:
        """There is nothing to close."""


async def fetch(world: World, url: str, headers: dict[str, str]) -> str:
    """The text behind `url`.

    Raises FetchError.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise FetchError(f'error downloading "{url}": unsupported protocol scheme')
    trust = ssl.create_default_context(cafile=str(world.authority.ca_file))
    connector = aiohttp.TCPConnector(resolver=_Names(world), ssl=trust, use_dns_cache=False)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session,
            session.get(url, headers=headers) as response,
        ):
            if response.status != 200:  # noqa: PLR2004 - HTTP's own number
                raise FetchError(
                    f'error downloading "{url}": bad status: {response.status} {response.reason}'
                )
            return await response.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise FetchError(f'error downloading "{url}": Get "{url}": {error}') from error
