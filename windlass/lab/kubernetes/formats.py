"""Formats of strings in custom schemas, each as loose or as strict as the real API server takes it."""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date
from ipaddress import IPv6Address, ip_address, ip_interface

_TIME = re.compile(r"(\d{2}):(\d{2}):(\d{2})(.\d+)?(z|[+-]\d{2}:\d{2})", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_AMOUNT = re.compile(r"\d+\s*([a-zµ]+)", re.ASCII)
_UNIT = re.compile(
    r"(ns|nano|nanosecond|us|µs|micro|microsecond|ms|milli|millisecond|s|sec|second|m|min|minute|"
    r"h|hr|hour|d|day|w|wk|week)s?"
)
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:|/)([^\s\x00-\x1f\x7f%]|%[0-9A-Fa-f]{2})*")
_MAC = re.compile(
    r"[0-9a-f]{2}((:[0-9a-f]{2})+|(-[0-9a-f]{2})+)|[0-9a-f]{4}(\.[0-9a-f]{4})+", re.IGNORECASE
)
# Octets of an Ethernet, an EUI-64 and an InfiniBand address.
_MAC_LENGTHS = (6, 8, 20)
_OBJECT_ID = re.compile(r"[0-9a-f]{24}", re.IGNORECASE)
_COLOUR = re.compile(r"#?([0-9a-f]{3}|[0-9a-f]{6})", re.IGNORECASE)
_LEADING_ZEROS = re.compile(r"\b0+(?=\d)")


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return _DATE.fullmatch(text) is not None


def _is_moment(text: str) -> bool:
    day, found, time = text.lower().partition("t")
    parts = _TIME.fullmatch(time)
    if not found or parts is None or not _is_date(day):
        return False
    hour, minute, second = (int(one) for one in parts.group(1, 2, 3))
    return hour < 24 and minute < 60 and second < 60


def _is_duration(text: str) -> bool:
    """Anything with amounts in it, as long as each has a unit."""
    units = _AMOUNT.findall(text.lower())
    return text == "0" or (bool(units) and all(_UNIT.fullmatch(unit) for unit in units))


def _is_address(text: str) -> bool:
    try:
        return "%" not in text and bool(ip_address(_plain(text)))
    except ValueError:
        return False


def _is_ipv4(text: str) -> bool:
    if not _is_address(text):
        return False
    found = ip_address(_plain(text))
    return not isinstance(found, IPv6Address) or found.ipv4_mapped is not None


def _is_network(text: str) -> bool:
    try:
        return "/" in text and bool(ip_interface(_plain(text)))
    except ValueError:
        return False


def _plain(text: str) -> str:
    """Decimal octets without the zeros that Python refuses."""
    return text if ":" in text else _LEADING_ZEROS.sub("", text)


def _is_mac(text: str) -> bool:
    octets = sum(one.isalnum() for one in text) // 2
    return _MAC.fullmatch(text) is not None and octets in _MAC_LENGTHS


def _is_uuid(version: str = "0-9a-f", variant: str = "0-9a-f") -> Callable[[str], bool]:
    form = re.compile(
        rf"[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?[{version}][0-9a-f]{{3}}-?[{variant}][0-9a-f]{{3}}-?[0-9a-f]{{12}}",
        re.IGNORECASE,
    )
    return lambda text: form.fullmatch(text) is not None


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except binascii.Error:
        return False


CHECKS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": lambda text: _OBJECT_ID.fullmatch(text) is not None,
    "byte": _is_base64,
    "cidr": _is_network,
    "date": _is_date,
    "date-time": _is_moment,
    "datetime": _is_moment,
    "duration": _is_duration,
    "hexcolor": lambda text: _COLOUR.fullmatch(text) is not None,
    "ipv4": _is_ipv4,
    "ipv6": lambda text: _is_address(text) and ":" in text,
    "mac": _is_mac,
    "password": lambda _: True,
    "uri": lambda text: _URI.fullmatch(text) is not None,
    "uuid": _is_uuid(),
    "uuid3": _is_uuid("3"),
    "uuid4": _is_uuid("4", "89ab"),
    "uuid5": _is_uuid("5", "89ab"),
}
# The real server checks these; here a definition that wants one is refused.
LACKING = frozenset(
    ("creditcard", "email", "hostname", "isbn", "isbn10", "isbn13", "rgbcolor", "ssn")
)
