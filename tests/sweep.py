"""The whole crash sweep: bootstrap killed at every point there is. `make sweep`, or `python -m tests.sweep --help`.

The points come from the plan: five for each step with an effect, none for gates. They are grouped in chains, one for
each phase of the step protocol; a chain has a lab of its own. A point is missed when another step dies just after this
one's effect: its resume finds the effect done. What was missed is tried again in fresh labs where the site allows one
call at a time. What is unhit then, fails.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from queue import SimpleQueue

from tests.labs import SPEED, running_lab
from tests.sweeping import (
    Chain,
    Point,
    one_call_at_a_time,
    plan_of,
    points_of,
    sample_of,
    small_site,
    swept,
)
from windlass.engine.failpoints import PHASES

NETWORKS = ("127.53.0.0/16", "127.54.0.0/16", "127.55.0.0/16")
ROUNDS = 3
# What one kill and its resume took on two busy cores.
SECONDS_A_POINT = 6.0


@dataclass(frozen=True)
class Sweep:
    """Where labs are made, like which site, and how fast they are."""

    folder: Path
    site: Path | None
    speed: float
    networks: SimpleQueue[str]

    def points(self) -> tuple[Point, ...]:
        """Every point of the plan for the site as it is before anything was done."""
        network = self.networks.get()
        try:
            with running_lab(
                self.folder / "plan", network=network, speed=self.speed, more=self._like()
            ) as lab:
                return points_of(plan_of(lab))
        finally:
            self.networks.put(network)

    def chain(self, name: str, points: tuple[Point, ...], alone: bool) -> Chain:
        """One lab, killed at all these points."""
        network = self.networks.get()
        try:
            with running_lab(
                self.folder / name, network=network, speed=self.speed, more=self._like()
            ) as lab:
                if alone:
                    one_call_at_a_time(lab)
                return _told(swept(name, lab, points))
        finally:
            self.networks.put(network)

    def all(self, points: Iterable[Point], labs: int) -> list[Chain]:
        """Every point in a chain of its phase; what was missed again, in fresh labs."""
        missed, chains = tuple(points), list[Chain]()
        for number in range(1, ROUNDS + 1):
            by_phase = {
                f"{phase}-{number}": tuple(point for point in missed if point.phase == phase)
                for phase in PHASES
            }
            asked = {name: some for name, some in by_phase.items() if some}
            with ThreadPoolExecutor(labs) as pool:
                now = list(pool.map(self.chain, asked.keys(), asked.values(), repeat(number > 1)))
            chains += now
            missed = tuple(point for chain in now for point in chain.unhit)
            if not missed:
                break
        return chains

    def _like(self) -> tuple[str, ...]:
        return ("--site", str(self.site)) if self.site else ()


def _told(chain: Chain) -> Chain:
    print(
        f"  {chain.name:14} {len(chain.asked):4} points  {len(chain.hit):4} hit  {len(chain.unhit):3} unhit  "
        f"{len(chain.violations):3} violations  {chain.broken:3} breaks  {chain.seconds:6.0f} s",
        flush=True,
    )
    for violation in chain.violations:
        print(f"    violation: {violation}", flush=True)
    return chain


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--small", action="store_true", help="one control plane and one worker")
    parser.add_argument("--sample", action="store_true", help="one step of each action")
    parser.add_argument("--phase", choices=PHASES, action="append", help="only these phases")
    parser.add_argument("--labs", type=int, default=len(NETWORKS), help="side by side")
    parser.add_argument("--speed", type=float, default=SPEED)
    parser.add_argument("--network", action="append", help="instead of 127.53-55.0.0/16")
    return parser.parse_args()


def main() -> int:
    """0 when every point was hit and nothing was violated."""
    args, began = _arguments(), time.monotonic()
    networks: SimpleQueue[str] = SimpleQueue()
    for network in args.network or NETWORKS:
        networks.put(network)
    with tempfile.TemporaryDirectory(prefix="windlass-sweep-") as name:
        folder = Path(name)
        sweep = Sweep(folder, small_site(folder) if args.small else None, args.speed, networks)
        points = sweep.points()
        if args.sample:
            points = sample_of(points)
        points = tuple(point for point in points if point.phase in (args.phase or PHASES))
        labs = min(args.labs, networks.qsize())
        print(
            f"{len(points)} points of {len({p.key for p in points})} steps, a chain a phase, {labs} labs side by side; "
            f"about {len(points) * SECONDS_A_POINT / labs / 60:.0f} minutes",
            flush=True,
        )
        chains = sweep.all(points, labs)
    hit = {point for chain in chains for point in chain.hit}
    unhit = sorted(set(points) - hit)
    violations = sum(len(chain.violations) for chain in chains)
    for point in unhit:
        print(f"  unhit: {point}")
    print(
        f"{len(points)} points, {len(hit)} hit, {len(unhit)} unhit, {violations} violations, "
        f"{sum(len(chain.hit) for chain in chains)} kills in {len(chains)} labs, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if unhit or violations else 0


if __name__ == "__main__":
    sys.exit(main())
