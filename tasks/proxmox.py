"""Actions on Proxmox: the image, the VMs, their power. Nothing here adopts, changes or removes a stranger's VM."""

from datetime import datetime

from tasks.registry import SiteAction, action
from windlass.engine.action import Resume
from windlass.errors import NotReadyError, RefusedError
from windlass.models.plan import JsonObject
from windlass.models.proxmox import Upid, VmConfig
from windlass.models.site import Node, Site
from windlass.talosconfig.schematic import iso_url, schematic_id

# The system disk answers first: an empty one falls through to the installer's CD, an installed one never sees it again.
BOOT_ORDER = "order=scsi0;ide2"


def site_schematic(site: Site) -> str:
    """The schematic id of the site's Talos image."""
    wanted = site.cluster.schematic
    return schematic_id(wanted.extensions, wanted.kernel_args)


def image_file(site: Site) -> str:
    """The ISO's file name on Proxmox: schematic and version are in it, so that two versions never meet."""
    return f"talos-{site_schematic(site)[:16]}-{site.cluster.talos}-nocloud-amd64.iso"


def image_url(site: Site) -> str:
    """Where the site's image factory has the ISO."""
    cluster = site.cluster
    return iso_url(cluster.image.factory, site_schematic(site), cluster.talos)


def vm_settings(site: Site, node: Node, image: str) -> dict[str, str | int | bool]:
    """What Proxmox is asked for when a node's VM is created."""
    storage = node.storage or site.proxmox.storage
    vlan = f",tag={site.proxmox.vlan}" if site.proxmox.vlan else ""
    settings: dict[str, str | int | bool] = {
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


class _Task(SiteAction):
    """An effect that Proxmox runs as a task of its own; its handle is the task's id."""

    kind = ""

    def follow(self, handle: JsonObject) -> None:
        with self.connect.proxmox() as proxmox:
            proxmox.check_task(Upid(str(handle["upid"])))

    def trace(self, since: datetime) -> JsonObject | None:
        with self.connect.proxmox() as proxmox:
            found = proxmox.tasks(self.host, self.vmid, self.kind, since)
        return {"upid": found[0].upid} if found else None

    @property
    def host(self) -> str:
        return self.node.host

    @property
    def vmid(self) -> int | None:
        return self.node.vmid

    def own_config(self, config: VmConfig) -> None:
        """Raise RefusedError unless the VM is this site's own: tag, name and MAC."""
        node = self.node
        wrong = [
            f"{what} is {is_!r} instead of {should!r}"
            for what, is_, should in (
                ("name", config.name, node.name),
                ("tag", self.site.tag if self.site.tag in config.tags else "absent", self.site.tag),
                ("MAC", node.mac if node.mac in config.macs else "another", node.mac),
            )
            if is_ != should
        ]
        if wrong:
            raise RefusedError(
                f"VM {node.vmid} on {node.host} is not this site's {node.name}: {'; '.join(wrong)}. "
                "Windlass does not touch it: remove it or choose another vmid"
            )


@action("proxmox.download-image")
class DownloadImage(_Task):
    """The Talos ISO lies on the host's image storage. A file that is already there is left alone."""

    kind = "download"
    patience = "call"
    effort = "download"

    @property
    def host(self) -> str:
        return self.step.target

    @property
    def vmid(self) -> int | None:
        return None

    def goal(self) -> JsonObject:
        volume = f"{self.site.proxmox.image_storage}:iso/{self.text('file')}"
        with self.connect.proxmox() as proxmox:
            found = {
                v.volid: v.size
                for v in proxmox.content(self.host, self.site.proxmox.image_storage, "iso")
            }
        if volume not in found:
            raise NotReadyError(f"{volume} is not on {self.host}")
        return {"volume": volume, "size": found[volume]}

    def effect(self) -> JsonObject | None:
        url = image_url(self.site)
        with self.connect.proxmox() as proxmox:
            upid = proxmox.download(
                self.host,
                self.site.proxmox.image_storage,
                url,
                self.text("file"),
                self.site.cluster.image.sha256,
            )
        return {"upid": upid}


@action("proxmox.create-vm")
class CreateVm(_Task):
    """The node's VM exists, stopped, as the site file describes it.

    Safe to run again: a VM with the node's vmid is adopted only when tag, name and MAC are its own.
    """

    kind = "qmcreate"
    patience = "call"
    effort = "vm"

    def goal(self) -> JsonObject:
        node = self.node
        with self.connect.proxmox() as proxmox:
            found = proxmox.find_vm(node.vmid)
            if found is None:
                raise NotReadyError(f"VM {node.vmid} does not exist")
            if found.host != node.host:
                raise RefusedError(f"VM {node.vmid} is on host {found.host}, not on {node.host}")
            config = proxmox.vm_config(node.host, node.vmid)
        self.own_config(config)
        if config.lock:
            raise NotReadyError(f"VM {node.vmid} is locked ({config.lock})")
        differs = [
            f"{what} {is_} instead of {should}"
            for what, is_, should in (
                ("cores", config.cores, node.cpu),
                ("memory", config.memory, node.memory),
                ("disks", len(config.disks), 1 + len(node.data_disks)),
            )
            if is_ != should
        ]
        if differs:
            raise RefusedError(f"VM {node.vmid} was read back with {', '.join(differs)}")
        return {"vmid": node.vmid, "host": node.host, "uuid": config.smbios_uuid}

    def preconditions(self) -> None:
        node = self.node
        with self.connect.proxmox() as proxmox:
            for vm in proxmox.vms():
                if vm.vmid == node.vmid:
                    raise RefusedError(
                        f"VM id {node.vmid} was taken by {vm.name} on {vm.host} since the plan was made"
                    )
                if vm.name == node.name:
                    raise RefusedError(
                        f"a VM called {node.name} appeared on {vm.host} (id {vm.vmid})"
                    )

    def effect(self) -> JsonObject | None:
        node = self.node
        settings = vm_settings(self.site, node, self.text("image"))
        with self.connect.proxmox() as proxmox:
            return {"upid": proxmox.create_vm(node.host, node.vmid, settings)}


@action("proxmox.start-vm")
class StartVm(_Task):
    """The node's VM runs. Safe to run again: a running VM is left alone."""

    kind = "qmstart"
    patience = "vm"
    effort = "vm"
    resume = Resume.REPEAT

    def goal(self) -> JsonObject:
        node = self.node
        with self.connect.proxmox() as proxmox:
            status = proxmox.vm_status(node.host, node.vmid)
        if status.status != "running":
            raise NotReadyError(f"VM {node.vmid} is {status.status}")
        return {"vmid": node.vmid, "status": status.status}

    def preconditions(self) -> None:
        with self.connect.proxmox() as proxmox:
            self.own_config(proxmox.vm_config(self.node.host, self.node.vmid))

    def effect(self) -> JsonObject | None:
        with self.connect.proxmox() as proxmox:
            return {"upid": proxmox.start_vm(self.node.host, self.node.vmid)}
