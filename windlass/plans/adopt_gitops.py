"""The gitops section of an adopted site: from the root ApplicationSets of the Git tree, where there is one."""

from pathlib import PurePosixPath

from windlass.models.tofu import GitTree, RootSet
from windlass.plans.adopt_page import Page

# What other applications stand on, and so comes first; the words of the reference layouts.
CORE = frozenset({"network", "storage", "auth", "controllers", "crds"})
INFRASTRUCTURE = frozenset({"infrastructure", "infra"})
ABSENT = (
    "# What runs in the cluster is not in the OpenTofu folder: site.example.yaml shows a gitops section.",
    "# gitops:",
    "#   repo: https://example.org/owner/repo.git",
)


def adopt_gitops(page: Page, tree: GitTree | None) -> None:
    """Write what the tree says; without root sets a comment says what is missing."""
    if tree is None or not tree.sets:
        page.lines += ["", *ABSENT]
        return
    first = tree.sets[0]
    page.section("gitops")
    page.put("repo", first.repo)
    page.put("revision", first.revision)
    page.put("cni", tree.cilium)
    page.put("argocd", tree.argocd, "the kustomize folder of Argo CD in the repository")
    page.lines.append("  # The order is a guess from the names: what others stand on comes first.")
    page.lines.append("  layers:")
    for name, applied, apps in _layers(tree):
        page.lines.append(f"    - name: {name}")
        page.indent = "      "
        page.put("apply", applied or None)
        page.put("apps", apps)


def _layers(tree: GitTree) -> list[tuple[str, list[str], list[str]]]:
    """Layers in order: name, what starts it, its Applications. A set starts with its first layer."""
    infrastructure = [one for one in tree.sets if PurePosixPath(one.folder).name in INFRASTRUCTURE]
    others = [one for one in tree.sets if one not in infrastructure]
    core = _apps(infrastructure, core=True)
    platform = _apps(infrastructure, core=False)
    layers = [
        ("core", _starts(infrastructure), core),
        ("platform", [] if core else _starts(infrastructure), platform),
        ("apps", _starts(others), [app for one in others for app in one.apps.values()]),
    ]
    return [layer for layer in layers if layer[2]]


def _apps(sets: list[RootSet], *, core: bool) -> list[str]:
    return [
        app
        for one in sets
        for folder, app in one.apps.items()
        if (PurePosixPath(folder).name in CORE) is core
    ]


def _starts(sets: list[RootSet]) -> list[str]:
    return [file for one in sets for file in one.starts]
