"""The real homelab's ApplicationSets and roots, as its Git tree has them."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from windlass.lab import homelab
from windlass.lab.controllers.argocd.applicationsets import generate
from windlass.lab.controllers.argocd.git import Repositories
from windlass.lab.controllers.argocd.options import lacking_annotations
from windlass.lab.controllers.argocd.projects import not_evaluated_for
from windlass.lab.controllers.argocd.render import RenderError, load_manifests, render

TODAY = Path(__file__).parents[3] / "shared/data/reference-homelab/today"
URL = "https://github.com/theepicsaxguy/homelab.git"
SETS = (
    "k8s/infrastructure/application-set.yaml",
    "k8s/applications/application-set.yaml",
    "k8s/applications/external/application-set.yaml",
)


@pytest.fixture
def repositories(tmp_path: Path) -> Iterator[Repositories]:
    if not TODAY.exists():
        message = "needs ../shared/data/reference-homelab, the real homelab's tree"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    tree = tmp_path / "tree"
    shutil.copytree(TODAY, tree)
    homelab.commit_tree(tree, tmp_path / "homelab.git")
    with Repositories({URL: tmp_path / "homelab.git"}) as found:
        yield found


def applications(repositories: Repositories) -> list[dict[str, Any]]:
    async def all_of_them() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for path in SETS:
            document = yaml.safe_load((TODAY / path).read_text())
            found += await generate(document, repositories)
        return found

    return asyncio.run(all_of_them())


def test_the_sets_generate_the_eighteen_applications_of_today(repositories: Repositories):
    names = {app["metadata"]["name"] for app in applications(repositories)}

    infra = [
        "auth",
        "controllers",
        "database",
        "deployment",
        "monitoring",
        "network",
        "security",
        "storage",
    ]
    apps = ["ai", "automation", "external", "games", "media", "network", "tools", "web"]
    assert names == {
        *(f"infra-{one}" for one in infra),
        *(f"apps-{one}" for one in apps),
        "proxmox",
        "truenas",
    }


def test_the_external_set_goes_to_a_namespace_a_folder(repositories: Repositories):
    found = {app["metadata"]["name"]: app for app in applications(repositories)}

    assert found["proxmox"]["spec"]["destination"]["namespace"] == "proxmox"
    assert found["proxmox"]["spec"]["source"]["path"] == "k8s/applications/external/proxmox"


def test_applications_of_a_preserving_set_leave_their_resources(repositories: Repositories):
    found = {app["metadata"]["name"]: app for app in applications(repositories)}

    assert found["apps-media"]["metadata"]["finalizers"] == []
    assert found["infra-auth"]["metadata"]["finalizers"] != []


def test_every_field_of_the_applications_and_their_projects_is_evaluated(
    repositories: Repositories,
):
    projects = {
        found["metadata"]["name"]: found
        for path in TODAY.rglob("project.yaml")
        for found in yaml.safe_load_all(path.read_text())
    }

    for app in applications(repositories):
        project = projects[app["spec"]["project"]]
        assert list(not_evaluated_for(app, project)) == []


def test_what_the_annotations_of_its_objects_ask_argo_cd_for_is_evaluated(
    repositories: Repositories,
):
    async def tree() -> Path:
        return await repositories.checkout(URL, await repositories.resolve(URL, "main"))

    said = "argocd.argoproj.io/sync-"
    asking: dict[str, list[str]] = {}
    for path in asyncio.run(tree()).rglob("*.yaml"):
        if said in path.read_text():
            for found in load_manifests(path.read_text(), path.name):
                asking[path.name] = list(lacking_annotations(found))

    assert "migration-job.yaml" in asking
    assert not any(asking.values())


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("k8s/infrastructure/auth", "Helm chart authentik"),
        ("k8s/infrastructure/database", "Helm chart|remote resource"),
        ("k8s/infrastructure/storage", "Helm chart proxmox-csi-plugin"),
        ("k8s/infrastructure/monitoring", "Helm chart"),
    ],
)
def test_a_root_with_charts_or_remote_bases_is_refused_by_name(
    repositories: Repositories, path: str, why: str
):
    async def attempt() -> None:
        commit = await repositories.resolve(URL, "main")
        await render(await repositories.checkout(URL, commit), {"path": path})

    with pytest.raises(RenderError, match=why):
        asyncio.run(attempt())


def test_every_root_renders_or_says_why_not(repositories: Repositories):
    async def verdicts() -> dict[str, str]:
        commit = await repositories.resolve(URL, "main")
        tree = await repositories.checkout(URL, commit)
        said: dict[str, str] = {}
        for app in apps:
            try:
                manifests = await render(tree, app["spec"]["source"])
                said[app["metadata"]["name"]] = f"{len(manifests)} objects"
            except RenderError as error:
                said[app["metadata"]["name"]] = str(error)
        return said

    apps = applications(repositories)

    said = asyncio.run(verdicts())

    assert len(said) == 18
    assert all(said.values())
    assert "objects" in said["proxmox"]
