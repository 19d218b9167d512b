"""Automated sync: whether the controller starts an operation by itself, when, or why not."""

from dataclasses import dataclass

from windlass.lab.controllers.argocd.compare import Comparison
from windlass.lab.controllers.argocd.operation import is_over
from windlass.lab.controllers.objects import Object, dig, items, table

# Lab seconds between self-heals of one Application.
_SELF_HEAL_PAUSE = 5.0
# Where an Application has no retry policy of its own.
_RETRIES = 5


@dataclass(frozen=True)
class Decision:
    """An operation to start, after so many lab seconds; or the error that the Application shows instead."""

    operation: Object | None = None
    wait: float = 0.0
    error: str = ""


NOTHING = Decision()


def decide(app: Object, comparison: Comparison, since_end: float) -> Decision:
    """For an Application that is out of sync; `since_end` are lab seconds since its last operation ended."""
    automated = table(app, "spec", "syncPolicy", "automated")
    if not _is_automated(app) or (not automated.get("prune") and _only_extra(comparison)):
        return NOTHING
    operation, wait = _operation(app, comparison), 0.0
    if _was_attempted(app, comparison):
        last = table(app, "status", "operationState")
        if last["phase"] != "Succeeded":
            said = f"Failed last sync attempt to [{comparison.revision}]: {last['message']}"
            return Decision(error=said)
        if not automated.get("selfHeal"):
            return NOTHING
        wait = max(_SELF_HEAL_PAUSE - since_end, 0.0)
        operation["sync"]["resources"] = [
            {"group": one.group, "kind": one.kind, "name": one.name}
            for one in comparison.items
            if not one.synced
        ]
    if automated.get("prune") and not automated.get("allowEmpty") and _would_wipe(comparison):
        said = "auto-sync will wipe out all resources"
        return Decision(error=f"Skipping sync attempt to [{comparison.revision}]: {said}")
    return Decision(operation, wait)


def _is_automated(app: Object) -> bool:
    automated = dig(app, "spec", "syncPolicy", "automated")
    return (
        automated is not None and automated.get("enabled") is not False and "operation" not in app
    )


def _only_extra(comparison: Comparison) -> bool:
    return all(one.synced or one.target is None for one in comparison.items)


def _would_wipe(comparison: Comparison) -> bool:
    return all(one.target is None for one in comparison.items if not one.is_hook)


def _was_attempted(app: Object, comparison: Comparison) -> bool:
    """Whether this commit of this source was synced, or failed to, already."""
    last = table(app, "status", "operationState")
    result = table(last, "syncResult")
    if not result:
        # It ended before it was known what to sync: a person has to look.
        return is_over(last)
    return (
        is_over(last)
        and result.get("revision") == comparison.revision
        and result.get("source") == app["spec"]["source"]
    )


def _operation(app: Object, comparison: Comparison) -> Object:
    policy = app["spec"]["syncPolicy"]
    sync: Object = {
        "source": app["spec"]["source"],
        "revision": comparison.revision,
        "prune": policy["automated"].get("prune", False),
        "syncOptions": items(policy, "syncOptions"),
    }
    retry = policy.get("retry") or {"limit": _RETRIES}
    return {"sync": sync, "initiatedBy": {"automated": True}, "retry": retry}
