"""How proxmoxer's calls reach a Proxmox host: one TLS connection, total deadlines, no surprises.

proxmoxer asks for a session with `request`. This one follows no redirect, sends nothing twice,
reads no proxy from the environment, says whether bytes had left when something broke, and takes
nothing for an answer that is not Proxmox's JSON.
"""

import http.client
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

import orjson
from proxmoxer import ProxmoxAPI  # pyright: ignore[reportMissingTypeStubs]
from proxmoxer.core import ResourceException  # pyright: ignore[reportMissingTypeStubs]

from windlass.deadline import Trust, remaining, within
from windlass.errors import BadInputError, RefusedError, UnreachableError

logger = logging.getLogger(__name__)

# A live host accepts within milliseconds; the rest of the deadline belongs to the next endpoint.
CONNECT = timedelta(seconds=3)
# pveproxy closes idle connections after 5 s: an older one would lose the request it gets.
IDLE_S = 3.0
# The largest answer of a cluster of hundreds of guests is a few MB; more is not Proxmox.
LARGEST_BODY = 64 * 1024 * 1024
PROXMOX_PORT = 8006

Reach = Callable[[str, int], tuple[str, int]]


class NoAnswerError(Exception):
    """The request left and what came back, if anything, does not tell what became of it."""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, in the words proxmoxer looks for."""

    status_code: int
    reason: str
    content: bytes
    content_type: str

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


class _Connection(http.client.HTTPSConnection):
    """A connection to one endpoint: named as the site names it, reached where `reach` says."""

    def __init__(self, name: str, port: int, reached: tuple[str, int], trust: Trust) -> None:
        super().__init__(name, port, context=trust)
        self._reached = reached
        self._trust = trust

    def connect(self) -> None:
        with within(CONNECT):
            plain = socket.create_connection(self._reached, timeout=remaining())
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with within(CONNECT):
                plain.settimeout(remaining())
                self.sock = self._trust.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


class Wire:
    """The session proxmoxer calls: connects to the first endpoint that answers, and stays there."""

    def __init__(
        self, endpoints: tuple[str, ...], reach: Reach, trust: Trust, headers: Mapping[str, str]
    ) -> None:
        self._endpoints = [_endpoint(url) for url in endpoints]
        self._reach = reach
        self._trust = trust
        self._headers = dict(headers)
        self._open: _Connection | None = None
        self._used = 0.0

    def request(self, method: str, url: str, data: Any = None, params: Any = None) -> Answer:
        """Send one request and read its answer.

        Raises:
            UnreachableError: no endpoint could be connected to; nothing was sent.
            RefusedError: none could be trusted; nothing was sent.
            NoAnswerError: the request left and the answer is missing or not Proxmox's.
        """
        path = quote(urlsplit(url).path, safe="/:@!%")
        headers = dict(self._headers)
        body = None
        if method in ("POST", "PUT"):
            body = urlencode(data or {}).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif params:
            path = f"{path}?{urlencode(params)}"
        connection = self._connected(fresh=method != "GET")
        try:
            connection.request(method, path, body, headers)
            answer = _read(connection.getresponse())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NoAnswerError(_said(error)) from error
        if connection.sock is None:  # the server said Connection: close
            self.close()
        self._used = time.monotonic()
        return answer

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _connected(self, *, fresh: bool) -> _Connection:
        """Return an open connection; a write never meets one that Proxmox may be closing."""
        if self._open is not None and not fresh and time.monotonic() - self._used < IDLE_S:
            return self._open
        self.close()
        failures: list[str] = []
        untrusted: dict[str, ssl.SSLCertVerificationError] = {}
        for name, port in list(self._endpoints):
            connection = _Connection(name, port, self._reach(name, port), self._trust)
            try:
                connection.connect()
            except OSError as error:
                connection.close()
                failures.append(f"{name}:{port}: {_said(error)}")
                if isinstance(error, ssl.SSLCertVerificationError):
                    untrusted[failures[-1]] = error
                self._endpoints.append(self._endpoints.pop(0))
            else:
                for failure in untrusted:
                    logger.warning("Proxmox at %s is not trusted", failure)
                self._open = connection
                return connection
        if untrusted:
            raise RefusedError(
                "Proxmox's certificate is not trusted, nothing was sent: "
                f"{'; '.join(failures)}. If the host is yours, name its CA in proxmox.ca_file "
                "(/etc/pve/pve-root-ca.pem) or its SHA-256 in proxmox.fingerprints"
            ) from next(iter(untrusted.values()))
        raise UnreachableError(f"no Proxmox endpoint can be reached: {'; '.join(failures)}")


class Json:
    """proxmoxer's serializer: an answer is JSON with `data`, or it is none."""

    def get_accept_types(self) -> str:
        return "application/json"

    def loads(self, answer: Answer) -> Any:
        body = _object(answer)
        if "data" not in body:
            raise NoAnswerError("the answer has no data")
        return body["data"]

    def loads_errors(self, answer: Answer) -> dict[str, Any]:
        """The whole error body: `errors` by parameter, and `message` with all lines of a reason."""
        with suppress(NoAnswerError):
            return _object(answer)
        return {}


class RefusalError(Exception):
    """Proxmox answered with an error: status, reason phrase and the JSON body, if any."""

    def __init__(self, status: int, reason: str, body: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.body = body


class Api(ProxmoxAPI):
    """proxmoxer's API on our wire. proxmoxer itself makes no connection when a token is given."""

    def __init__(self, wire: Wire, token_id: str) -> None:
        user, _, token = token_id.partition("!")
        # The secret is the wire's: proxmoxer's own session, which would carry it, is never used.
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            "proxmox", user=user, token_name=token, token_value=""
        )
        self._store["session"] = wire
        self._store["serializer"] = Json()

    def send(self, method: str, path: str, settings: Mapping[str, str | int]) -> Any:
        """Return `data` of the answer.

        Raises RefusalError beside what `Wire.request` raises.
        """
        resource: Any = self(path.strip("/"))
        try:
            return getattr(resource, method.lower())(**settings)
        except ResourceException as error:
            refusal: Any = error
            raise RefusalError(
                int(refusal.status_code), str(refusal.content), refusal.errors or {}
            ) from error


def _endpoint(url: str) -> tuple[str, int]:
    parts = urlsplit(url if "//" in url else f"https://{url}")
    if parts.scheme != "https" or parts.hostname is None:
        raise BadInputError(f"{url} is no Proxmox endpoint: write https://HOST:8006")
    return parts.hostname, parts.port or PROXMOX_PORT


def _read(response: http.client.HTTPResponse) -> Answer:
    content = response.read(LARGEST_BODY + 1)
    if len(content) > LARGEST_BODY:
        raise http.client.HTTPException(f"the answer is larger than {LARGEST_BODY} bytes")
    status, location = response.status, response.getheader("Location", "")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise http.client.HTTPException(f"redirected to {location}, which is not followed")
    return Answer(status, response.reason, content, response.getheader("Content-Type", ""))


def _object(answer: Answer) -> dict[str, Any]:
    if "json" not in answer.content_type:
        raise NoAnswerError(f"the answer is {answer.content_type or 'of no type'}, not JSON")
    try:
        body = orjson.loads(answer.content)
    except orjson.JSONDecodeError as error:
        raise NoAnswerError(f"the answer is broken JSON: {error}") from error
    if not isinstance(body, dict):
        raise NoAnswerError("the answer is JSON, but no object")
    return cast(dict[str, Any], body)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
