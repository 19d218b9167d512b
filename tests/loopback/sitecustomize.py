"""Every Python process of the tests starts with this: a connection to anything but this machine is refused.

Python imports `sitecustomize` by itself when its folder is on PYTHONPATH; tests/conftest.py puts it there.
"""

import ipaddress
import socket
import sys
from typing import Any

NAMES = frozenset({"localhost", "", socket.gethostname()})


class NotLoopbackError(PermissionError):
    """A test tried to leave this machine."""


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: it sees every connect, datagram and look-up before it happens."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        sock, address = arguments[0], arguments[1]
        if sock.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
            _refuse_address(str(address[0]))  # pyright: ignore[reportUnknownArgumentType]
    elif event == "socket.getaddrinfo":
        _refuse_name(arguments[0])


def _refuse_address(host: str) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        _refuse_name(host)
        return
    if not (address.is_loopback or address.is_unspecified):
        raise NotLoopbackError(f"tests talk to loopback only, not to {host}")


def _refuse_name(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name in NAMES:
        return
    try:
        _refuse_address(str(ipaddress.ip_address(name)))
    except ValueError as error:
        raise NotLoopbackError(
            f"tests look up no names outside this machine, not {name}"
        ) from error


sys.addaudithook(refuse)
