"""Windlass: the whole life of a Talos-on-Proxmox Kubernetes cluster, as plans that survive a crash."""

__version__ = "0.1.0"
