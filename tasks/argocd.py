"""Gates on Argo CD Applications, by our own model: revision, sync, operation and health together.

A sync wave that ended proves nothing, and a Healthy that is not Synced is yesterday's.
"""

from tasks.kubernetes import Twice
from tasks.registry import action
from windlass.clients.kubernetes import KubernetesClient
from windlass.clients.kubernetes.client import ARGO
from windlass.clients.kubernetes.reading import at
from windlass.errors import NeedsHumanError, NotReadyError, RefusedError
from windlass.models.kubernetes import ApplicationState
from windlass.models.plan import JsonObject

# Synced and OutOfSync by turns this often is a fight, not progress.
FLIPS_OF_A_LOOP = 3


@action("argocd.app")
class ApplicationWell(Twice):
    """Gate: the Application runs the pinned commit; operation, sync and health agree that it is well, seen twice."""

    patience = "rollout"
    _last_sync = ""
    _flips = 0

    def look(self) -> JsonObject:
        name = self.step.target
        with self.connect.kubernetes() as kubernetes:
            app = kubernetes.application(name, self.text("namespace"))
            broken = "" if app else broken_sets(kubernetes, self.text("namespace"))
        if app is None:
            raise NotReadyError(f"Application {name} does not exist yet{broken}")
        self._notice_a_loop(app)
        if reason := not_well(app, self.text("commit")):
            raise NotReadyError(f"{name}: {reason}")
        return {"revision": app.revision, "health": app.health}

    def _notice_a_loop(self, app: ApplicationState) -> None:
        if self._last_sync == "Synced" and app.sync == "OutOfSync":
            self._flips += 1
        self._last_sync = app.sync or self._last_sync
        if self._flips >= FLIPS_OF_A_LOOP:
            raise NeedsHumanError(
                f"{self.step.target} turned OutOfSync {self._flips} times after it was Synced: something else "
                "writes the same fields. Compare its diff with the mutating webhooks and operators",
                reason="DRIFT_LOOP",
            )


def broken_sets(kubernetes: KubernetesClient, namespace: str) -> str:
    """What the ApplicationSets that cannot make their Applications say of it; empty when all can."""
    if not kubernetes.serves(ARGO, "ApplicationSet"):
        return ""
    said = ""
    for one in kubernetes.list_objects(ARGO, "ApplicationSet", namespace):
        for condition in at(one, "status.conditions", []):
            if (condition.get("type"), condition.get("status")) == ("ErrorOccurred", "True"):
                said += f"; ApplicationSet {at(one, 'metadata.name')}: {condition.get('message')}"
    return said


def not_well(app: ApplicationState, commit: str) -> str:
    """Why an Application is not well at `commit`; empty when it is.

    Raises:
        RefusedError: its operation ended in failure; waiting mends nothing.
    """
    if app.operation_phase in ("Failed", "Error"):
        raise RefusedError(f"{app.name}: the sync ended as {app.operation_phase}: {app.message}")
    broken = [f"{c.type}: {c.message}" for c in app.conditions if c.type.endswith("Error")]
    reasons = (
        (bool(broken), "".join(broken[:1])),
        (app.sync != "Synced", f"sync is {app.sync or 'unknown'}"),
        (app.revision != commit, f"synced to {app.revision[:12]}, wanted {commit[:12]}"),
        (
            app.operation_phase not in ("", "Succeeded"),
            f"operation is {app.operation_phase}: {app.message}",
        ),
        (app.health != "Healthy", f"health is {app.health or 'unknown'}"),
    )
    return next((reason for holds, reason in reasons if holds), "")
