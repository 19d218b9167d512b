"""The guard of the tests themselves."""

import socket
import subprocess
import sys

import pytest


def test_a_connection_to_another_machine_is_refused():
    with socket.socket() as sock, pytest.raises(PermissionError, match="loopback only"):
        sock.connect(("192.0.2.1", 80))


def test_a_datagram_to_another_machine_is_refused():
    with (
        socket.socket(type=socket.SOCK_DGRAM) as sock,
        pytest.raises(PermissionError, match="loopback only"),
    ):
        sock.sendto(b"x", ("192.0.2.1", 53))


def test_a_look_up_of_a_name_is_refused():
    with pytest.raises(PermissionError, match=r"example\.org"):
        socket.getaddrinfo("example.org", 443)


def test_loopback_is_allowed():
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())


def test_a_child_process_is_guarded_too():
    code = "import socket; socket.socket().connect(('192.0.2.1', 80))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "NotLoopbackError" in done.stderr
