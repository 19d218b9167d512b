"""An operation on a site, for flows and the command line alike: opened or resumed, planned once, acted, reported."""

import fcntl
import logging
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

import tasks.acceptance
import tasks.argocd
import tasks.factory
import tasks.kubernetes
import tasks.proxmox
import tasks.site
import tasks.talos
from tasks.connections import Connections
from tasks.registry import Context, make_action
from windlass import __version__
from windlass.engine.action import Action
from windlass.engine.executor import Executor
from windlass.engine.journal import Journal
from windlass.engine.lock import LEASE
from windlass.engine.operation import Acting, needs_approval
from windlass.engine.records import Operation, OperationState
from windlass.errors import BadInputError, ParkedError
from windlass.models.load import LoadedSite
from windlass.models.plan import Forecast, JsonObject, Step
from windlass.plans.bootstrap import USUAL_SECONDS
from windlass.secrets import resolve_all

logger = logging.getLogger(__name__)

ACTION_MODULES = (
    tasks.acceptance, tasks.argocd, tasks.factory, tasks.kubernetes, tasks.proxmox, tasks.site, tasks.talos,
)  # fmt: skip
# A forecast quantile: three of four steps take no longer than this.
LIKELY = 0.75
# A lab's lease shrinks with its speed, but a busy machine must still be able to renew it.
SHORTEST_LEASE = timedelta(seconds=5)


def agent_of(operation: str, epoch: int) -> str:
    """How a client names itself to every API, so that their logs say which operation did it."""
    return f"windlass/{__version__} (operation {operation}; epoch {epoch})"


READER = f"windlass/{__version__} (reading)"


def forecasts(journal: Journal, loaded: LoadedSite) -> Callable[[str], Forecast]:
    """What each action is expected to take: from this site's own history, or else the usual."""

    def forecast(action: str) -> Forecast:
        past = sorted(journal.durations(loaded.site.name, action))
        if past:
            return Forecast(past[min(int(len(past) * LIKELY), len(past) - 1)], "history")
        usual = USUAL_SECONDS.get(action, 0)
        return Forecast(timedelta(seconds=usual / loaded.site.pace.speed), "default")

    return forecast


@contextmanager
def announced(home: Path, run: str) -> Generator[None]:
    """Say that this process is flow run `run` for as long as the block lasts: the kernel lets go when it dies."""
    folder = home / "runs"
    folder.mkdir(mode=0o700, exist_ok=True)
    path, new = folder / run, folder / f".{run}.{os.getpid()}"
    with new.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(str(os.getpid()))
        file.flush()
        # Locked before anybody sees it: what is not locked is taken for dead.
        new.replace(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def is_alive(home: Path, run: str) -> bool:
    """Some process is that flow run right now."""
    try:
        with (home / "runs" / run).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    (home / "runs" / run).unlink(missing_ok=True)
    return False


@dataclass(frozen=True)
class Running:
    """How an operation is run: its journal, its site, and what executes its steps."""

    journal: Journal
    loaded: LoadedSite
    executor: Executor
    run: str

    def act(self, operation: Operation) -> Operation:
        """Bring the operation to rest.

        Raises:
            WindlassError: it did not end as done; the journal has the same reason.
        """
        site = self.loaded.site
        if operation.site != site.name:
            raise BadInputError(
                f"operation {operation.id} belongs to site {operation.site}, {self.loaded.path} is {site.name}"
            )
        if needs_approval(operation.plan, site.approvals.policy) and not self.journal.is_approved(
            operation.id
        ):
            self.journal.set_state(
                operation.id,
                OperationState.AWAITING_APPROVAL,
                reason="PARKED",
                message="waits for approval",
            )
            raise ParkedError(
                f"operation {operation.id} waits for approval: "
                f"windlass approve {operation.id} --hash {operation.plan_hash}, then windlass resume {operation.id}"
            )
        resolve_all(self.loaded)

        @cache
        def connections(agent: str) -> Connections:
            return Connections(self.loaded, agent)

        acting = Acting(
            journal=self.journal,
            executor=self.executor,
            make_action=lambda step, epoch: self._action(
                operation, step, connections(agent_of(operation.id, epoch))
            ),
            run=self.run,
            is_lab=site.lab,
            lease=max(SHORTEST_LEASE, LEASE / site.pace.speed),
        )
        return acting.act(operation)

    def _action(self, operation: Operation, step: Step, connect: Connections) -> Action:
        def evidence(key: str) -> JsonObject:
            found = self.journal.step_state(operation.id, key).evidence
            if found is None:
                raise BadInputError(
                    f"{step.key} needs what {key} observed, and it observed nothing"
                )
            return found

        return make_action(Context(self.loaded, step, connect, evidence))
