"""The real homelab's site: what it asks for is refused where it does not fit, and boots where it does.

What cannot be had here is replaced, and nothing else. Its Cilium and its Argo CD are Helm charts, and nothing is
fetched: the repository gets a folder `vendored` with the plain manifests of the lab's own, and the site file names
these. Its memory is in no file that is here: the sizes are those its variables default to.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from tests.labs import RunningLab, running_lab
from windlass.cli import exits
from windlass.clients.kustomize import kubectl, render
from windlass.errors import BadInputError, NotReadyError, RefusedError
from windlass.lab import homelab
from windlass.waiting import Pace, wait_for

DATA = Path(os.environ.get("WINDLASS_REFERENCE_DATA", Path(__file__).parents[3] / "shared/data"))
TODAY = DATA / "reference-homelab/today"
URL = "https://github.com/theepicsaxguy/homelab.git"
SMALL_HOST, LARGE_HOST = 79_872, 131_072
SMALL_NETWORK, LARGE_NETWORK = "127.59.0.0/16", "127.60.0.0/16"
SIZES = ("--memory", "controlplane=8192", "--memory", "worker=21504")
OWN_CNI, OWN_ARGOCD = "k8s/infrastructure/network/cilium", "k8s/infrastructure/controllers/argocd"
VENDORED_CNI, VENDORED_ARGOCD = "vendored/cilium", "vendored/argocd"
INFRA = [
    "auth",
    "controllers",
    "database",
    "deployment",
    "monitoring",
    "network",
    "security",
    "storage",
]
APPS = ["ai", "automation", "external", "games", "media", "network", "tools", "web"]
EIGHTEEN = {*(f"infra-{one}" for one in INFRA), *(f"apps-{one}" for one in APPS), "proxmox", "truenas"}  # fmt: skip
# What a reader of the repository finds: a chart, a remote base, or what kustomize itself says.
REASONS = ("Helm chart", "remote resource", "kustomize build")
COMPARED = timedelta(seconds=90)
LOOK = Pace(first=timedelta(seconds=0.5), longest=timedelta(seconds=1))


@pytest.fixture(scope="module")
def homes_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The homelab's own tree of today, with the vendored folder beside it."""
    if not TODAY.exists():
        message = "needs ../shared/data/reference-homelab, the real homelab's tree"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    tree = tmp_path_factory.mktemp("homelab") / "tree"
    shutil.copytree(TODAY, tree, copy_function=shutil.copyfile)
    for folder in (tree, *(path for path in tree.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    seed = Path(homelab.__file__).parent / "seed"
    shutil.copytree(seed / homelab.CNI, tree / VENDORED_CNI)
    shutil.copytree(seed / homelab.ARGOCD, tree / VENDORED_ARGOCD)
    return tree


@pytest.fixture(scope="module")
def repository(homes_tree: Path) -> Path:
    path = homes_tree.parent / "homelab.git"
    homelab.commit_tree(homes_tree, path)
    return path


def adopted(lab: RunningLab, folder: Path) -> Path:
    """The site file that `windlass init` writes from the OpenTofu folder, memory filled in."""
    path = folder / "adopted.yaml"
    done = lab.windlass("init", "--from-tofu", str(TODAY / "tofu"), "--output", str(path), *SIZES)
    assert done.returncode == exits.DONE, done.stderr
    return path


def lab_like(site_file: Path, repository: Path, memory: int) -> list[str]:
    return [
        "--site", str(site_file), "--host-memory", str(memory), "--repository", str(repository), "--url", URL,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def cluster(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[RunningLab, "subprocess.CompletedProcess[str]"]]:
    """The homelab on a host that is large enough, and how its bootstrap until Argo CD ended."""
    folder = tmp_path_factory.mktemp("large")
    site_file = adopted(RunningLab(folder, folder / "home"), folder)
    text = site_file.read_text()
    assert OWN_CNI in text
    assert OWN_ARGOCD in text
    site_file.write_text(text.replace(OWN_CNI, VENDORED_CNI).replace(OWN_ARGOCD, VENDORED_ARGOCD))
    like = lab_like(site_file, repository, LARGE_HOST)
    with running_lab(folder, network=LARGE_NETWORK, more=like) as lab:
        # An Application that cannot be rendered is waited for as long as one that is slow.
        document = yaml.safe_load(lab.site_file.read_text())
        document["pace"]["rollout"] = "PT15S"
        lab.site_file.write_text(yaml.safe_dump(document, sort_keys=False))
        yield lab, lab.bootstrap("--until", "argocd")


def kubectl_json(lab: RunningLab, *arguments: str) -> Any:
    done = subprocess.run(
        [str(kubectl()), "--kubeconfig", lab.contract["kubernetes"]["kubeconfig"], *arguments, "-o", "json"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def applications(lab: RunningLab) -> dict[str, dict[str, Any]]:
    found = kubectl_json(lab, "get", "applications.argoproj.io", "--namespace", "argocd")
    return {one["metadata"]["name"]: one for one in found["items"]}


def compared(lab: RunningLab) -> dict[str, dict[str, Any]]:
    """All Applications, once Argo CD has said of each what it thinks of it."""

    def look() -> dict[str, dict[str, Any]]:
        found = applications(lab)
        open_ones = [name for name, one in found.items() if not sync_of(one)]
        if open_ones or len(found) < len(EIGHTEEN):
            raise NotReadyError(f"{len(found)} are there, {open_ones} are not compared")
        return found

    return wait_for("every Application", look, timeout=COMPARED, pace=LOOK, stop=Event())


def sync_of(application: dict[str, Any]) -> str:
    return application.get("status", {}).get("sync", {}).get("status", "")


def comparison_error(application: dict[str, Any]) -> str:
    conditions = application.get("status", {}).get("conditions", [])
    return "".join(one["message"] for one in conditions if one["type"] == "ComparisonError")


def is_rendered(tree: Path, root: str) -> bool:
    """Windlass' own reader of roots, not the lab's: the second opinion."""
    try:
        render(tree, root)
    except (BadInputError, RefusedError):
        return False
    return True


def test_the_homelab_is_refused_on_its_78_gb_host_with_what_it_asks_for(
    repository: Path, tmp_path: Path
):
    site_file = adopted(RunningLab(tmp_path, tmp_path / "home"), tmp_path)
    like = lab_like(site_file, repository, SMALL_HOST)
    with running_lab(tmp_path, network=SMALL_NETWORK, more=like) as lab:
        refused = lab.bootstrap()

        assert refused.returncode == exits.REFUSED
        assert "host3 ask for 89,088 MiB of memory" in refused.stderr
        assert f"({SMALL_HOST:,} MiB in all" in refused.stdout
        # In the same breath: what would stop it on any host, for nobody mends one thing at a time.
        for root in (OWN_CNI, OWN_ARGOCD):
            assert f"{root} cannot be rendered" in refused.stderr
        assert not lab.oplog()
        assert lab.json("history") == []
        assert not (lab.folder / "secrets.yaml").exists()


def test_the_homelab_boots_until_argocd_on_a_larger_host(
    cluster: tuple[RunningLab, "subprocess.CompletedProcess[str]"],
):
    lab, booted = cluster

    assert booted.returncode == exits.DONE, booted.stdout[-2000:] + booted.stderr
    created = [entry["after"]["memory"] for entry in lab.effects("vm_create")]
    assert (len(created), sum(created)) == (6, 89_088)
    nodes = kubectl_json(lab, "get", "nodes")["items"]
    assert {one["metadata"]["name"] for one in nodes} == {
        f"{role}-0{i}" for role in ("ctrl", "work") for i in range(3)
    }
    assert {one["status"]["nodeInfo"]["kubeletVersion"] for one in nodes} == {"v1.35.2"}
    assert not applications(lab)


def test_its_sets_make_its_eighteen_applications_and_none_is_synced_that_cannot_be_rendered(
    cluster: tuple[RunningLab, "subprocess.CompletedProcess[str]"], homes_tree: Path
):
    lab, booted = cluster
    assert booted.returncode == exits.DONE

    # The layers that cannot come up: bootstrap starts the first one, and says why it is not well.
    stopped = lab.bootstrap("--until", "core")
    sets = ("project.yaml", "application-set.yaml")
    for name in sets:
        kubectl_json(lab, "apply", "-f", str(homes_tree / "k8s/applications" / name))
    found = compared(lab)

    assert stopped.returncode == exits.FAILED
    assert "infra-network: ComparisonError" in stopped.stdout
    assert "Helm chart cilium" in stopped.stdout
    assert set(found) == EIGHTEEN
    roots = {name: one["spec"]["source"]["path"] for name, one in found.items()}
    rendered = {name for name, root in roots.items() if is_rendered(homes_tree, root)}
    assert {"proxmox", "truenas", "apps-external"} <= rendered < EIGHTEEN
    for name in EIGHTEEN - rendered:
        assert sync_of(found[name]) != "Synced"
        assert any(reason in comparison_error(found[name]) for reason in REASONS), name
    for name in rendered:
        assert not comparison_error(found[name])
