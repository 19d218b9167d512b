"""What a new cluster must prove: its name resolves, a pod runs, a volume is bound. Then it is tidied."""

from datetime import datetime

from tasks.kubernetes import MANAGER, Twice
from tasks.registry import SiteAction, action
from windlass.clients.dns import resolve as resolve_name
from windlass.errors import NotReadyError, RefusedError
from windlass.models.plan import JsonObject
from windlass.plans.bootstrap import ACCEPTANCE

PROOF = "proof"


@action("acceptance.dns")
class EndpointResolves(SiteAction):
    """Gate: the cluster's endpoint resolves to the vip or to control planes, and the API answers there."""

    patience = "probe"

    def goal(self) -> JsonObject:
        cluster = self.site.cluster
        found = resolve_name(cluster.endpoint, cluster.nameservers, self.site.reached)
        fits = {node.address for node in self.site.control_planes} | {cluster.vip}
        if not found or not set(found) <= fits:
            raise RefusedError(
                f"{cluster.endpoint} resolves to {', '.join(map(str, found)) or 'nothing'}"
            )
        with self.connect.kubernetes() as kubernetes:
            return {"addresses": [str(a) for a in found], "version": kubernetes.version()}


class _Made(SiteAction):
    """An object of the acceptance namespace; made once, left alone when it is there."""

    patience = "call"
    kind = ""
    api_version = "v1"

    def goal(self) -> JsonObject:
        namespace = None if self.kind == "Namespace" else ACCEPTANCE
        name = ACCEPTANCE if self.kind == "Namespace" else PROOF
        with self.connect.kubernetes() as kubernetes:
            found = kubernetes.get(self.api_version, self.kind, namespace, name)
        if found is None:
            raise NotReadyError(f"{self.kind} {name} does not exist")
        metadata = found["metadata"]
        return {"uid": metadata["uid"] if isinstance(metadata, dict) else None}

    def effect(self) -> JsonObject | None:
        with self.connect.kubernetes() as kubernetes:
            kubernetes.apply(self.manifest(), MANAGER)
        return None

    def manifest(self) -> JsonObject:
        raise NotImplementedError


@action("acceptance.namespace")
class MakeNamespace(_Made):
    """A namespace of its own, so that tidying up is one deletion."""

    kind = "Namespace"

    def manifest(self) -> JsonObject:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ACCEPTANCE}}


@action("acceptance.volume")
class MakeVolume(_Made):
    """A claim on the storage class that apps will use."""

    kind = "PersistentVolumeClaim"

    def manifest(self) -> JsonObject:
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": PROOF, "namespace": ACCEPTANCE},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": self.text("storage_class"),
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }


@action("acceptance.pod")
class MakePod(_Made):
    """A pod that mounts the claim, small and unprivileged."""

    kind = "Pod"

    def manifest(self) -> JsonObject:
        volume = bool(self.step.inputs["volume"])
        claim: JsonObject = {"name": "data", "persistentVolumeClaim": {"claimName": PROOF}}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": PROOF, "namespace": ACCEPTANCE},
            "spec": {
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65534,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": PROOF,
                        "image": self.text("image"),
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}] if volume else [],
                    }
                ],
                "volumes": [claim] if volume else [],
            },
        }


@action("acceptance.proof")
class Proof(Twice):
    """Gate: the pod runs on a node of this site, and its volume is bound, seen twice."""

    def look(self) -> JsonObject:
        with self.connect.kubernetes() as kubernetes:
            pod = next((p for p in kubernetes.pods(ACCEPTANCE, None) if p.name == PROOF), None)
            claim = kubernetes.get("v1", "PersistentVolumeClaim", ACCEPTANCE, PROOF)
        if pod is None or not pod.ready:
            raise NotReadyError(
                f"the pod is {pod.phase if pod else 'absent'}{f': {pod.reason}' if pod and pod.reason else ''}"
            )
        bound = (
            claim is not None
            and isinstance(s := claim.get("status"), dict)
            and s.get("phase") == "Bound"
        )
        if self.step.inputs["volume"] and not bound:
            raise NotReadyError("the volume is not bound")
        if pod.node not in {node.name for node in self.site.nodes}:
            raise RefusedError(f"the pod runs on {pod.node}, which is no node of {self.site.name}")
        return {"node": pod.node, "volume": "bound" if bound else "none"}


@action("acceptance.cleanup")
class CleanUp(SiteAction):
    """The acceptance namespace and all in it are gone."""

    def goal(self) -> JsonObject:
        with self.connect.kubernetes() as kubernetes:
            if kubernetes.get("v1", "Namespace", None, ACCEPTANCE) is not None:
                raise NotReadyError(f"namespace {ACCEPTANCE} is still there")
        return {"gone": ACCEPTANCE}

    def effect(self) -> JsonObject | None:
        with self.connect.kubernetes() as kubernetes:
            kubernetes.delete("v1", "Namespace", None, ACCEPTANCE)
        return None

    def trace(self, since: datetime) -> JsonObject | None:
        """A namespace that is terminating was deleted already."""
        with self.connect.kubernetes() as kubernetes:
            found = kubernetes.get("v1", "Namespace", None, ACCEPTANCE)
        metadata = found.get("metadata") if found else None
        terminating = isinstance(metadata, dict) and "deletionTimestamp" in metadata
        return {"deleting": ACCEPTANCE} if terminating else None
