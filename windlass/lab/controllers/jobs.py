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
        left = self._time_left(job)
        ending = _ending(job, active, done, failed, is_late=left is not None and left <= 0)
        if ending:
            await remove(self._client, active)
            active = []
        elif not dig(job, "spec", "suspend", default=False):
            for _ in range(_at_once(job, done) - len(active)):
                await self._make(job)
        await self._say(job, active, {"succeeded": done, "failed": failed}, ending)
        return None if ending else left

    def _time_left(self, job: Object) -> float | None:
        """Lab seconds until the job has been active for too long; None when it may be for ever."""
        started, limit = dig(job, "status", "startTime"), dig(job, "spec", "activeDeadlineSeconds")
        if limit is None or dig(job, "spec", "suspend", default=False):
            return None
        if started is None:
            return limit
        return limit - self._clock.since(parse_time(started).timestamp())

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


def _at_once(job: Object, done: int) -> int:
    """How many pods may run now. Without a number of completions one success is the sign to start no more."""
    parallelism: int = dig(job, "spec", "parallelism", default=1)
    wanted = dig(job, "spec", "completions")
    if wanted is None:
        return 0 if done else parallelism
    return min(parallelism, wanted - done)


def _ending(
    job: Object, active: list[Object], done: int, failed: int, *, is_late: bool
) -> Object | None:
    wanted = dig(job, "spec", "completions")
    if done >= (1 if wanted is None else wanted) and (wanted is not None or not active):
        return {"type": "Complete", "status": "True", "reason": "CompletionsReached"}
    if failed > _patience(job) or _restarts_are_too_many(job, active):
        said = "Job has reached the specified backoff limit"
        return _failure("BackoffLimitExceeded", said)
    if is_late:
        return _failure("DeadlineExceeded", "Job was active longer than specified deadline")
    return None


def _failure(reason: str, message: str) -> Object:
    return {"type": "Failed", "status": "True", "reason": reason, "message": message}


def _patience(job: Object) -> int:
    return dig(job, "spec", "backoffLimit", default=6)


def _restarts_are_too_many(job: Object, active: list[Object]) -> bool:
    """Containers that are restarted in their pods count as failures too."""
    if dig(job, "spec", "template", "spec", "restartPolicy") != "OnFailure":
        return False
    restarts = sum(
        one.get("restartCount", 0)
        for pod in active
        for kind in ("initContainerStatuses", "containerStatuses")
        for one in items(pod, "status", kind)
    )
    return restarts >= max(_patience(job), 1)
