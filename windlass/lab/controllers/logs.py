"""What containers write, as the kubelet keeps it."""

from collections import deque

_LINES = 500


class Log:
    """One run of a container: its last lines, each after its time."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)
        self.written = 0
        self.has_ended = False

    def write(self, line: str) -> None:
        self._lines.append(line)
        self.written += 1

    def after(self, position: int) -> list[str]:
        """The lines after the first `position`, as far as they are kept."""
        new = min(self.written - position, len(self._lines))
        return list(self._lines)[len(self._lines) - new :]
