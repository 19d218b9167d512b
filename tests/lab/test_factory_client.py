"""The image factory's client against a server that says what a test tells it to: whom it believes, and for how long."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from tests.lab.wire_peer import Drip, Peer, Says, answer, self_signed
from windlass.clients.factory import FactoryClient
from windlass.errors import AmbiguousError, BadInputError, RefusedError, UnreachableError

ADDRESS = "127.46.0.1"
NAME = "factory.example.org"
VERSIONS = answer(200, "OK", b'["v1.13.9"]')


def client(port: int, ca_file: Path | None, deadline: float = 5) -> FactoryClient:
    return FactoryClient(
        f"https://{NAME}",
        ca_file=ca_file,
        reach=lambda _name, _port: (ADDRESS, port),
        agent="windlass/test",
        deadline=timedelta(seconds=deadline),
    )


def peer(folder: Path, says: Says = VERSIONS, subject: str = NAME) -> tuple[Peer, Path]:
    crt, key = self_signed(folder, [subject])
    return Peer(ADDRESS, crt, key, lambda _: says), crt


def test_a_factory_of_ones_own_is_believed_by_its_authority_alone(tmp_path: Path):
    server, crt = peer(tmp_path)
    with server:
        assert client(server.port, crt).versions() == {"v1.13.9"}
        with pytest.raises(RefusedError, match="not who it must be"):
            client(server.port, None).versions()

    assert [request.headers["user-agent"] for request in server.requests] == ["windlass/test"]


def test_without_one_the_authorities_of_the_machine_are_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server, crt = peer(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(crt))
    with server:
        assert client(server.port, None).versions() == {"v1.13.9"}


def test_a_certificate_for_another_name_is_shown_nothing(tmp_path: Path):
    server, crt = peer(tmp_path, subject="elsewhere.example.org")
    with server, pytest.raises(RefusedError, match="not who it must be"):
        client(server.port, crt).versions()

    assert server.requests == []


@pytest.mark.parametrize("system", [False, True])
def test_an_answer_of_one_byte_at_a_time_ends_with_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, system: bool
):
    server, crt = peer(tmp_path, Drip(VERSIONS, pause_s=0.2))
    monkeypatch.setenv("SSL_CERT_FILE", str(crt))
    began = time.monotonic()
    with server, pytest.raises(UnreachableError, match="did not answer"):
        client(server.port, None if system else crt, deadline=0.5).versions()

    # The whole answer would take more than fifteen seconds.
    assert time.monotonic() - began < 10


def test_a_registration_without_an_answer_may_have_happened(tmp_path: Path):
    server, crt = peer(tmp_path, Drip(VERSIONS, pause_s=0.2))
    with server, pytest.raises(AmbiguousError):
        client(server.port, crt, deadline=0.5).register("{}")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_cannot_be_read_is_bad_input(tmp_path: Path, content: str | None):
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content)

    with pytest.raises(BadInputError, match=r"cluster.image.ca_file .*ca.pem"):
        client(1, ca_file)
