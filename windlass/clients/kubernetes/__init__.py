"""The Kubernetes API of one cluster, through the official client's transport."""

from windlass.clients.kubernetes.client import KubernetesClient

__all__ = ["KubernetesClient"]
