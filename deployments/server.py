"""A Prefect server on loopback: found when it answers, started when it does not."""

import base64
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from threading import Event

from deployments.settings import PrefectServer
from windlass.errors import NotReadyError, RefusedError, UnreachableError
from windlass.waiting import Pace, wait_for

# A first start migrates the database: 11 to 15 s on a small machine, twice that on a busy one.
START = timedelta(seconds=120)
PROBE_S = 5


def answers(server: PrefectServer) -> bool:
    """A Prefect server answers and takes our credential.

    Raises:
        RefusedError: something answers there that does not take it.
    """
    request = urllib.request.Request(f"{server.api_url}/admin/version", headers=_basic(server))
    try:
        with urllib.request.urlopen(request, timeout=PROBE_S):
            return True
    except urllib.error.HTTPError as error:
        raise RefusedError(
            f"something answers at {server.api_url} but not as this Windlass's Prefect server ({error.code}): "
            "choose another --port, or set WINDLASS_HOME to the one it belongs to"
        ) from error
    except OSError:
        return False


def _basic(server: PrefectServer) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(server.auth.encode()).decode()}


def ensure_server(
    server: PrefectServer, env: Mapping[str, str], home: Path
) -> subprocess.Popen[bytes] | None:
    """A server answers afterwards; the process when it was started here, to be ended by whoever started it."""
    if answers(server):
        return None
    host, _, port = server.api_url.removeprefix("http://").removesuffix("/api").partition(":")
    with (home / "prefect-server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", port],
            env={**os.environ, **env},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def probe() -> None:
        if process.poll() is not None:
            raise RefusedError(
                f"the Prefect server ended by itself: see {home / 'prefect-server.log'}"
            )
        try:
            up = answers(server)
        except UnreachableError as error:
            raise NotReadyError(str(error)) from error
        if not up:
            raise NotReadyError("no answer yet")

    wait_for(
        "the Prefect server", probe, timeout=START, pace=Pace(timedelta(seconds=0.3)), stop=Event()
    )
    return process
