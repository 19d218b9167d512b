"""The Talos image factory: whether it knows a schematic and a version, and how it learns one.

Only names leave for it: which extensions an image has is no secret.
"""

import http.client
import json
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from windlass.deadline import Trust, within
from windlass.errors import (
    AmbiguousError,
    BadInputError,
    RefusedError,
    UnreachableError,
    WindlassError,
)

HTTPS = 443
LONGEST = 4 * 1024 * 1024
NOT_FOUND = 404
SERVER_TROUBLE = 500
REFUSED = 400


class FactoryClient:
    """One image factory; every call has a total deadline.

    Raises:
        BadInputError: `ca_file` holds no certificate that can be read.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None,
        reach: Callable[[str, int], tuple[str, int]],
        agent: str,
        deadline: timedelta,
    ) -> None:
        parts = urlsplit(url)
        self._name = parts.hostname or ""
        self._prefix = parts.path.rstrip("/")
        self._where = reach(self._name, parts.port or HTTPS)
        self._agent = agent
        self._deadline = deadline
        self._trust = _trust(ca_file)

    def versions(self) -> frozenset[str]:
        """The Talos versions it can build."""
        return frozenset(self._call("GET", "/versions"))

    def knows(self, schematic: str) -> bool:
        """Whether the schematic was ever registered; only then has it images."""
        try:
            self._call("GET", f"/schematics/{schematic}")
        except _NotFoundError:
            return False
        return True

    def register(self, canonical: str) -> str:
        """Make a schematic known; its id. Doing it twice is doing it once."""
        said = self._call("POST", "/schematics", canonical.encode())
        return str(said["id"])

    def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        unanswered: type[WindlassError] = UnreachableError if method == "GET" else AmbiguousError
        connection = _Connection(self._name, self._where, self._trust)
        try:
            with within(self._deadline):
                connection.connect()
                connection.request(method, self._prefix + path, body, {"User-Agent": self._agent})
                answer = connection.getresponse()
                content = answer.read(LONGEST)
        except ssl.SSLCertVerificationError as error:
            raise RefusedError(
                f"the image factory {self._name} is not who it must be: {error}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise unanswered(f"the image factory {self._name} did not answer: {error}") from error
        finally:
            connection.close()
        return self._understood(method, path, answer.status, content)

    def _understood(self, method: str, path: str, status: int, content: bytes) -> Any:
        said = content[:200].decode(errors="replace").strip()
        if status == NOT_FOUND:
            raise _NotFoundError(f"the image factory has no {path}: {said}")
        if status >= SERVER_TROUBLE:
            raise UnreachableError(
                f"the image factory answered {method} {path} with {status}: {said}"
            )
        if status >= REFUSED:
            raise RefusedError(f"the image factory answered {method} {path} with {status}: {said}")
        if path.startswith("/schematics/"):
            return said
        try:
            return json.loads(content)
        except ValueError as error:
            raise UnreachableError(
                f"the image factory answered {method} {path} with no JSON"
            ) from error


def _trust(ca_file: Path | None) -> Trust:
    """Its own authority where it is somebody's own factory, else those that this machine believes."""
    if ca_file is None:
        return Trust.of(system=True)
    try:
        return Trust.of(ca_file=ca_file)
    except (OSError, ValueError) as error:
        raise BadInputError(f"cluster.image.ca_file {ca_file}: {error}") from error


class _NotFoundError(RefusedError):
    """Absence, where it is an answer."""


class _Connection(http.client.HTTPConnection):
    """A connection to where the factory is reached, proven to be the factory by its own name."""

    def __init__(self, name: str, where: tuple[str, int], trust: Trust) -> None:
        super().__init__(*where, timeout=10)
        self._name = name
        self._trust = trust

    def connect(self) -> None:
        super().connect()
        self.sock = self._trust.wrap_socket(self.sock, server_hostname=self._name)
