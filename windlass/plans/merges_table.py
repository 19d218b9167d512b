"""The table of classes: where versions live in a GitOps repository, by path and by changed line.

The order of ORDER is the order of a plan: machines, then what runs on them, then what changes nothing.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from windlass.plans.merges_lines import LineTest, line_test


class Class(StrEnum):
    """A class of change. PERSON is what the table does not know."""

    TALOS = "talos"
    SCHEMATIC = "schematic"
    KUBERNETES = "kubernetes"
    UPGRADE_INTENT = "upgrade-intent"
    CILIUM_BOOTSTRAP = "cilium-bootstrap"
    GATEWAY_API = "gateway-api"
    TOFU_PROVIDER = "tofu-provider"
    INFRA = "infra"
    APP = "app"
    IMAGE = "image"
    DOCS = "docs"
    CI = "ci"
    INERT = "inert"
    PERSON = "needs a person"


ORDER = tuple(Class)


@dataclass(frozen=True)
class Row:
    """Paths of one class, and the kinds of lines that are known there; `anything` takes every line."""

    cls: Class
    paths: re.Pattern[str]
    lines: tuple[LineTest, ...] = ()
    anything: bool = False


KUSTOMIZATION = r"(?:.+/)?kustomization\.ya?ml"
VALUES = r"(?:.+/)?[\w.-]*values[\w.-]*\.ya?ml"
YAML = r".+\.ya?ml"
ANY = r".+"
URL = (
    r"https://(?:github\.com/OWNER/releases/download"
    r"|raw\.githubusercontent\.com/OWNER)/TAG/[\w./-]+TAIL"
)

CHART = line_test("a chart", KUSTOMIZATION, r"""\s*(?:- )?version:\s*["']?TAGTAIL""")
MANIFEST = line_test(
    "a remote manifest",
    KUSTOMIZATION,
    r"""\s*- ["']?""" + URL.replace("OWNER", r"[\w.-]+/[\w.-]+"),
    twice=True,
)
WORKLOAD = line_test(
    "an image", YAML, r"""\s*(?:- )?image:\s*["']?IMAGE:TAGDIGESTTAIL""", free_v=True
)
VALUES_TAG = line_test(
    "an image's tag", VALUES, r"""\s*(?:- )?tag:\s*["']?TAGDIGESTTAIL""", free_v=True
)
NEW_TAG = line_test(
    "an image's tag", KUSTOMIZATION, r"""\s*(?:- )?newTag:\s*["']?TAGTAIL""", free_v=True
)
# Two constraints make a range; both ends go forward.
REQUIREMENT = line_test(
    "a Python requirement",
    r"(?:.+/)?requirements[\w.-]*\.txt",
    r"[A-Za-z0-9][\w.-]*(?:\[[\w,-]*\])?(?:[=~<>]=|[<>])TAG(?:,(?:[=~<>]=|[<>])TAG)?\s*(?:\s#.*)?",
)
MANIFESTS = (CHART, MANIFEST, WORKLOAD, VALUES_TAG, NEW_TAG)

# Annotated lines move the target; the plain lines of `versions` are the base, and a person's.
ANNOTATED = (
    r"""\s*\w+\s*=\s*"TAG"\s*# renovate: github-releases=DEPENDENCY(?: versioning=\w+)?\s*"""
)
TALOS_LINE = line_test("Talos", ANY, ANNOTATED.replace("DEPENDENCY", "siderolabs/talos"))
TALOS_BASE = line_test("Talos", ANY, r'\s*talos\s*=\s*"TAG"\s*')
KUBERNETES_LINE = line_test(
    "Kubernetes", ANY, ANNOTATED.replace("DEPENDENCY", "kubernetes/kubernetes")
)
KUBERNETES_BASE = line_test("Kubernetes", ANY, r'\s*kubernetes\s*=\s*"TAG"\s*')
# The keys of the base, whether or not somebody annotated them.
BASE = re.compile(r"\s*(?:talos|kubernetes|version)\s*=.*", re.ASCII)
FLAG = re.compile(r"(\s*upgrade\s*=\s*)(true|false)(\s*(?:#.*)?)", re.ASCII)
EXTENSION = re.compile(r"\s*- ([a-z0-9-]+/[\w.-]+)\s*", re.ASCII)

PROVIDER = line_test("a provider", ANY, r'\s*version\s*=\s*"(?:(?:~>|>=|=) ?)?TAG"\s*(?:#.*)?')
CILIUM = line_test("Cilium", ANY, r"""\s*(?:- )?["']?--version=TAGTAIL""")
GATEWAY = line_test(
    "the Gateway API",
    ANY,
    r"""\s*- ["']?""" + URL.replace("OWNER", "kubernetes-sigs/gateway-api"),
    twice=True,
)
ARGUMENT = line_test("an image's part", ANY, r"""ARG \w+=["']?TAG["']?\s+# renovate: \S+=\S+.*""")
FROM = line_test(
    "a base image",
    ANY,
    r"FROM (?:--platform=\S+ )?IMAGE:TAGDIGEST(?: (?:AS|as) [\w.-]+)?\s*",
    free_v=True,
)


def _row(cls: Class, paths: str, *lines: LineTest, anything: bool = False) -> Row:
    return Row(cls, re.compile(paths, re.ASCII), lines, anything=anything)


ROWS = (
    _row(Class.TALOS, r"tofu/(?:config|talos_image)\.auto\.tfvars", TALOS_LINE, TALOS_BASE),
    _row(Class.KUBERNETES, r"tofu/config\.auto\.tfvars", KUBERNETES_LINE, KUBERNETES_BASE),
    _row(Class.UPGRADE_INTENT, r"tofu/nodes\.auto\.tfvars"),
    _row(Class.SCHEMATIC, r"tofu/talos/image/schematic[\w.-]*"),
    _row(Class.CILIUM_BOOTSTRAP, r"tofu/talos/inline-manifests/cilium-install\.yaml", CILIUM),
    _row(Class.GATEWAY_API, r"tofu/talos/machine-config/control-plane\.yaml\.tftpl", GATEWAY),
    _row(Class.TOFU_PROVIDER, r"tofu/(?:.+/)?providers\.(?:tf|tofu)", PROVIDER),
    _row(Class.INFRA, r"k8s/infrastructure/[\w.-]+/.+", *MANIFESTS),
    _row(Class.APP, r"k8s/applications/[\w.-]+/.+", *MANIFESTS, REQUIREMENT),
    _row(Class.IMAGE, r"images/[\w.-]+/Dockerfile", ARGUMENT, FROM),
    _row(Class.DOCS, r"website/.+|package\.json|\.nvmrc", anything=True),
    _row(Class.CI, r"\.github/.+", anything=True),
)


def rows_of(path: str) -> tuple[Row, ...]:
    """The rows of the table that a path belongs to; none for a path that it does not know."""
    return tuple(row for row in ROWS if row.paths.fullmatch(path))
