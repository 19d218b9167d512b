"""What the site file makes of a node, as data: what Proxmox is asked for, and what a machine's config is made from.

Both are part of a plan, and so of the hash that a person approves.
"""

import hashlib
import json

from windlass.models.site import Node, Site

VmSettings = dict[str, str | int | bool]

# The system disk answers first: an empty one falls through to the installer's CD, an installed one never sees it again.
BOOT_ORDER = "order=scsi0;ide2"


def vm_settings(site: Site, node: Node, image: str) -> VmSettings:
    """What Proxmox is asked for when a node's VM is created."""
    storage = node.storage or site.proxmox.storage
    vlan = f",tag={site.proxmox.vlan}" if site.proxmox.vlan else ""
    settings: VmSettings = {
        "name": node.name,
        "description": f"Talos {node.role} of site {site.name}, made by Windlass",
        "tags": f"{site.tag};{node.role}",
        "ostype": "l26",
        "cpu": "host",
        "sockets": 1,
        "cores": node.cpu,
        "memory": node.memory,
        "balloon": 0,
        "scsihw": "virtio-scsi-pci",
        "scsi0": f"{storage}:{node.disk},discard=on,ssd=1",
        "ide0": f"{storage}:cloudinit",
        "ide2": f"{site.proxmox.image_storage}:iso/{image},media=cdrom",
        "boot": BOOT_ORDER,
        "net0": f"virtio={node.mac.upper()},bridge={site.proxmox.bridge}{vlan}",
        "ipconfig0": f"ip={site.interface(node)},gw={site.cluster.gateway}",
        "nameserver": " ".join(map(str, site.cluster.nameservers)),
        "agent": "enabled=1",
        "onboot": True,
    }
    for number, disk in enumerate(node.data_disks, start=1):
        settings[f"scsi{number}"] = f"{disk.storage or storage}:{disk.size},discard=on,ssd=1"
    if node.gpus:
        settings["machine"] = "q35"
    for number, mapping in enumerate(node.gpus):
        settings[f"hostpci{number}"] = f"mapping={mapping},pcie=1"
    if site.proxmox.pool:
        settings["pool"] = site.proxmox.pool
    return settings


def config_digest(site: Site, node: Node) -> str:
    """SHA-256 over everything in the site file that goes into the node's machine config; no secret is in it."""
    body = {
        "cluster": site.cluster.model_dump(
            mode="json", exclude={"secrets": True, "image": {"ca_file"}}
        ),
        "node": node.model_dump(mode="json"),
        "control_planes": [str(plane.address) for plane in site.control_planes],
    }
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
