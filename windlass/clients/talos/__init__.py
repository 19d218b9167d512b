"""One Talos machine over gRPC, as a plain synchronous object. asyncio stays in here."""

from windlass.clients.talos.client import TalosClient
from windlass.models.talos import TalosCredentials

__all__ = ["TalosClient", "TalosCredentials"]
