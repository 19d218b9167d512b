"""What runs because its container runs: a coroutine that starts and stops with the container."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Access
from windlass.lab.controllers.objects import Object, items


@dataclass(frozen=True)
class Running:
    """What a program knows of its place. `say` writes a line to the container's log."""

    access: Access
    clock: Clock
    node: str
    pod: Object
    say: Callable[[str], None]


# Returns the exit code. Cancelled when its container stops; an exception is a crash with code 1.
Program = Callable[[Running], Coroutine[Any, Any, int]]
# Keys are parts of "image command args": real manifests run several programs from one image.
Programs = Mapping[str, Program]


def program_of(container: Object, programs: Programs) -> Program | None:
    line = " ".join([container["image"], *items(container, "command"), *items(container, "args")])
    return next((program for part, program in programs.items() if part in line), None)
