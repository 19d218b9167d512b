"""The lab's Proxmox VE: hosts, storages and VMs behind the real REST protocol, words included.

What is missing answers 501 `Method 'M /path' not implemented`; nothing here invents success.
"""

from windlass.lab.proxmox.cluster import ProxmoxCluster
from windlass.lab.proxmox.hosts import HostSpec, StorageSpec

__all__ = ["HostSpec", "ProxmoxCluster", "StorageSpec"]
