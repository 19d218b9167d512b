"""The official talosctl, built from its sources in ../shared: never one that happens to be on the PATH."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.peers import missing

Talosctl = Callable[..., subprocess.CompletedProcess[str]]


def need_talosctl() -> Path:
    """Skip on a machine that has not built it; in CI that is a failure."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("REALCLIENTS_CACHE") or caches / "realclients")
    if not (folder / "talosctl").is_file():
        missing("talosctl is not here: build it with ../shared/realclients/build talosctl")
    return folder / "talosctl"


def caller(program: Path, folder: Path, *fixed: str) -> Talosctl:
    """talosctl with a home of its own; `fixed` comes at the end of every call."""

    def call(*words: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        environment = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "TALOSCONFIG": str(folder / "none"),
        }
        done = subprocess.run(
            [program, *words, *fixed],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment,
        )
        assert (done.returncode != 0) == fails, (
            f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    return call


def rows(said: str) -> list[dict[str, str]]:
    """A printed table by its own header; values may have single spaces in them."""
    head, *lines = said.splitlines()
    starts = [found.start() for found in re.finditer(r"\S+( \S+)*", head)]
    ends = [*starts[1:], None]
    return [
        {head[i:j].strip(): line[i:j].strip() for i, j in zip(starts, ends, strict=True)}
        for line in lines
    ]
