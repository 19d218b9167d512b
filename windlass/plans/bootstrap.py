"""From a site file and what is there to the plan that boots the site: a pure function, told as the runbook it replaces.

What is already so is left alone and named; what is somebody else's blocks. A site that is up yields an empty plan.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from windlass.errors import BadInputError
from windlass.models.observed import ManifestRef, ObservedGit, ObservedSite
from windlass.models.plan import Block, JsonObject, LeftAlone, Plan, Risk
from windlass.models.site import GitOps, Layer, Node, Site
from windlass.plans.building import Draft, Forecasts
from windlass.plans.machines import config_digest, vm_settings
from windlass.plans.preflight import blocks_of, is_ours

ACCEPTANCE = "windlass-acceptance"
EARLY_PHASES = ("preflight", "image", "vms", "machines", "etcd", "kubernetes", "argocd")
LAST_PHASE = "acceptance"
# Objects that others need before they can be created at all.
FIRST_KINDS = frozenset({"Namespace", "CustomResourceDefinition"})


@dataclass(frozen=True)
class BootstrapRequest:
    """What was asked for: `until` names the last phase to run, None runs all."""

    until: str | None = None

    def to_json(self) -> JsonObject:
        return {"until": self.until}


def phases_of(site: Site) -> tuple[str, ...]:
    """The phases of this site's bootstrap, in order; the layers of its GitOps are phases of their own."""
    layers = tuple(layer.name for layer in site.gitops.layers) if site.gitops else ()
    early = EARLY_PHASES if site.gitops else EARLY_PHASES[:-1]
    return (*early, *layers, LAST_PHASE)


def plan_bootstrap(
    site: Site, observed: ObservedSite, request: BootstrapRequest, forecast: Forecasts
) -> Plan:
    """VMs, Talos, etcd, Kubernetes, Argo CD, layers, acceptance: what is not there yet, in parallel where it can be.

    Raises:
        BadInputError: `request.until` is no phase of this site.
    """
    phases = phases_of(site)
    if request.until is not None and request.until not in phases:
        raise BadInputError(
            f"--until {request.until}: no such phase; phases are {', '.join(phases)}"
        )
    boot = _Bootstrap(site, observed, Draft(forecast))
    boot.images()
    boot.vms()
    boot.machines()
    boot.etcd()
    boot.kubernetes()
    boot.gitops()
    boot.acceptance()
    kept = phases[: phases.index(request.until) + 1] if request.until else phases
    steps = tuple(step for step in boot.draft.steps if step.phase in kept)
    if all(step.is_gate for step in steps):
        steps = ()
    return Plan(
        site=site.name,
        verb="bootstrap",
        request=request.to_json(),
        steps=steps,
        left_alone=tuple(boot.left_alone),
        blocks=boot.blocks if steps else (),
        warnings=tuple(boot.warnings),
        limits=limits_of(site, observed),
    )


def limits_of(site: Site, observed: ObservedSite) -> dict[str, int]:
    """How much runs side by side: per host, per storage, per API."""
    limits = {"api:proxmox": site.parallel.proxmox, "api:talos": site.parallel.talos}
    limits["api:kubernetes"] = site.parallel.kubernetes
    for host in {node.host for node in site.nodes} | set(observed.proxmox.hosts):
        limits[f"host:{host}"] = site.parallel.per_host
    for node in site.nodes:
        limits[_storage_limit(site, node)] = site.parallel.per_storage
    return limits


def _crowded_hosts(site: Site, observed: ObservedSite) -> Iterator[str]:
    """Where the control planes could stand apart and do not: the loss of one host would end etcd's majority."""
    planes = site.control_planes
    if len(observed.proxmox.hosts) == 1:
        return
    for host, count in sorted(Counter(node.host for node in planes).items()):
        if len(planes) > 1 and count > (len(planes) - 1) // 2:
            yield (
                f"{count} of {len(planes)} control planes are on {host}: etcd stops with it. "
                "Spread them over different hosts"
            )


def _identity(node: Node) -> JsonObject:
    return {"vmid": node.vmid, "host": node.host}


def _storage_limit(site: Site, node: Node) -> str:
    return f"storage:{node.host}/{node.storage or site.proxmox.storage}"


