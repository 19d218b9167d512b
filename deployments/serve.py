"""`python -m deployments.serve`: the process behind `windlass serve`. Hosts all flows; starts a server if none answers.

Everything that starts something sits behind the `__main__` guard: each flow run is a spawned process that imports this
module again.
"""

import argparse
import asyncio
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from deployments.definitions import read_definitions
from deployments.server import ensure_server
from deployments.settings import DEFAULT_PORT, environment, local_server
from windlass.engine.journal import Journal
from windlass.engine.operation import reconcile
from windlass.errors import BusyError, WindlassError
from windlass.home import windlass_home

CHECKOUT = Path(__file__).resolve().parent.parent
# Flows may park for 30 s and then still have to tell the server.
SERVER_GRACE_S = 15


def main() -> int:
    """Serve until SIGTERM; exit 0 when asked to end."""
    parser = argparse.ArgumentParser(prog="windlass serve", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="of the Prefect server on 127.0.0.1"
    )
    args = parser.parse_args()
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # A line for every request to the server, one each second, hides what happens.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    home = windlass_home()
    try:
        with (home / "serve.lock").open("w") as lock:
            _only_one(lock.fileno(), home)
            return _serve(home, args.port)
    except WindlassError as error:
        print(f"windlass serve: {error}", file=sys.stderr)  # noqa: T201 - the process's own last word
        return 4 if isinstance(error, BusyError) else 3


def _only_one(handle: int, home: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(f"another windlass serve already hosts {home}; end it first") from error


def _serve(home: Path, port: int) -> int:
    server = local_server(home, port)
    env = environment(home, server)
    os.environ.update(env)
    shutil.rmtree(home / "tmp" / "runner_storage", ignore_errors=True)
    sys.path.insert(0, str(CHECKOUT))
    definitions = read_definitions(CHECKOUT / "prefect.yaml")
    started = ensure_server(server, env, home)
    try:
        # Prefect reads its settings from the environment when it is imported, and they are known only now.
        from deployments.hosting import (  # noqa: PLC0415
            build,
            end_orphans,
            end_silent_runs,
            prune_schedules,
            write_contract,
        )

        for identity in reconcile(Journal.open(home)):
            print(f"parked operation {identity}: its process is gone", flush=True)  # noqa: T201
        for name in end_orphans(home):
            print(f"ended orphaned run {name}", flush=True)  # noqa: T201
        end_silent_runs()
        runner = build(definitions)
        for name in prune_schedules(definitions):
            print(f"removed schedule {name}: prefect.yaml no longer has it", flush=True)  # noqa: T201
        write_contract(home, server, definitions)
        print(f"serving at {server.api_url.removesuffix('/api')}", flush=True)  # noqa: T201
        asyncio.run(runner.start())
    finally:
        (home / "serve.json").unlink(missing_ok=True)
        _end(started)
    return 0


def _end(server: subprocess.Popen[bytes] | None) -> None:
    """The server goes last: flows that parked must still be able to say so."""
    if server is None:
        return
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(SERVER_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
