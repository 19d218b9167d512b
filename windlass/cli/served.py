"""The Prefect server of `windlass serve` over plain HTTP, so that the command line need not import Prefect."""

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

from windlass.errors import RefusedError, UnreachableError
from windlass.waiting import Pace, wait_for

CALL_S = 30
# SQLite's "database is locked" arrives as 503; the server is back within seconds.
PATIENCE = timedelta(seconds=60)
PACE = Pace(first=timedelta(seconds=0.3), longest=timedelta(seconds=2))
TRY_AGAIN = frozenset({404, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Served:
    """One serving Windlass: its API, its credential, its deployments by verb."""

    api_url: str
    auth: str
    deployments: dict[str, str]
    pid: int

    @property
    def ui(self) -> str:
        return self.api_url.removesuffix("/api")

    def start(self, verb: str, parameters: dict[str, Any]) -> str:
        """Start the deployment of a verb; the id of its flow run."""
        name = self.deployments.get(verb)
        if name is None:
            raise RefusedError(
                f"windlass serve has no deployment for {verb}: restart it with this version"
            )
        found = self.patiently("GET", f"/deployments/name/{name}")
        run = self.patiently(
            "POST", f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters}
        )
        return str(run["id"])

    def state_of(self, run: str) -> tuple[str, str, str]:
        """Type, name and message of a run's state."""
        state = self.call("GET", f"/flow_runs/{run}")["state"]
        return state["type"], state["name"], state.get("message") or ""

    def patiently(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A call, tried again while the server is busy."""
        return wait_for(
            f"the Prefect server to answer {method} {path}", lambda: self.call(method, path, body),
            timeout=PATIENCE, pace=PACE, stop=Event(),
        )  # fmt: skip

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One call to the API.

        Raises:
            UnreachableError: no answer, or one that may be another in a moment. RefusedError: it said no.
        """
        basic = base64.b64encode(self.auth.encode()).decode()
        request = urllib.request.Request(
            self.api_url + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Basic {basic}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=CALL_S) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            kind = UnreachableError if error.code in TRY_AGAIN else RefusedError
            said = error.read()[:300].decode(errors="replace")
            raise kind(
                f"the Prefect server answered {error.code} to {method} {path}: {said}"
            ) from error
        except OSError as error:
            raise UnreachableError(
                f"the Prefect server does not answer at {self.api_url}: {error}"
            ) from error


def contract(home: Path) -> Served:
    """What `serve.json` says.

    Raises:
        RefusedError: nothing serves here.
    """
    try:
        said = json.loads((home / "serve.json").read_text())
        auth = Path(said["auth_file"]).read_text().strip()
    except OSError as error:
        raise RefusedError(
            "no Prefect server: start one with windlass serve, or add --local to run without"
        ) from error
    return Served(said["api_url"], auth, said["deployments"], said["pid"])
