"""The programs that the lab's pods run, by a part of their image, command or arguments."""

from collections.abc import Mapping
from pathlib import Path

from windlass.lab.controllers.argocd.server import argocd_programs
from windlass.lab.controllers.program import Program
from windlass.lab.controllers.storage import csi_programs
from windlass.lab.faults import Faults


def programs_for(
    repositories: Mapping[str, Path], faults: Faults | None = None
) -> dict[str, Program]:
    """All programs. Argo CD clones from `repositories`; faults are those of the lab, if any."""
    return {**argocd_programs(repositories, faults), **csi_programs()}


DEFAULT_PROGRAMS: dict[str, Program] = programs_for({})
