"""The answers of the Talos API. Importing a module of this package registers what it answers."""

from windlass.lab.talos.calls import cosi, etcd, identity, lifecycle, streams, system

__all__ = ["cosi", "etcd", "identity", "lifecycle", "streams", "system"]
