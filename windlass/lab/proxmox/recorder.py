"""What was asked and answered, one JSON line a request, so that any test can hold it against the contract."""

from pathlib import Path
from typing import Any, cast

import orjson

MAX_BYTES = 16 * 1024**2
_SECRET = frozenset({"password", "cipassword", "value", "ticket", "CSRFPreventionToken"})


class Recorder:
    """Append-only; beyond 16 MiB the older half goes to `.1`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch(mode=0o600, exist_ok=True)
        self._file = path.open("ab")

    def record(self, line: dict[str, Any]) -> None:
        """One request: method, path, route, parameters, agent, user, status, reason, data."""
        if self._file.tell() > MAX_BYTES:
            self._file.close()
            self._path.rename(self._path.with_suffix(".jsonl.1"))
            self._path.touch(mode=0o600)
            self._file = self._path.open("ab")
        self._file.write(orjson.dumps(_masked(line)) + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        pairs = cast(dict[str, Any], value)
        return {
            key: "***" if key in _SECRET and isinstance(inner, str) else _masked(inner)
            for key, inner in pairs.items()
        }
    if isinstance(value, list):
        items = cast(list[Any], value)
        return [_masked(inner) for inner in items]
    return value
