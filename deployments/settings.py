"""How Prefect is set for Windlass, as environment variables: nothing here imports Prefect, which reads them once."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 4200


@dataclass(frozen=True)
class PrefectServer:
    """Where the API is and what opens it. Write access to it is root: loopback, a secret, a private folder."""

    api_url: str
    auth_file: Path

    @property
    def auth(self) -> str:
        return self.auth_file.read_text().strip()


def local_server(home: Path, port: int) -> PrefectServer:
    """The server of this WINDLASS_HOME; its credential is made on first use (0600)."""
    auth_file = home / "prefect-auth"
    if not auth_file.exists():
        handle = os.open(auth_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(f"windlass:{secrets.token_urlsafe(32)}")
    return PrefectServer(f"http://127.0.0.1:{port}/api", auth_file)


def environment(home: Path, server: PrefectServer) -> dict[str, str]:
    """What every process that touches Prefect needs to see."""
    prefect, temporary = home / "prefect", home / "tmp"
    for folder in (prefect, temporary):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    return {
        # Prefect's runner makes a folder for each of its lives, and never removes one.
        "TMPDIR": str(temporary),
        "PREFECT_HOME": str(prefect),
        "PREFECT_API_URL": server.api_url,
        "PREFECT_API_AUTH_STRING": server.auth,
        "PREFECT_SERVER_API_AUTH_STRING": server.auth,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        # In memory, a slot whose holder and server both died would stay taken for ever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "windlass,tasks,flows",
        "PREFECT_LOGGING_ROOT_LEVEL": "INFO",
    }
