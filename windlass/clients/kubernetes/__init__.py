"""The Kubernetes API of one cluster, through the official client's transport."""

from windlass.clients.kubernetes.client import KubernetesClient
from windlass.clients.kubernetes.kubeconfig import Access, access, read_kubeconfig

__all__ = ["Access", "KubernetesClient", "access", "read_kubeconfig"]
