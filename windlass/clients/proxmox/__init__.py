"""Proxmox VE through its REST API. Its own wire, its own words for what an answer means."""

from windlass.clients.proxmox.client import ProxmoxClient

__all__ = ["ProxmoxClient"]
