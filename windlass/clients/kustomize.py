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


def render(checkout: Path, root: str) -> list[JsonObject]:
    """Return the objects of `root`, a folder (kustomize, where it says so) or a file, in order.

    Raises:
        BadInputError: there is nothing there, or what is there is broken.
        RefusedError: it leaves the checkout, or needs helm, a plugin or a remote base, which are not run here.
    """
    top = checkout.resolve()
    place = (top / root).resolve()
    if not place.is_relative_to(top):
        raise RefusedError(f"{root} leads out of the repository")
    try:
        return _render(top, place)
    except (BadInputError, RefusedError) as error:
        # Where the checkout lies today is nobody's business.
        raise type(error)(f"{root}: {error}".replace(f"{top}/", "")) from error


def _render(top: Path, place: Path) -> list[JsonObject]:
    if place.is_file():
        return list(_parsed(top, place))
    if not place.is_dir():
        raise BadInputError("the repository has no such folder or file")
    if _kustomization(place) is not None:
        _refuse_what_needs_more(top, place, seen=set())
        return list(_objects(place, _kustomize(place)))
    files = sorted(path for path in place.iterdir() if path.suffix in (".yaml", ".yml", ".json"))
    if not files:
        raise BadInputError("it holds no kustomization and no manifest")
    return [one for path in files for one in _parsed(top, path)]


def kubectl() -> Path:
    """Return the kubectl that was installed with Windlass."""
    path = Path(sysconfig.get_path("scripts")) / "kubectl"
    if not path.is_file():
        raise BadInputError(f"{path} is missing: install Windlass with its requirements")
    return path


def _kustomization(folder: Path) -> Path | None:
    return next((folder / name for name in KUSTOMIZATIONS if (folder / name).exists()), None)


def _kustomize(folder: Path) -> str:
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


def _refuse_what_needs_more(top: Path, folder: Path, seen: set[Path]) -> None:
    """Look through a kustomization and its local bases for what is not run here."""
    file = _kustomization(folder)
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
        below = (folder / entry).resolve()
        if not below.is_relative_to(top):
            raise RefusedError(f"{file}: {entry} leads out of the repository")
        _refuse_what_needs_more(top, below, seen)


def _entries(kustomization: dict[str, Any]) -> list[str]:
    """Everything it takes in: files, local folders and what is somewhere else."""
    lists: list[list[Any]] = [
        kustomization.get(key) or [] for key in ("resources", "bases", "components", "crds")
    ]
    return [str(entry) for entries in lists for entry in entries]


def _mapping(file: Path) -> dict[str, Any]:
    try:
        said = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInputError(f"{file} is broken: {error}") from error
    if not isinstance(said, dict):
        raise BadInputError(f"{file} is no kustomization")
    return cast(dict[str, Any], said)


def _parsed(top: Path, file: Path) -> Iterator[JsonObject]:
    """Yield the objects of one file of the checkout."""
    if not file.resolve().is_relative_to(top):
        raise RefusedError(f"{file} is a link out of the repository")
    try:
        text = file.read_text()
    except UnicodeDecodeError as error:
        raise BadInputError(f"{file} is no text: {error}") from error
    yield from _objects(file, text)


def _objects(source: Path, text: str) -> Iterator[JsonObject]:
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
