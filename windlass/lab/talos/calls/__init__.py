"""The answers of the Talos API. Importing a module of this package registers what it answers."""

from windlass.lab.talos.calls import cosi, etcd, identity, lifecycle, streams, system
from windlass.lab.talos.rpc import METHODS

__all__ = ["answered", "cosi", "etcd", "identity", "lifecycle", "streams", "system"]


def answered() -> list[str]:
    """Paths of all methods that a machine answers; the others it refuses by name."""
    return sorted(path for path, method in METHODS.items() if method.handler is not None)
