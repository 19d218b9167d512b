"""How a simulated host fetches from the web: by the lab's own names, never by the machine's."""

import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from windlass.lab.proxmox.refusals import Refusal
from windlass.lab.world import World

# Ports below 1024 are not for ordinary users: the lab's servers listen higher.
PORTS = {443: 8443, 80: 8080}


class _Names(AbstractResolver):
    """The world's names; a name that is not there does not exist."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self._names.get(host)
        if address is None:
            raise OSError(None, f"unable to resolve host address '{host}'")
        found = ResolveResult(
            hostname=host, host=str(address), port=PORTS.get(port, port), family=family, proto=0,
            flags=socket.AI_NUMERICHOST,
        )  # fmt: skip
        return [found]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def fetched(
    world: World, method: str, url: str, *, verify: bool
) -> AsyncGenerator[aiohttp.ClientResponse]:
    """The answer to one request of a host.

    Raises:
        Refusal: with what wget says: no such name, no connection, a certificate that is not trusted.
    """
    tls = ssl.create_default_context(cafile=str(world.authority.ca_file))
    if not verify:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    host = urlsplit(url).hostname or ""
    if host not in world.names:
        raise Refusal(f"wget: unable to resolve host address '{host}'")
    connector = aiohttp.TCPConnector(resolver=_Names(world.names), ssl=tls, use_dns_cache=False)
    timeout = aiohttp.ClientTimeout(total=120)
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, headers={"User-Agent": "Wget/1.25.0"}
            ) as session,
            session.request(method, url) as response,
        ):
            yield response
    except aiohttp.ClientConnectorCertificateError as untrusted:
        raise Refusal(f"wget: ERROR: The certificate of '{host}' is not trusted.") from untrusted
    except aiohttp.ClientError as error:
        raise Refusal(f"wget: failed: {type(error).__name__}: {error}") from error
    except TimeoutError as late:
        raise Refusal("wget: Read error (Connection timed out) in headers.") from late
