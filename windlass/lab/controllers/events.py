"""Events: what a component says about an object that it cannot help."""

from datetime import datetime

from windlass.lab.controllers.access import Resource
from windlass.lab.controllers.objects import Object, key_of, micro_timestamp


def warning(resource: Resource, about: Object, reason: str, message: str, now: datetime) -> Object:
    """An event of the scheduler about an object."""
    namespace, name = key_of(about)
    meta = about["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{name}.", "namespace": namespace},
        "type": "Warning",
        "reason": reason,
        "message": message[:1024],
        "action": "Scheduling",
        "eventTime": micro_timestamp(now),
        "reportingComponent": "default-scheduler",
        "reportingInstance": "default-scheduler-lab",
        "involvedObject": {
            "apiVersion": resource.group_version,
            "kind": resource.kind,
            "namespace": namespace,
            "name": name,
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
    }
