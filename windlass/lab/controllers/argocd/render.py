"""From a source in a commit to manifests: plain folders and kustomize. What needs a network is refused."""

import asyncio
import fnmatch
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from windlass.lab.controllers.objects import Object, as_object, items

KUBECTL = Path(sysconfig.get_path("scripts")) / "kubectl"
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_REMOTE = re.compile(r"^(\w+::)?(https?://|ssh://|git@|git::|github\.com[/:])|\?ref=")
_KUSTOMIZE_SECONDS = 60


class RenderError(Exception):
    """The source has no manifests that can be made here; the message names why."""


async def render(root: Path, source: Object) -> list[Object]:
    """The manifests of an Application's source in the checkout `root`."""
    folder = (root / source["path"]).resolve()
    if not folder.is_relative_to(root.resolve()):
        raise RenderError(f"{source['path']}: app path is outside the repository")
    if not folder.is_dir():
        raise RenderError(f"{source['path']}: app path does not exist")
    if (folder / "Chart.yaml").exists():
        raise RenderError(f"{source['path']}: Helm charts are not in the lab")
    if any((folder / name).exists() for name in _KUSTOMIZATIONS):
        return await _kustomize(root.resolve(), folder)
    return _plain(folder, source.get("directory") or {})


def _plain(folder: Path, how: Object) -> list[Object]:
    pattern = "**/*" if how.get("recurse") else "*"
    manifests: list[Object] = []
    for path in sorted(folder.glob(pattern)):
        name = str(path.relative_to(folder))
        if path.suffix not in (".yaml", ".yml", ".json") or not path.is_file():
            continue
        if "include" in how and not _globbed(name, how["include"]):
            continue
        if "exclude" in how and _globbed(name, how["exclude"]):
            continue
        manifests += load_manifests(path.read_text(), str(path.name))
    return manifests


def _globbed(name: str, pattern: str) -> bool:
    """Argo CD's patterns: a glob, or several in braces."""
    several = pattern[1:-1].split(",") if pattern.startswith("{") else [pattern]
    return any(fnmatch.fnmatchcase(name, one.strip()) for one in several)


def load_manifests(text: str, where: str) -> list[Object]:
    """Every object in a YAML stream; a List is unpacked, empty documents are nothing."""
    try:
        documents: list[Any] = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise RenderError(f"failed to unmarshal manifest {where}: {error}") from error
    manifests: list[Object] = []
    for document in documents:
        if document is None:
            continue
        found = as_object(document)
        if "kind" not in found:
            raise RenderError(f"failed to unmarshal {where}: Object 'Kind' is missing")
        manifests += found["items"] if found["kind"] == "List" else [found]
    return manifests


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: times stay text, and `=` is no value of its own."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, rule) for tag, rule in resolvers if not tag.endswith((":timestamp", ":value"))]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


async def _kustomize(root: Path, folder: Path) -> list[Object]:
    for trouble in _unrenderable(root, folder, set()):
        raise RenderError(trouble)
    process = await asyncio.create_subprocess_exec(
        str(KUBECTL),
        "kustomize",
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "", "HOME": "/nonexistent"},
    )
    try:
        async with asyncio.timeout(_KUSTOMIZE_SECONDS):
            out, err = await process.communicate()
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise RenderError(f"kustomize build: no answer in {_KUSTOMIZE_SECONDS} s") from error
    if process.returncode != 0:
        said = err.decode(errors="replace").strip().replace(str(root), "<path>")
        raise RenderError(f"`kustomize build` failed: {said}")
    return load_manifests(out.decode(), "kustomize output")


def _unrenderable(root: Path, folder: Path, seen: set[Path]) -> Iterator[str]:
    """Why kustomize would need more than the commit, before it reaches for a network."""
    path = next((folder / name for name in _KUSTOMIZATIONS if (folder / name).exists()), None)
    if path is None or path in seen:
        return
    seen.add(path)
    where = path.relative_to(root)
    try:
        document = as_object(yaml.load(path.read_text(), Loader=_Loader))
    except yaml.YAMLError as error:
        yield f"{where}: {error}"
        return
    for chart in (*items(document, "helmCharts"), *items(document, "helmChartInflationGenerator")):
        name = chart.get("name") or chart.get("chartName")
        yield f"{where}: Helm chart {name} is to be fetched; charts are not in the lab"
    for key in ("resources", "bases", "components", "crds"):
        for one in items(document, key):
            if _REMOTE.search(one):
                yield f"{where}: remote resource {one} needs a network that the lab has not"
            yield from _unrenderable(root, (folder / one).resolve(), seen)
