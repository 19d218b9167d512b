"""The official talosctl, built from its sources in ../shared: never one that happens to be on the PATH."""

import os
from pathlib import Path

from tests.peers import missing


def need_talosctl() -> Path:
    """Skip on a machine that has not built it; in CI that is a failure."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("REALCLIENTS_CACHE") or caches / "realclients")
    if not (folder / "talosctl").is_file():
        missing("talosctl is not here: build it with ../shared/realclients/build talosctl")
    return folder / "talosctl"
