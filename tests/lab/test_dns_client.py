"""Names through the site's own name server, here the lab's."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import dns.update
import pytest

from tests.lab.in_thread import Loop
from windlass.clients import dns as client
from windlass.errors import UnreachableError
from windlass.lab.dns import DnsServer
from windlass.lab.world import World

NETWORK = IPv4Network("127.28.0.0/16")
ENDPOINT = IPv4Address("10.25.150.10")
SERVER = IPv4Address("10.25.150.1")


class Names:
    def __init__(self, world: World, loop: Loop) -> None:
        self.world = world
        self.server = DnsServer(world, {"api.kube.test": ENDPOINT})
        self._loop = loop

    def fault(self, name: str, **args: Any) -> None:
        async def switch() -> None:
            self.world.faults.set(name, **args)

        self._loop.run(switch())


def ask(query: Any, how: Callable[..., dns.message.Message] = dns.query.udp) -> dns.message.Message:
    return how(query, "127.28.2.2", port=5353, timeout=5)


@pytest.fixture
def names(tmp_path: Path) -> Iterator[Names]:
    with Loop() as loop:

        async def start() -> Names:
            site = IPv4Network("10.25.150.0/24")
            world = World.open(tmp_path / "lab", speed=1, site=site, loopback=NETWORK)
            world.names["factory.test"] = world.network.service(1)
            names = Names(world, loop)
            await names.server.start()
            return names

        async def stop() -> None:
            await names.server.stop()
            names.world.close()

        names = loop.run(start())
        yield names
        loop.run(stop())


def reach(host: str, port: int) -> tuple[str, int]:
    return {(str(SERVER), 53): ("127.28.2.2", 5353)}.get((host, port), (host, port))


def resolve(name: str) -> tuple[IPv4Address, ...]:
    return client.resolve(name, [SERVER], reach)


@pytest.mark.usefixtures("names")
def test_a_name_of_the_site_has_the_address_the_site_expects():
    assert resolve("API.kube.test.") == (ENDPOINT,)


def test_a_name_of_the_lab_has_its_loopback_address(names: Names):
    assert resolve("factory.test") == (names.world.network.service(1),)


@pytest.mark.usefixtures("names")
def test_an_unknown_name_has_no_address():
    assert resolve("nowhere.test") == ()


def test_a_name_that_is_made_to_disappear_has_no_address(names: Names):
    names.fault("dns-nxdomain", host="api.kube.test")

    assert resolve("api.kube.test") == ()
    assert resolve("factory.test") != ()


def test_a_wrong_answer_is_the_one_the_fault_names(names: Names):
    names.fault("dns-wrong", host="api.kube.test", address="192.0.2.7")

    assert resolve("api.kube.test") == (IPv4Address("192.0.2.7"),)


def test_a_silent_server_is_unreachable(names: Names, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client, "ONE_TRY", timedelta(seconds=0.2))
    monkeypatch.setattr(client, "LIMIT", timedelta(seconds=0.5))
    names.fault("dns-silent", host="api.kube.test")

    with pytest.raises(UnreachableError, match=r"10\.25\.150\.1"):
        resolve("api.kube.test")


@pytest.mark.usefixtures("names")
def test_tcp_answers_as_udp_does():
    query = dns.message.make_query("api.kube.test.", "A")

    reply = ask(query, dns.query.tcp)

    assert [str(one) for one in reply.answer] == [f"api.kube.test. 1 IN A {ENDPOINT}"]


def test_a_type_it_does_not_have_is_empty_and_an_update_is_not_implemented(names: Names):
    assert names.server.address == IPv4Address("127.28.2.2")

    six = dns.query.udp(
        dns.message.make_query("api.kube.test.", "AAAA"), "127.28.2.2", port=5353, timeout=5
    )
    refused = ask(dns.update.UpdateMessage("test."))

    assert (six.rcode(), six.answer) == (dns.rcode.NOERROR, [])
    assert refused.rcode() == dns.rcode.NOTIMP