class _Bootstrap:
    """The draft and the few keys that later parts wait for."""

    def __init__(self, site: Site, observed: ObservedSite, draft: Draft) -> None:
        self.site = site
        self.observed = observed
        self.draft = draft
        self.left_alone: list[LeftAlone] = []
        self.warnings: list[str] = []
        vms = {node.name: observed.proxmox.vm(node.vmid) for node in site.nodes}
        self.own = {
            node.name: vm
            for node in site.nodes
            if (vm := vms[node.name]) is not None and is_ours(site, node, vm)
        }
        self.configured = {
            name for name, machine in observed.machines.items() if machine.state == "configured"
        }
        self.create = [
            n for n in site.nodes if n.name not in self.own and n.name not in self.configured
        ]
        self.blocks: tuple[Block, ...] = blocks_of(site, observed, self.create)
        self.preflight = f"site.preflight/{site.name}"
        self.api_gate = ""
        self.ready_gates: list[str] = []
        self.layer_gates: list[str] = []

    # The order of the runbook.

    def images(self) -> None:
        draft, site = self.draft, self.site
        if not self.create:
            return
        draft.gate("site.preflight", site.name, phase="preflight", after=())
        before = self.preflight
        if not self.observed.image.is_registered:
            before = draft.add(
                "factory.schematic",
                site.cluster.talos,
                phase="image",
                risk=Risk.SAFE,
                after=[before],
                inputs={"schematic": self.observed.schematic},
            )
        for host in sorted({node.host for node in self.create}):
            there = self.observed.proxmox.hosts.get(host)
            if there is not None and self.observed.image_name in there.images:
                self.left_alone.append(LeftAlone(f"image on {host}", "already there"))
                continue
            draft.add(
                "proxmox.download-image", host, phase="image", risk=Risk.SAFE, after=[before],
                limits=["api:proxmox", f"host:{host}"],
                inputs={
                    "url": self.observed.image_url, "file": self.observed.image_name,
                    "sha256": site.cluster.image.sha256 or "",
                },
            )  # fmt: skip

    def vms(self) -> None:
        self.warnings += _crowded_hosts(self.site, self.observed) if self.create else ()
        for node in self.site.nodes:
            if node.name in self.configured:
                self._leave(node)
            else:
                self._vm(node)

    def _leave(self, node: Node) -> None:
        version = self.observed.machines[node.name].version
        self.left_alone.append(LeftAlone(node.name, f"already runs Talos {version} for this site"))
        if version != self.site.cluster.talos:
            self.warnings.append(
                f"{node.name} runs Talos {version}, the site file says {self.site.cluster.talos}: "
                "bootstrap never changes versions"
            )

    def _vm(self, node: Node) -> None:
        draft, vm = self.draft, self.own.get(node.name)
        limits = ["api:proxmox", f"host:{node.host}"]
        if vm is None:
            draft.add(
                "proxmox.create-vm", node.name, phase="vms", risk=Risk.SAFE,
                after=[self.preflight, f"proxmox.download-image/{node.host}"],
                limits=[*limits, _storage_limit(self.site, node)],
                inputs={
                    **_identity(node), "image": self.observed.image_name,
                    "settings": {**vm_settings(self.site, node, self.observed.image_name)},
                },
                only_if=[f"vmid {node.vmid} is free", f"MAC {node.mac} is nobody else's"],
            )  # fmt: skip
        else:
            self.left_alone.append(
                LeftAlone(f"VM {node.vmid} ({node.name})", "already created for this site")
            )
        if vm is None or not vm.running:
            draft.add(
                "proxmox.start-vm", node.name, phase="vms", risk=Risk.SAFE,
                after=[f"proxmox.create-vm/{node.name}"], limits=limits, inputs=_identity(node),
                only_if=[f"VM {node.vmid} carries the tag {self.site.tag}"],
            )  # fmt: skip

    def machines(self) -> None:
        site, draft = self.site, self.draft
        secrets = f"talos.secrets/{site.name}"
        if not self.observed.has_secrets:
            draft.add(
                "talos.secrets", site.name, phase="machines", risk=Risk.SAFE, after=[self.preflight]
            )
        if not self.observed.has_talosconfig:
            draft.add(
                "talos.talosconfig", site.name, phase="machines", risk=Risk.SAFE, after=[secrets]
            )
        for node in site.nodes:
            if node.name not in self.configured:
                self._machine(node, secrets)

    def _machine(self, node: Node, secrets: str) -> None:
        draft, talos = self.draft, self.site.cluster.talos
        seen = draft.gate(
            "talos.maintenance", node.name, phase="machines",
            after=[f"proxmox.start-vm/{node.name}"], inputs=_identity(node),
        )  # fmt: skip
        applied = draft.add(
            "talos.apply-config", node.name, phase="machines", risk=Risk.DISRUPTIVE,
            after=[seen, secrets], limits=["api:talos"],
            inputs={"talos": talos, "role": node.role, "config": config_digest(self.site, node)},
            only_if=["the machine is the VM that Proxmox says", "its certificate is the one first seen"],
        )  # fmt: skip
        draft.gate(
            "talos.installed", node.name, phase="machines", after=[applied], inputs={"talos": talos}
        )

    def etcd(self) -> None:
        draft, planes = self.draft, self.site.control_planes
        members = [
            n
            for n in planes
            if n.name in self.observed.machines and self.observed.machines[n.name].member
        ]
        installed = [f"talos.installed/{n.name}" for n in planes]
        if members:
            self.left_alone.append(
                LeftAlone("etcd", f"already bootstrapped, {members[0].name} is a member")
            )
        else:
            draft.add(
                "talos.bootstrap-etcd", planes[0].name, phase="etcd", risk=Risk.DISRUPTIVE, after=installed,
                limits=["api:talos"],
                only_if=["no control plane has an etcd member", "every control plane answers"],
            )  # fmt: skip
        for node in planes:
            if node not in members:
                draft.gate(
                    "talos.etcd-member", node.name, phase="etcd",
                    after=[f"talos.bootstrap-etcd/{planes[0].name}", f"talos.installed/{node.name}"],
                )  # fmt: skip

    def kubernetes(self) -> None:
        site, draft = self.site, self.draft
        if not self.observed.has_kubeconfig:
            draft.add(
                "kubernetes.kubeconfig", site.name, phase="kubernetes", risk=Risk.SAFE,
                after=[f"talos.secrets/{site.name}"],
            )  # fmt: skip
        members = [f"talos.etcd-member/{n.name}" for n in site.control_planes]
        self.api_gate = draft.gate(
            "kubernetes.api", site.cluster.endpoint, phase="kubernetes",
            after=[*members[:1], f"kubernetes.kubeconfig/{site.name}"],
        )  # fmt: skip
        cni: list[str] = []
        if site.gitops and site.gitops.cni and site.gitops.cni not in self.observed.cluster.roots:
            cni = self._root(site.gitops.cni, "kubernetes", [self.api_gate])
        for node in site.nodes:
            if node.name in self.observed.cluster.ready_nodes:
                continue
            self.ready_gates.append(
                draft.gate(
                    "kubernetes.node-ready", node.name, phase="kubernetes",
                    after=[self.api_gate, f"talos.installed/{node.name}", *cni],
                    inputs={"kubernetes": site.cluster.kubernetes},
                )
            )  # fmt: skip
        draft.gate(
            "kubernetes.workload", "kube-system.coredns", phase="kubernetes",
            after=[*self.ready_gates, *members],
            inputs={"kind": "Deployment", "namespace": "kube-system", "name": "coredns"},
        )  # fmt: skip

    def gitops(self) -> None:
        gitops = self.site.gitops
        if gitops is None:
            return
        before = ["kubernetes.workload/kube-system.coredns", *self.ready_gates]
        if gitops.argocd in self.observed.cluster.roots:
            self.left_alone.append(
                LeftAlone("Argo CD", "already installed; Git and Argo CD look after it")
            )
        else:
            before = self._argocd(gitops, before)
        for layer in gitops.layers:
            before = self._layer(layer, gitops, before)
        self.layer_gates = before

    def _argocd(self, gitops: GitOps, before: list[str]) -> list[str]:
        applied = self._root(gitops.argocd, "argocd", before)
        return [
            self.draft.gate(
                "kubernetes.workload", f"{ref.namespace}.{ref.name}", phase="argocd", after=applied,
                inputs={"kind": ref.kind, "namespace": ref.namespace, "name": ref.name},
            )
            for ref in self._git.roots.get(gitops.argocd, ())
            if ref.kind in ("Deployment", "StatefulSet")
        ]  # fmt: skip

    def _layer(self, layer: Layer, gitops: GitOps, before: list[str]) -> list[str]:
        well = self.observed.cluster.applications
        if all(well.get(app, False) for app in layer.apps):
            self.left_alone.append(
                LeftAlone(f"layer {layer.name}", "its Applications are synced and healthy")
            )
            return before
        started = [key for root in layer.apply for key in self._root(root, layer.name, before)]
        return [
            self.draft.gate(
                "argocd.app", app, phase=layer.name, after=[*before, *started],
                inputs={"namespace": gitops.namespace, "commit": self._git.commit},
            )
            for app in layer.apps
        ]  # fmt: skip

    @property
    def _git(self) -> ObservedGit:
        return self.observed.git or ObservedGit("", {}, {})

    def _root(self, root: str, phase: str, before: Iterable[str]) -> list[str]:
        """One step an object; namespaces and kinds first, since the others need them to exist."""
        before = list(before)
        refs = self._git.roots.get(root, ())
        first = [self._object(root, ref, phase, before) for ref in refs if ref.kind in FIRST_KINDS]
        rest = [
            self._object(root, ref, phase, [*before, *first])
            for ref in refs
            if ref.kind not in FIRST_KINDS
        ]
        return [*first, *rest]

    def _object(self, root: str, ref: ManifestRef, phase: str, after: Iterable[str]) -> str:
        return self.draft.add(
            "kubernetes.apply", ref.label, phase=phase, risk=Risk.SAFE, after=after,
            limits=["api:kubernetes"],
            inputs={
                "root": root, "commit": self._git.commit, "api_version": ref.api_version, "kind": ref.kind,
                "namespace": ref.namespace, "name": ref.name, "sha256": ref.sha256,
            },
        )  # fmt: skip

    def acceptance(self) -> None:
        site, draft = self.site, self.draft
        if all(step.is_gate for step in draft.steps):
            return
        ready = [*self.ready_gates, *self.layer_gates, self.api_gate]
        draft.gate("acceptance.dns", site.cluster.endpoint, phase=LAST_PHASE, after=ready)
        space = draft.add(
            "acceptance.namespace", ACCEPTANCE, phase=LAST_PHASE, risk=Risk.SAFE, after=ready,
            limits=["api:kubernetes"], undone_by=f"acceptance.cleanup/{ACCEPTANCE}",
        )  # fmt: skip
        claim: list[str] = []
        if site.acceptance.storage_class is not None:
            claim = [
                draft.add(
                    "acceptance.volume", "proof", phase=LAST_PHASE, risk=Risk.SAFE, after=[space],
                    inputs={"storage_class": site.acceptance.storage_class}, limits=["api:kubernetes"],
                )
            ]  # fmt: skip
        pod = draft.add(
            "acceptance.pod", "proof", phase=LAST_PHASE, risk=Risk.SAFE, after=[space, *claim],
            inputs={"image": site.acceptance.image, "volume": bool(claim)}, limits=["api:kubernetes"],
        )  # fmt: skip
        proven = draft.gate(
            "acceptance.proof",
            "proof",
            phase=LAST_PHASE,
            after=[pod],
            inputs={"volume": bool(claim)},
        )
        draft.add(
            "acceptance.cleanup", ACCEPTANCE, phase=LAST_PHASE, risk=Risk.SAFE, after=[proven],
            limits=["api:kubernetes"],
        )  # fmt: skip


# What a step takes on ordinary hardware, in seconds, until this site's own history says better
# (Talos' own figures for boot, install and join; Proxmox tasks on local storage).
USUAL_SECONDS = {
    "site.preflight": 3, "factory.schematic": 1, "proxmox.download-image": 60, "proxmox.create-vm": 6,
    "proxmox.start-vm": 4,
    "talos.maintenance": 25, "talos.secrets": 1, "talos.talosconfig": 1, "talos.apply-config": 2,
    "talos.installed": 100, "talos.bootstrap-etcd": 30, "talos.etcd-member": 20,
    "kubernetes.kubeconfig": 1, "kubernetes.api": 60, "kubernetes.apply": 1, "kubernetes.node-ready": 60,
    "kubernetes.workload": 40, "argocd.app": 90, "acceptance.dns": 1, "acceptance.namespace": 1,
    "acceptance.volume": 1, "acceptance.pod": 1, "acceptance.proof": 20, "acceptance.cleanup": 10,
}  # fmt: skip
