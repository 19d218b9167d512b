"""What a folder of the repository renders to at a commit: worked out once a process, since a commit never changes."""

import threading
from collections import defaultdict

from tasks.connections import Connections
from windlass.models.plan import JsonObject

Key = tuple[str, str, str]

_lock = threading.Lock()
_locks: defaultdict[Key, threading.Lock] = defaultdict(threading.Lock)
_known: dict[Key, tuple[JsonObject, ...]] = {}


def rendered(connect: Connections, commit: str, root: str) -> tuple[JsonObject, ...]:
    """The objects of one folder or file. Steps that want the same one wait for the first of them.

    Raises as `Connections.render` does; a failure is not remembered.
    """
    key = (connect.repository, commit, root)
    with _lock:
        mine = _locks[key]
    with mine:
        if key not in _known:
            _known[key] = tuple(connect.render(commit, root))
        return _known[key]
