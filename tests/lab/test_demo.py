"""What a newcomer sees first: the whole demonstration, as `make demo` starts it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.labs import ROOT


def test_the_demonstration_boots_a_site_says_how_and_leaves_nothing(tmp_path: Path):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    env.pop("WINDLASS_HOME", None)

    done = subprocess.run(
        [sys.executable, "-m", "windlass.cli", "demo"],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip

    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    assert re.search(r"watch it: http://127\.0\.0\.1:\d+/runs/flow-run/[0-9a-f-]{36}", said)
    assert re.search(r"bootstrap of site \S+: 3 control planes, 3 workers, Talos v1", said)
    assert re.search(r"^  phase +steps +took +forecast$", said, re.MULTILINE)
    assert re.search(r"^  in all +[\d.]+ (s|min).* +[\d.]+ (s|min)", said, re.MULTILINE)
    nodes = re.findall(
        r"^  (\S+) +(controlplane|worker) +10\.25\.150\.\d+  Talos v1\.", said, re.MULTILINE
    )
    assert [role for _, role in nodes] == ["controlplane"] * 3 + ["worker"] * 3
    for layer in ("core", "platform", "apps"):
        assert re.search(rf"^  layer {layer} ", said, re.MULTILINE)
    assert said.rstrip().splitlines()[-2].startswith("Nothing is left running.")
    assert list(tmp_path.iterdir()) == []
    assert left_of(tmp_path) == []


def left_of(folder: Path) -> list[str]:
    """Commands that still run and name the folder."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found
