"""What a commit changes without any effect: the inert places of the table, where the tree itself proves it.

A place is inert only if the kustomizations of the commit say so, since a folder that nothing read
yesterday may be wired today. Without that proof it is of the class that its path says.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

Tree = Mapping[str, str]
ORPHANS = re.compile(
    r"k8s/infrastructure/controllers/(?:node-feature-discovery|nvidia-gpu-operator)(?=/)"
    r"|k8s/applications/network/unifi(?=/)"
    r"|k8s/(?:[\w.-]+/)+recover(?=/)",
    re.ASCII,
)
KARAKEEP = re.compile(r"(k8s/applications/ai/karakeep/)web-[\w-]+\.ya?ml", re.ASCII)
KARAKEEP_IMAGE = re.compile(r"""\s*(?:- )?image:\s*["']?ghcr\.io/karakeep-app/karakeep:.*""")
DESCHEDULER = re.compile(r"k8s/infrastructure/controllers/descheduler/values\.ya?ml")
# What decides which files are read, in Kustomize and in Argo CD: by its name, or by what it says it is.
YAML = re.compile(r"k8s/(?:.+/)?(?:.+\.ya?ml|Kustomization)", re.DOTALL)
KUSTOMIZATION = re.compile(r"(?:kustomization\.ya?ml|Kustomization)")
COMMENT = re.compile(r"(?m)^[ \t]*#.*$")
WIRING = re.compile(r"kind\W+(?:ApplicationSet|Application|Kustomization|Component)\b")


@dataclass(frozen=True)
class Inert:
    """Why something has no effect; `lines` are those that it is true of, None for all of the file."""

    why: str
    lines: re.Pattern[str] | None = None


def may_be_inert(paths: Iterable[str]) -> bool:
    """Whether the tree has to be read at all."""
    places = (ORPHANS, KARAKEEP, DESCHEDULER)
    return any(place.match(path) for path in paths for place in places)


def proves(path: str) -> bool:
    """Whether a file of the tree can prove that something is inert, or that it is not."""
    return YAML.fullmatch(path) is not None


def why_inert(path: str, tree: Tree) -> Inert | None:
    """Why a change of this path has no effect; None when it has one, or when that is not known."""
    if (orphan := ORPHANS.match(path)) is not None:
        return _orphan(PurePosixPath(orphan[0]), tree)
    if (karakeep := KARAKEEP.fullmatch(path)) is not None:
        return _replaced(f"{karakeep[1]}kustomization.yaml", tree)
    if DESCHEDULER.fullmatch(path) and re.search(r"(?m)^descheduler:", tree.get(path, "")):
        return Inert(
            "the chart reads no values below its own name",
            re.compile(r"""\s+tag:\s*["']?v?\d[\w.+-]*["']?\s*"""),
        )
    return None


def _orphan(folder: PurePosixPath, tree: Tree) -> Inert | None:
    above = [f"{folder.parent}/kustomization.{ending}" for ending in ("yaml", "yml")]
    outside = (
        text
        for file, text in tree.items()
        if not file.startswith(f"{folder}/") and _is_wiring(PurePosixPath(file), text)
    )
    if any(_reads(text, folder) for text in outside) or not any(file in tree for file in above):
        return None
    return Inert(f"no kustomization and no ApplicationSet reads {folder}")


def _is_wiring(file: PurePosixPath, text: str) -> bool:
    return KUSTOMIZATION.fullmatch(file.name) is not None or WIRING.search(text) is not None


def _reads(text: str, folder: PurePosixPath) -> bool:
    """Whether the folder's name is part of a path in the text, or a pattern takes it in."""
    said = COMMENT.sub("", text)
    named = re.search(rf"(?<![\w.-]){re.escape(folder.name)}(?![\w.-])", said)
    patterns = (one[0] for one in re.finditer(r"k8s/[\w./-]*\*[\w./*-]*", said))
    return named is not None or any(fnmatchcase(str(folder), one) for one in patterns)


def _replaced(kustomization: str, tree: Tree) -> Inert | None:
    text = tree.get(kustomization, "")
    if re.search(r"(?m)^replacements:", text) and "containers.0.image" in text:
        return Inert(f"a replacement in {kustomization} sets this version", KARAKEEP_IMAGE)
    return None
