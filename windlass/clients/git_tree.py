"""Reads the Git tree beside an OpenTofu folder: its root ApplicationSets, and where Argo CD and the CNI are.

Files only, and only their layout: what they render to is not looked at.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import yaml
from pydantic import BaseModel, Field

from windlass.models.tofu import GitTree, RootSet

# An OpenTofu folder is `tofu` or `tofu/<name>` in the layouts that are known.
DEEPEST = 2
PLACEHOLDERS = (
    "{{ path.basename }}",
    "{{path.basename}}",
    "{{ .path.basename }}",
    "{{.path.basename}}",
)


class _Folder(BaseModel):
    path: str
    exclude: bool = False


class _Git(BaseModel):
    repo: str = Field(alias="repoURL")
    revision: str = "main"
    directories: tuple[_Folder, ...]


class _Generator(BaseModel):
    git: _Git


class _Metadata(BaseModel):
    name: str


class _Template(BaseModel):
    metadata: _Metadata


class _Spec(BaseModel):
    generators: tuple[_Generator, ...]
    template: _Template


class _Set(BaseModel):
    kind: Literal["ApplicationSet"]
    spec: _Spec


def read_git_tree(tofu_folder: Path) -> GitTree | None:
    """The tree of the repository that holds the folder; None where there is no `k8s` folder beside it."""
    roots = tofu_folder.absolute().parents[:DEEPEST]
    root = next((one for one in roots if (one / "k8s").is_dir()), None)
    if root is None:
        return None
    files = sorted((root / "k8s").glob("*/application-set.yaml"))
    return GitTree(
        sets=tuple(found for file in files for found in _root_sets(root, file)),
        argocd=_kustomize_folder(root, "argocd"),
        cilium=_kustomize_folder(root, "cilium"),
    )


def _kustomize_folder(root: Path, name: str) -> str | None:
    found = [path.parent for path in root.glob(f"k8s/*/*/{name}/kustomization.yaml")]
    return found[0].relative_to(root).as_posix() if len(found) == 1 else None


def _root_sets(root: Path, file: Path) -> Iterator[RootSet]:
    try:
        for document in yaml.safe_load_all(file.read_text()):
            found = _Set.model_validate(document)
            for generator in found.spec.generators:
                apps = dict(
                    _apps(root, generator.git.directories, found.spec.template.metadata.name)
                )
                folder = file.parent.relative_to(root).as_posix()
                starts = [one for one in (file.parent / "project.yaml", file) if one.is_file()]
                yield RootSet(
                    folder,
                    tuple(one.relative_to(root).as_posix() for one in starts),
                    generator.git.repo,
                    generator.git.revision,
                    apps,
                )
    except (yaml.YAMLError, OSError, ValueError):
        # A set that cannot be read leaves a gap in the site file, and that is where it is named.
        return


def _apps(root: Path, folders: tuple[_Folder, ...], name: str) -> Iterator[tuple[str, str]]:
    """Each folder of the generator with the name of its Application."""
    excluded = {one.path for one in folders if one.exclude}
    for one in folders:
        if one.path.startswith("/") or ".." in one.path:
            raise ValueError(f"{one.path} is not inside the repository")
        for path in sorted(root.glob(one.path)):
            folder = path.relative_to(root).as_posix()
            if path.is_dir() and folder not in excluded:
                yield folder, _named(name, PurePosixPath(folder).name)


def _named(template: str, folder: str) -> str:
    for placeholder in PLACEHOLDERS:
        template = template.replace(placeholder, folder)
    return template
