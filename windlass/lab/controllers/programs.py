"""The programs that the lab's pods run, by a part of their image, command or arguments."""

from windlass.lab.controllers.program import Program

DEFAULT_PROGRAMS: dict[str, Program] = {}
