"""What follows from a classification: one ordered request for an upgrade plan, and the worst that comes of it."""

import re
from dataclasses import dataclass

from windlass.plans.merges import Classification, Finding
from windlass.plans.merges_lines import Step
from windlass.plans.merges_table import BASE, Class

PLACE = re.compile(r"k8s/(infrastructure|applications)/([\w.-]+)/(?:([\w.-]+)/)?.*", re.ASCII)
# What others stand on comes first; what a household notices comes last. Unlisted categories come after these.
INFRA_ORDER = (
    "network",
    "storage",
    "controllers",
    "database",
    "auth",
    "monitoring",
    "security",
    "deployment",
)
APPS_ORDER = ("web", "tools", "external", "games", "media", "ai", "automation")
# Components whose failure takes others along, the worst first.
CRITICAL = {
    "cilium": "the network of every pod is at stake",
    "coredns": "name resolution of every pod is at stake",
    "proxmox-csi": "attaching volumes is at stake",
    "cloudnative-pg": "every Postgres restarts with its operator",
    "velero": "backups are at stake",
    "argocd": "Argo CD, which would bring a revert, restarts",
    "cert-manager": "certificates, and secrets behind them, are at stake",
    "external-secrets": "every secret from outside is at stake",
}
# From the most restrictive down.
RESTRICTS = (
    Class.UPGRADE_INTENT,
    Class.TALOS,
    Class.KUBERNETES,
    Class.SCHEMATIC,
    Class.INFRA,
    Class.TOFU_PROVIDER,
    Class.APP,
    Class.IMAGE,
    Class.CILIUM_BOOTSTRAP,
    Class.GATEWAY_API,
    Class.CI,
    Class.DOCS,
    Class.INERT,
)
CONSEQUENCES = {
    Class.UPGRADE_INTENT: "flagged nodes are replaced by the next `tofu apply`, all at once",
    Class.TALOS: "every node is upgraded and reboots, one at a time, control planes first",
    Class.KUBERNETES: "every control plane, then every kubelet, is upgraded",
    Class.SCHEMATIC: "every node needs an installer image with other extensions, and a reboot",
    Class.INFRA: "infrastructure restarts at once with the merge: Argo CD syncs it by itself",
    Class.TOFU_PROVIDER: "the next `tofu plan` is made by another provider: it must replace nothing",
    Class.APP: "applications restart with the merge: Argo CD syncs them by itself",
    Class.IMAGE: "an image is built anew; nothing runs it until a manifest names it",
    Class.CILIUM_BOOTSTRAP: "no live effect: only a new cluster begins with it",
    Class.GATEWAY_API: "no live effect: Talos applies it at bootstrap or with a Kubernetes upgrade",
    Class.CI: "nothing in the cluster changes",
    Class.DOCS: "nothing in the cluster changes",
    Class.INERT: "no effect: nothing reads it",
}
# What an upgrade plan acts on or watches; the rest it leaves alone.
PLANNED = (
    Class.TALOS,
    Class.SCHEMATIC,
    Class.KUBERNETES,
    Class.UPGRADE_INTENT,
    Class.TOFU_PROVIDER,
    Class.INFRA,
    Class.APP,
)
NOTHING = "nothing changed against the first parent"


@dataclass(frozen=True)
class Stage:
    """One class in the plan's order, with the Applications and components, or the files, that it is about."""

    cls: Class
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """What an upgrade plan is to be made for. With `needs_person` none is made before somebody decided."""

    commit: str
    stages: tuple[Stage, ...]
    left_alone: tuple[Class, ...]
    talos: Step | None
    kubernetes: Step | None
    extensions: tuple[str, ...]
    needs_person: bool


def request_of(found: Classification) -> Request | None:
    """The one request of a commit; None where there is nothing to plan.

    A doubtful change of a known place has its stage all the same: whoever decides for it decides
    for all of it.
    """
    stages = tuple(
        Stage(cls, targets) for cls in PLANNED if (targets := _targets(cls, found.findings))
    )
    if not stages:
        return None
    return Request(
        found.commit.id,
        stages,
        tuple(cls for cls in found.classes if cls not in (*PLANNED, Class.PERSON)),
        _step(Class.TALOS, found),
        _step(Class.KUBERNETES, found),
        tuple(
            one.added.strip().removeprefix("- ")
            for one in found.findings
            if one.cls is Class.SCHEMATIC and one.added
        ),
        found.needs_person,
    )


def consequence_of(found: Classification) -> str:
    """The most restrictive consequence, in a sentence."""
    if not found.findings:
        return NOTHING
    known = next((_worst(cls, found) for cls in RESTRICTS if cls in found.classes), None)
    if not found.needs_person:
        return known or NOTHING
    places = {one.path for one in found.findings if one.cls is Class.PERSON}
    files = "1 file" if len(places) == 1 else f"{len(places)} files"
    said = f"a person decides first, about {files}"
    return said if known is None else f"{said}; of what is known: {known}"


def _worst(cls: Class, found: Classification) -> str:
    components = {_component(one.path) for one in found.findings if one.cls is cls}
    if (step := _step(cls, found)) is not None and cls in (Class.TALOS, Class.KUBERNETES):
        return f"{cls} {step.before} to {step.after}: {CONSEQUENCES[cls]}"
    critical = next((said for name, said in CRITICAL.items() if name in components), None)
    return critical if cls is Class.INFRA and critical else CONSEQUENCES[cls]


def _step(cls: Class, found: Classification) -> Step | None:
    """Where a version is to go; a base counts only where no target is said."""
    lines = [one for one in found.findings if one.cls is cls and one.step is not None]
    lines.sort(key=lambda one: BASE.fullmatch(one.added or "") is not None)
    return lines[0].step if lines else None


def _targets(cls: Class, findings: tuple[Finding, ...]) -> tuple[str, ...]:
    if cls not in (Class.INFRA, Class.APP):
        return tuple(dict.fromkeys(one.path for one in findings if one.cls is cls))
    paths = {one.path for one in findings if one.cls in (cls, Class.PERSON)}
    places = {place for path in paths if (place := _place(path)) is not None}
    return tuple(name for of, _, name in sorted(places, key=lambda one: one[1:]) if of is cls)


def _place(path: str) -> tuple[Class, tuple[int, int], str] | None:
    """The class of a path, where it comes in the order of a plan, and its Application and component."""
    found = PLACE.fullmatch(path)
    if found is None:
        return None
    is_infra = found[1] == "infrastructure"
    order = INFRA_ORDER if is_infra else APPS_ORDER
    component = found[3] or ""
    name = f"{'infra' if is_infra else 'apps'}-{found[2]}" + (f"/{component}" if component else "")
    rank = (_rank(found[2], order), _rank(component, tuple(CRITICAL)))
    return Class.INFRA if is_infra else Class.APP, rank, name


def _component(path: str) -> str | None:
    found = PLACE.fullmatch(path)
    return found[3] if found is not None else None


def _rank(name: str, order: tuple[str, ...]) -> int:
    return order.index(name) if name in order else len(order)
