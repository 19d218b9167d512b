"""Actions on the Kubernetes API: credentials, objects from Git, and the gates that nodes and workloads must pass."""

import hashlib
import os
import time
from abc import abstractmethod
from datetime import UTC, datetime
from urllib.parse import urlsplit

import orjson

from tasks.registry import SiteAction, action
from tasks.rendering import rendered
from tasks.talos import write_private
from windlass.clients.kubernetes import KubernetesClient
from windlass.errors import NotReadyError, RefusedError, WindlassError
from windlass.models.observed import ManifestRef
from windlass.models.plan import JsonObject
from windlass.talosconfig.kubeconfig import admin_kubeconfig
from windlass.talosconfig.outputs import kubeconfig_ends
from windlass.talosconfig.pki import Mint

MANAGER = "windlass"
# Ties an applied object to the manifest it came from; Argo CD compares only what Git says and leaves it alone.
APPLIED = "windlass.dev/applied"


def manifest_ref(manifest: JsonObject) -> ManifestRef:
    """What a plan says of one rendered object."""
    metadata = manifest["metadata"]
    if not isinstance(metadata, dict):
        raise RefusedError(f"a {manifest.get('kind')} without metadata was rendered")
    canonical = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
    return ManifestRef(
        api_version=str(manifest["apiVersion"]),
        kind=str(manifest["kind"]),
        namespace=str(metadata.get("namespace") or ""),
        name=str(metadata["name"]),
        sha256=hashlib.sha256(canonical).hexdigest(),
    )


@action("kubernetes.kubeconfig")
class WriteKubeconfig(SiteAction):
    """The administrator's kubeconfig lies where the site file says, mode 0600. Another cluster's is left alone."""

    def goal(self) -> JsonObject:
        return self.connect.written(self.connect.kubeconfig_path, kubeconfig_ends)

    def effect(self) -> JsonObject | None:
        cluster, server = self.site.cluster, self.connect.api_server
        text = admin_kubeconfig(
            cluster.name,
            self.connect.secrets(),
            server=server,
            tls_server_name=None
            if urlsplit(server).hostname == cluster.endpoint
            else cluster.endpoint,
            mint=Mint(os.urandom, datetime.now(UTC)),
        )
        write_private(self.connect.kubeconfig_path, text)
        return None


@action("kubernetes.api")
class ApiAnswers(SiteAction):
    """Gate: the Kubernetes API answers at the cluster's endpoint, with the site's own certificates."""

    def goal(self) -> JsonObject:
        with self.connect.kubernetes() as kubernetes:
            return {"version": kubernetes.version()}


@action("kubernetes.apply")
class ApplyObject(SiteAction):
    """One object from the repository exists as the pinned commit renders it (server-side apply, manager `windlass`).

    Safe to run again. A field that somebody else owns is a conflict, and is refused, not taken.
    """

    patience = "call"

    def goal(self) -> JsonObject:
        inputs = self.step.inputs
        with self.connect.kubernetes() as kubernetes:
            found = kubernetes.get(
                str(inputs["api_version"]),
                str(inputs["kind"]),
                str(inputs["namespace"]) or None,
                str(inputs["name"]),
            )
        if found is None:
            raise NotReadyError(f"{self.step.target} does not exist")
        annotations = _mapping(_mapping(found, "metadata"), "annotations")
        if annotations.get(APPLIED) != inputs["sha256"]:
            raise NotReadyError(
                f"{self.step.target} is not as commit {self.text('commit')[:12]} has it"
            )
        if inputs["kind"] == "CustomResourceDefinition" and not _established(found):
            raise NotReadyError(f"{self.step.target} is not established")
        return {"uid": _mapping(found, "metadata").get("uid"), "sha256": inputs["sha256"]}

    def effect(self) -> JsonObject | None:
        manifest = self._manifest()
        metadata = _mapping(manifest, "metadata")
        annotations = {**_mapping(metadata, "annotations"), APPLIED: self.step.inputs["sha256"]}
        marked: JsonObject = {**manifest, "metadata": {**metadata, "annotations": annotations}}
        with self.connect.kubernetes() as kubernetes:
            kubernetes.apply(marked, MANAGER)
        return None

    def _manifest(self) -> JsonObject:
        for manifest in rendered(self.connect, self.text("commit"), self.text("root")):
            ref = manifest_ref(manifest)
            if (ref.label, ref.sha256) == (self.step.target, self.step.inputs["sha256"]):
                return manifest
        raise RefusedError(
            f"{self.step.target} is no longer what {self.text('root')} renders to at {self.text('commit')[:12]}"
        )


