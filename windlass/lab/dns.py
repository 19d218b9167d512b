"""The lab's name server: what the site's own name server would answer, over UDP and TCP.

`records` are the names of the site with the addresses the site expects; every other name the lab knows is answered
with the loopback address it stands for. It is authoritative for all of them, recurses to nobody, has A records only.
"""

import asyncio
from collections.abc import Mapping
from ipaddress import IPv4Address

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset

from windlass.lab.world import World

PORT = 5353
# A record that was wrong for one test must not be remembered in the next.
TTL_S = 1
# For documentation only, so a wrong answer never leads anywhere.
NOWHERE = IPv4Address("192.0.2.1")
LENGTH_BYTES = 2


class DnsServer:
    """One name server at the lab's second service address, port 5353."""

    def __init__(self, world: World, records: Mapping[str, IPv4Address]) -> None:
        self._world = world
        self.records = {_normal(name): address for name, address in records.items()}
        self.address = world.network.service(2)
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        world.faults.declare("dns-nxdomain", "says that a name does not exist (host=)")
        world.faults.declare(
            "dns-wrong", f"answers with address= (default {NOWHERE}) for a name (host=)"
        )
        world.faults.declare("dns-silent", "does not answer for a name (host=)")

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        where = (str(self.address), PORT)
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), local_addr=where)
        self._tcp = await asyncio.start_server(self._serve_tcp, *where)

    async def stop(self) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
            await self._tcp.wait_closed()

    def answer(self, wire: bytes) -> bytes | None:
        """Answer one message; None where there is nothing to answer: no query, or a fault says so."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if query.flags & dns.flags.QR:
            return None
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            reply.set_rcode(dns.rcode.NOTIMP)
            return reply.to_wire()
        question = query.question[0]
        name = _normal(question.name.to_text())
        if self._world.faults.fires("dns-silent", host=name):
            return None
        address = self._find(name)
        if address is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.A:
            reply.answer.append(dns.rrset.from_text(question.name, TTL_S, "IN", "A", str(address)))
        return reply.to_wire()

    def _find(self, name: str) -> IPv4Address | None:
        faults = self._world.faults
        if faults.fires("dns-nxdomain", host=name):
            return None
        if wrong := faults.fires("dns-wrong", host=name):
            return IPv4Address(wrong.args.get("address", NOWHERE))
        return self.records.get(name) or self._world.names.get(name)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(LENGTH_BYTES))
                reply = self.answer(await reader.readexactly(length))
                if reply is not None:
                    writer.write(len(reply).to_bytes(LENGTH_BYTES) + reply)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._server.answer(data)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)


def _normal(name: str) -> str:
    return name.rstrip(".").lower()
