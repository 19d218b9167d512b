"""Jobs: pods until enough have succeeded."""

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Client
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.objects import (
    Key,
    Object,
    condition_holds,
    dig,
    is_going,
    items,
    parse_time,
    timestamp,
    with_condition,
)
from windlass.lab.controllers.replicas import (
    living,
    make_pod,
    owned,
    owner_keys,
    pod_from,
    publish,
    ready,
    remove,
)
from windlass.lab.controllers.resources import JOBS, PODS

_DECIDED = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}


class Jobs:
    """Selector and pod labels are generated as the API server's defaulting would."""

    def __init__(self, client: Client, informers: Informers, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._jobs = informers[JOBS]
        self._pods = informers[PODS]
        self.controller = Controller("job", clock, self._reconcile)
        self.controller.follow(self._jobs)
        self.controller.follow(self._pods, owner_keys("Job"))

    async def _reconcile(self, key: Key) -> float | None:
        job = self._jobs.items.get(key)
        if job is None or is_going(job):
            return None
        if condition_holds(job, "Complete") or condition_holds(job, "Failed"):
            return await self._expire(job)
        pods = owned(self._pods, job)
        active = living(pods)
        done = sum(dig(pod, "status", "phase") == "Succeeded" for pod in pods)
        failed = sum(dig(pod, "status", "phase") == "Failed" for pod in pods)
        wanted = dig(job, "spec", "completions", default=1)
        ending = self._ending(job, done >= wanted, failed)
        if ending:
            await remove(self._client, active)
            active = []
        elif not dig(job, "spec", "suspend", default=False):
            at_once = min(dig(job, "spec", "parallelism", default=1), wanted - done)
            for _ in range(at_once - len(active)):
                await self._make(job)
        await self._say(job, active, {"succeeded": done, "failed": failed}, ending)
        return None

    def _ending(self, job: Object, done: bool, failed: int) -> Object | None:
        if done:
            return {"type": "Complete", "status": "True", "reason": "CompletionsReached"}
        if failed > dig(job, "spec", "backoffLimit", default=6):
            said = "Job has reached the specified backoff limit"
            entry = {"reason": "BackoffLimitExceeded", "message": said}
            return {"type": "Failed", "status": "True", **entry}
        return None

    async def _make(self, job: Object) -> None:
        pod = pod_from(job["spec"]["template"], job, JOBS)
        meta = job["metadata"]
        marks = {
            "batch.kubernetes.io/job-name": meta["name"],
            "batch.kubernetes.io/controller-uid": meta["uid"],
            "job-name": meta["name"],
            "controller-uid": meta["uid"],
        }
        pod["metadata"]["labels"] = {**pod["metadata"]["labels"], **marks}
        pod["metadata"]["generateName"] = f"{meta['name']}-"
        await make_pod(self._client, self._pods, pod)

    async def _say(
        self, job: Object, active: list[Object], counts: dict[str, int], ending: Object | None
    ) -> None:
        now = self._clock.now()
        before = job.get("status", {})
        status: Object = {"active": len(active), "ready": ready(active), **counts}
        status["startTime"] = before.get("startTime", timestamp(now))
        if ending is not None:
            # The API wants both: what was decided, and that it is carried out.
            first = {**ending, "type": _DECIDED[ending["type"]]}
            conditions = with_condition(items(before, "conditions"), first, now)
            status["conditions"] = with_condition(conditions, ending, now)
            if ending["type"] == "Complete":
                status["completionTime"] = timestamp(now)
        await publish(self._client, JOBS.of(job), before, status)

    async def _expire(self, job: Object) -> float | None:
        keep = dig(job, "spec", "ttlSecondsAfterFinished")
        if keep is None:
            return None
        ended = max(parse_time(one["lastTransitionTime"]) for one in job["status"]["conditions"])
        left = keep - self._clock.since(ended.timestamp())
        if left > 0:
            return left
        await self._client.delete(JOBS.of(job), propagationPolicy="Background")
        return None