def _established(crd: JsonObject) -> bool:
    conditions = _mapping(crd, "status").get("conditions")
    return isinstance(conditions, list) and any(
        isinstance(c, dict) and c.get("type") == "Established" and c.get("status") == "True"
        for c in conditions
    )


def _mapping(body: JsonObject, key: str) -> JsonObject:
    value = body.get(key)
    return value if isinstance(value, dict) else {}


class Twice(SiteAction):
    """A gate that believes what it sees only when it sees it twice, `pace.settle` apart: one read can be a flap."""

    _first: tuple[float, JsonObject] | None = None

    def goal(self) -> JsonObject:
        """Evidence, once nothing but this evidence was seen for `pace.settle`: what changed meanwhile was seen once."""
        try:
            evidence = self.look()
        except WindlassError:
            self._first = None
            raise
        now = time.monotonic()
        if self._first is None or self._first[1] != evidence:
            self._first = (now, evidence)
        if now - self._first[0] < self.site.pace.settle.total_seconds():
            raise NotReadyError(f"{self.step.target} is as it should be; looking again")
        return evidence

    @abstractmethod
    def look(self) -> JsonObject:
        """What `goal` is, at this moment."""


@action("kubernetes.node-ready")
class NodeReady(Twice):
    """Gate: the node is registered at its own address, runs the wanted kubelet and is Ready, seen twice."""

    def look(self) -> JsonObject:
        node, wanted = self.node, self.text("kubernetes")
        with self.connect.kubernetes() as kubernetes:
            found = next((n for n in kubernetes.nodes() if n.name == node.name), None)
        if found is None:
            raise NotReadyError(f"{node.name} has not registered")
        if not found.addresses:
            raise NotReadyError(f"{node.name} has registered and not said its addresses yet")
        if str(node.address) not in found.addresses:
            raise RefusedError(
                f"a node {node.name} is registered at {', '.join(found.addresses)}, "
                f"not at {node.address}"
            )
        if found.kubelet_version != wanted:
            raise NotReadyError(
                f"{node.name} runs kubelet {found.kubelet_version}, wanted {wanted}"
            )
        if not found.ready:
            raise NotReadyError(f"{node.name} is not Ready: {found.reason}")
        # A flap that fell between two looks shows in these.
        return {"uid": found.uid, "boot_id": found.boot_id, "ready_since": found.ready_since}


@action("kubernetes.workload")
class WorkloadReady(SiteAction):
    """Gate: every replica of a workload is updated and ready."""

    def goal(self) -> JsonObject:
        kind, namespace, name = self.text("kind"), self.text("namespace"), self.text("name")
        with self.connect.kubernetes() as kubernetes:
            return workload_evidence(kubernetes, kind, namespace, name)


def workload_evidence(
    kubernetes: KubernetesClient, kind: str, namespace: str, name: str
) -> JsonObject:
    """Evidence that a workload has rolled out.

    Raises:
        NotReadyError: it has not, with the counts.
    """
    state = kubernetes.workload(kind, namespace, name)
    if state is None:
        raise NotReadyError(f"{kind} {namespace}/{name} does not exist")
    if not state.is_ready:
        raise NotReadyError(f"{kind} {namespace}/{name}: {state.ready} of {state.desired} ready")
    return {"ready": state.ready}
