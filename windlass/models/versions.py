"""Which Kubernetes each Talos runs: facts, written by hand because no package carries them.

Source: the compatibility rules in the Talos sources (`pkg/machinery/compatibility`), as its
installer enforces them.
"""

from dataclasses import dataclass

Minor = tuple[int, int]


@dataclass(frozen=True)
class Support:
    """The Kubernetes minors that one Talos minor runs."""

    kubernetes_min: Minor
    kubernetes_max: Minor


SUPPORT: dict[Minor, Support] = {
    (1, 2): Support((1, 23), (1, 25)),
    (1, 3): Support((1, 24), (1, 26)),
    (1, 4): Support((1, 25), (1, 27)),
    (1, 5): Support((1, 26), (1, 28)),
    (1, 6): Support((1, 24), (1, 29)),
    (1, 7): Support((1, 25), (1, 30)),
    (1, 8): Support((1, 26), (1, 31)),
    (1, 9): Support((1, 27), (1, 32)),
    (1, 10): Support((1, 28), (1, 33)),
    (1, 11): Support((1, 29), (1, 34)),
    (1, 12): Support((1, 30), (1, 35)),
    (1, 13): Support((1, 31), (1, 36)),
    (1, 14): Support((1, 32), (1, 37)),
}

# The minors whose machine configs Windlass writes; it looks after clusters of any known minor.
BUILT = ((1, 12), (1, 13))

# A patch release beyond this is a typing error: the longest-lived minors stay far below it.
MAX_PATCH = 99


def minor(version: str) -> Minor:
    """`v1.13.9` as (1, 13)."""
    major, second, _ = version.removeprefix("v").split(".")
    return int(major), int(second)


def dotted_minor(version: Minor) -> str:
    return f"{version[0]}.{version[1]}"


def unsupported_talos(talos: str) -> str | None:
    """Why no site can want this Talos; None when it can."""
    if minor(talos) not in SUPPORT:
        oldest, newest = dotted_minor(min(SUPPORT)), dotted_minor(max(SUPPORT))
        return f"Talos {talos} is not known: the minors from {oldest} to {newest} are"
    return _absurd_patch("Talos", talos)


def unbuildable_talos(talos: str) -> str | None:
    """Why Windlass cannot bootstrap this Talos; None when it can."""
    if minor(talos) in BUILT:
        return None
    built = " and ".join(map(dotted_minor, BUILT))
    return f"Windlass writes machine configs for Talos {built}, not for {talos}: name one of those to bootstrap"


def unsupported_pair(talos: str, kubernetes: str) -> str | None:
    """Why these two do not go together; None when they do, or when `talos` itself is not known."""
    support = SUPPORT.get(minor(talos))
    if support is None:
        return None
    if not support.kubernetes_min <= minor(kubernetes) <= support.kubernetes_max:
        oldest, newest = map(dotted_minor, (support.kubernetes_min, support.kubernetes_max))
        return f"Talos {talos} does not run Kubernetes {kubernetes}: it runs {oldest} to {newest}"
    return _absurd_patch("Kubernetes", kubernetes)


def _absurd_patch(what: str, version: str) -> str | None:
    if int(version.rpartition(".")[2]) > MAX_PATCH:
        return f"{what} {version} does not exist: no minor has that many patch releases"
    return None
