"""For all tests: nothing leaves this machine, and a peer that is missing is a skip here and a failure in CI."""

import importlib.util
import os
from pathlib import Path

LOOPBACK = Path(__file__).parent / "loopback"

# In child processes Python does it by itself; in this one it is already too late for that.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(LOOPBACK), *filter(None, [os.environ.get("PYTHONPATH")])]
)
_spec = importlib.util.spec_from_file_location("loopback_guard", LOOPBACK / "sitecustomize.py")
assert _spec is not None
assert _spec.loader is not None
_spec.loader.exec_module(importlib.util.module_from_spec(_spec))
