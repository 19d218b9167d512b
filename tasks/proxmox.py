"""Actions on Proxmox: the image, the VMs, their power. Nothing here adopts, changes or removes a stranger's VM."""

from datetime import UTC, datetime, timedelta

from tasks.registry import SiteAction, action
from windlass.clients.proxmox import ProxmoxClient
from windlass.engine.action import Resume
from windlass.errors import NotReadyError, RefusedError
from windlass.models.plan import JsonObject
from windlass.models.proxmox import Upid, VmConfig
from windlass.models.site import Site
from windlass.plans.machines import VmSettings, vm_settings
from windlass.talosconfig.schematic import iso_url, schematic_id

# Proxmox writes a task's start in whole seconds, and an answer with the time is a moment old when it comes.
ROUNDING = timedelta(seconds=5)


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


class _Task(SiteAction):
    """An effect that Proxmox runs as a task of its own; its handle is the task's id."""

    kind = ""

    def follow(self, handle: JsonObject) -> None:
        with self.connect.proxmox() as proxmox:
            proxmox.check_task(Upid(str(handle["upid"])))

    def trace(self, since: datetime) -> JsonObject | None:
        with self.connect.proxmox() as proxmox:
            ahead = proxmox.host_time(self.host) - datetime.now(UTC)
            found = proxmox.tasks(self.host, self.vmid, self.kind, since + ahead - ROUNDING)
        token = self.site.proxmox.token_id
        own = [task.upid for task in found if (task.user, task.about) == (token, self.about)]
        return {"upid": own[0]} if own else None

    @property
    def about(self) -> str:
        """What Proxmox names in the task's id."""
        return str(self.vmid)

    @property
    def host(self) -> str:
        return self.node.host

    @property
    def vmid(self) -> int | None:
        return self.node.vmid

    def own_config(self, config: VmConfig) -> None:
        """Raise RefusedError unless the VM is this site's own: tag, name and MAC.

        Raises:
            NotReadyError: it is just being created, and does not say yet whose it is.
        """
        node = self.node
        if config.lock == "create":
            raise NotReadyError(f"VM {node.vmid} on {node.host} is just being created")
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

    def unlocked(self, config: VmConfig) -> None:
        """Raise NotReadyError while something else works on the VM; its lock is never taken away."""
        if config.lock:
            raise NotReadyError(
                f"VM {self.node.vmid} on {self.node.host} is locked ({config.lock})"
            )

    def as_planned(self, config: VmConfig) -> None:
        """Raise RefusedError when the VM has not the size that the site file gives it."""
        node = self.node
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
            raise RefusedError(
                f"VM {node.vmid} ({node.name}) on {node.host} has {', '.join(differs)}: somebody changed it"
            )


@action("proxmox.download-image")
class DownloadImage(_Task):
    """The Talos ISO lies on the host's image storage, as long as the factory says. One that is there is left alone."""

    kind = "download"
    patience = "download"

    @property
    def host(self) -> str:
        return self.step.target

    @property
    def vmid(self) -> int | None:
        return None

    @property
    def about(self) -> str:
        return self.text("file")

    def goal(self) -> JsonObject:
        volume = f"{self.site.proxmox.image_storage}:iso/{self.text('file')}"
        with self.connect.proxmox() as proxmox:
            found = {
                v.volid: v.size
                for v in proxmox.content(self.host, self.site.proxmox.image_storage, "iso")
            }
            if volume not in found:
                raise NotReadyError(f"{volume} is not on {self.host}")
            self._compare(proxmox, volume, found[volume])
        return {"volume": volume, "size": found[volume]}

    def _compare(self, proxmox: ProxmoxClient, volume: str, size: int) -> None:
        """Raise RefusedError when the file is not as long as the factory's; Proxmox keeps what a download left."""
        try:
            wanted = proxmox.image_metadata(self.host, self.text("url")).size
        except RefusedError as unknown:
            raise NotReadyError(
                f"the length of {volume} cannot be compared: {unknown}"
            ) from unknown
        if size != wanted:
            raise RefusedError(
                f"{volume} on {self.host} has {size:,} bytes, the factory's image has {wanted:,}: "
                "no machine boots from it. Remove it, then resume"
            )

    def effect(self) -> JsonObject | None:
        with self.connect.proxmox() as proxmox:
            upid = proxmox.download(
                self.host,
                self.site.proxmox.image_storage,
                self.text("url"),
                self.text("file"),
                self.text("sha256") or None,
            )
        return {"upid": upid}


@action("proxmox.create-vm")
class CreateVm(_Task):
    """The node's VM exists, stopped, as the site file describes it.

    Safe to run again: a VM with the node's vmid is adopted only when tag, name and MAC are its own.
    """

    kind = "qmcreate"
    patience = "vm"

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
        self.unlocked(config)
        self.as_planned(config)
        return {"vmid": node.vmid, "host": node.host, "uuid": config.smbios_uuid}

    def preconditions(self) -> None:
        node = self.node
        self.unchanged("settings", {**self._settings})
        with self.connect.proxmox() as proxmox:
            for vm in proxmox.vms():
                if vm.vmid == node.vmid:
                    self.own_config(proxmox.vm_config(vm.host, vm.vmid, vm.type))
                    raise NotReadyError(f"VM {node.vmid} is there, but not as it should be")
                if vm.name == node.name:
                    raise RefusedError(
                        f"a VM called {node.name} appeared on {vm.host} (id {vm.vmid})"
                    )
                # The guests of a host that is down cannot be read, and cannot start either.
                if vm.status == "unknown":
                    continue
                if node.mac in proxmox.vm_config(vm.host, vm.vmid, vm.type).macs:
                    raise RefusedError(
                        f"{node.name}'s MAC {node.mac} is now that of {vm.name} on {vm.host} (id {vm.vmid})"
                    )

    def effect(self) -> JsonObject | None:
        node = self.node
        with self.connect.proxmox() as proxmox:
            return {"upid": proxmox.create_vm(node.host, node.vmid, self._settings)}

    @property
    def _settings(self) -> VmSettings:
        return vm_settings(self.site, self.node, self.text("image"))


@action("proxmox.start-vm")
class StartVm(_Task):
    """The node's VM runs. Safe to run again: a running VM is left alone."""

    kind = "qmstart"
    patience = "vm"
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
            config = proxmox.vm_config(self.node.host, self.node.vmid)
        self.own_config(config)
        self.as_planned(config)
        self.unlocked(config)

    def effect(self) -> JsonObject | None:
        with self.connect.proxmox() as proxmox:
            return {"upid": proxmox.start_vm(self.node.host, self.node.vmid)}
