"""Manifests of a folder: what `kubectl kustomize` makes of it, or the YAML files that lie there.

The kubectl is the one locked with Windlass, never one from PATH. It runs without network, plugins
and credentials: a root that needs them is refused by name.
"""

import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import yaml

from windlass.errors import BadInputError, RefusedError
from windlass.models.plan import JsonObject

# The largest root of the sites this was made for renders in 2 s on a slow machine.
DEADLINE = timedelta(minutes=1)
KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
REMOTE = re.compile(r"^(https?://|ssh://|git@|git::|github\.com/)|\?ref=|//.*\?")
LONGEST = 800


def render(folder: Path) -> list[JsonObject]:
    """Return the objects of a folder (kustomize, where it says so) or of one file, in order.

    Raises:
        BadInputError: there is nothing there, or what is there is broken.
        RefusedError: it needs helm, a plugin or a remote base, which are not run here.
    """
    if folder.is_file():
        return list(_parsed(folder, folder.read_text()))
    if not folder.is_dir():
        raise BadInputError(f"{folder} does not exist")
    if any((folder / name).exists() for name in KUSTOMIZATIONS):
        return list(_parsed(folder, _kustomize(folder)))
    files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml", ".json"))
    if not files:
        raise BadInputError(f"{folder} holds no kustomization and no manifest")
    return [one for path in files for one in _parsed(path, path.read_text())]


def kubectl() -> Path:
    """Return the kubectl that was installed with Windlass."""
    path = Path(sysconfig.get_path("scripts")) / "kubectl"
    if not path.is_file():
        raise BadInputError(f"{path} is missing: install Windlass with its requirements")
    return path


def _kustomize(folder: Path) -> str:
    _refuse_what_needs_more(folder, seen=set())
    try:
        done = subprocess.run(
            [str(kubectl()), "kustomize", "--", str(folder)],
            env={"HOME": "/nonexistent", "PATH": os.devnull, "KUBECONFIG": os.devnull},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE.total_seconds(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RefusedError(f"kustomize did not finish {folder} within {DEADLINE}") from error
    if done.returncode != 0:
        raise BadInputError(f"kustomize cannot render {folder}: {done.stderr.strip()[-LONGEST:]}")
    return done.stdout


def _refuse_what_needs_more(folder: Path, seen: set[Path]) -> None:
    """Look through a kustomization and its local bases for what is not run here."""
    file = next((folder / name for name in KUSTOMIZATIONS if (folder / name).exists()), None)
    if folder in seen or file is None:
        return
    seen.add(folder)
    said = _mapping(file)
    for key in ("helmCharts", "helmChartInflationGenerator", "generators", "transformers"):
        if said.get(key):
            raise RefusedError(f"{file}: {key} needs a program that is not run here")
    for entry in _entries(said):
        if REMOTE.search(entry):
            raise RefusedError(f"{file}: {entry} is remote, and nothing is fetched here")
        _refuse_what_needs_more((folder / entry).resolve(), seen)


def _entries(kustomization: dict[str, Any]) -> list[str]:
    """Everything it takes in: files, local folders and what is somewhere else."""
    taken = ("resources", "bases", "components", "crds")
    return [str(entry) for key in taken for entry in kustomization.get(key) or []]


def _mapping(file: Path) -> dict[str, Any]:
    try:
        said = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInputError(f"{file} is broken: {error}") from error
    if not isinstance(said, dict):
        raise BadInputError(f"{file} is no kustomization")
    return cast(dict[str, Any], said)


def _parsed(source: Path, text: str) -> Iterator[JsonObject]:
    """Yield the objects of a YAML stream; a List counts as its items."""
    try:
        documents: list[Any] = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise BadInputError(f"{source} is broken: {error}") from error
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict) or not {"apiVersion", "kind"} <= document.keys():
            raise BadInputError(f"{source}: a document is no object (it needs apiVersion, kind)")
        one = cast(dict[str, Any], document)
        if one["kind"] == "List":
            yield from one.get("items") or []
        else:
            yield one
