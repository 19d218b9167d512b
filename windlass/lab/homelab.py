"""The lab's own Git repository: a small homelab in the layout of the seed, three levels deep.

Root Applications make ApplicationSets, these make an Application a category, whose ApplicationSet makes
one a component. The tree itself is in `seed/`.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_SEED = Path(__file__).parent / "seed"
# The URL that the manifests in `seed/` carry.
_WRITTEN_URL = "https://git.example.org/homelab"
# A commit's id depends on these: one content, one id, on every machine.
_COMMITTER = {
    "GIT_AUTHOR_NAME": "Windlass lab",
    "GIT_AUTHOR_EMAIL": "lab@example.org",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "Windlass lab",
    "GIT_COMMITTER_EMAIL": "lab@example.org",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
_GIT_SECONDS = 60

CNI = "k8s/infra/network/cilium"
ARGOCD = "k8s/infra/controllers/argocd"

# In the shape of windlass.models.site.Layer. A category's folder holds its project and its set; the roots
# come last and take over what the layers started.
LAYERS: list[dict[str, Any]] = [
    {
        "name": "core",
        "apply": ["k8s/infra/network", "k8s/infra/storage", "k8s/infra/auth"],
        "apps": ["cilium", "proxmox-csi", "authelia"],
    },
    {
        "name": "platform",
        "apply": ["k8s/infra/monitoring", "k8s/infra/database"],
        "apps": ["prometheus-stack", "cnpg"],
    },
    {
        "name": "apps",
        "apply": ["k8s/sets"],
        "apps": [
            "infrastructure", "applications", "controllers", "argocd",
            "media", "jellyfin", "arr", "tools", "whoami", "it-tools",
        ],
    },
]  # fmt: skip


def create_repository(path: Path, url: str) -> str:
    """A bare repository with one commit on `main`, whose manifests name `url`; the commit's id."""
    with tempfile.TemporaryDirectory(prefix="windlass-homelab-") as scratch:
        tree = Path(scratch) / "tree"
        shutil.copytree(_SEED, tree)
        for file in tree.rglob("*.yaml"):
            file.write_text(file.read_text().replace(_WRITTEN_URL, url))
        return commit_tree(tree, path)


def commit_tree(tree: Path, path: Path) -> str:
    """A bare repository at `path` whose branch `main` is one commit of the folder `tree`."""
    _git(tree, "init", "--quiet", "--initial-branch=main")
    _git(tree, "add", "--all", "--force", ".")
    _git(tree, "commit", "--quiet", "--message", "feat: the homelab")
    path.parent.mkdir(parents=True, exist_ok=True)
    _git(tree, "clone", "--quiet", "--bare", ".", str(path))
    return _git(tree, "rev-parse", "HEAD").strip()


def _git(folder: Path, *args: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *args],
        env={"PATH": os.environ["PATH"], "HOME": os.devnull, **_COMMITTER},
        check=True,
        capture_output=True,
        text=True,
        timeout=_GIT_SECONDS,
    ).stdout
