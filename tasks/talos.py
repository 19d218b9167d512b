"""Actions on Talos machines: from maintenance to a member of etcd, and the credentials of the new cluster."""

import os
from datetime import UTC, datetime
from pathlib import Path

from tasks.registry import SiteAction, action
from windlass.clients.talos import TalosClient
from windlass.engine.action import Resume
from windlass.errors import (
    AmbiguousError,
    NotReadyError,
    PreflightError,
    RefusedError,
    UnreachableError,
)
from windlass.models.plan import JsonObject
from windlass.models.site import Node
from windlass.models.talos import EtcdMember, Service
from windlass.plans.machines import config_digest
from windlass.talosconfig.machineconfig import machine_config
from windlass.talosconfig.outputs import talosconfig_ends
from windlass.talosconfig.pki import Mint
from windlass.talosconfig.secrets import SecretsBundle
from windlass.talosconfig.talosconfig import admin_talosconfig


def write_private(path: Path, text: str, *, replace: bool = True) -> None:
    """The file holds `text`, mode 0600, or what it held before: never half of it.

    Raises:
        FileExistsError: it is there, and `replace` is false.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            part.replace(path)
        else:
            path.hardlink_to(part)
    finally:
        part.unlink(missing_ok=True)


@action("talos.secrets")
class MakeSecrets(SiteAction):
    """The site's secrets bundle exists. A bundle that is there is never replaced: it is the cluster's identity."""

    def goal(self) -> JsonObject:
        path = self.connect.secrets_path
        if not path.exists():
            raise NotReadyError(f"{path} does not exist")
        bundle = self.connect.secrets()
        return {"path": str(path), "cluster_id": bundle.cluster_id}

    def effect(self) -> JsonObject | None:
        bundle, path = (
            SecretsBundle.generate(os.urandom, datetime.now(UTC)),
            self.connect.secrets_path,
        )
        try:
            # Making it takes seconds, in which this process may have been stopped and another one have made it.
            write_private(path, bundle.to_yaml(), replace=False)
        except FileExistsError as error:
            raise RefusedError(f"{path} is there already and is left as it is") from error
        return None


@action("talos.talosconfig")
class WriteTalosconfig(SiteAction):
    """The administrator's talosconfig lies where the site file says, mode 0600. Another cluster's is left alone."""

    def goal(self) -> JsonObject:
        return self.connect.written(self.connect.talosconfig_path, talosconfig_ends)

    def effect(self) -> JsonObject | None:
        endpoints = [self.connect.talos_address(node) for node in self.site.control_planes]
        text = admin_talosconfig(
            self.site.cluster.name,
            self.connect.secrets(),
            endpoints=endpoints,
            nodes=[str(node.address) for node in self.site.nodes],
            mint=Mint(os.urandom, datetime.now(UTC)),
        )
        write_private(self.connect.talosconfig_path, text)
        return None


@action("talos.maintenance")
class Maintenance(SiteAction):
    """Gate: the machine at the node's address is in maintenance and is the VM that Proxmox says.

    UUID and MAC must match. The certificate's fingerprint is kept as evidence; the configuration is sent to no other.
    """

    patience = "boot"

    def goal(self) -> JsonObject:
        node = self.node
        with self.connect.proxmox() as proxmox:
            config = proxmox.vm_config(node.host, node.vmid)
        with self.connect.maintenance(node) as talos:
            fingerprint = talos.fingerprint()
            identity = talos.identity()
        if (
            identity.uuid.lower() != (config.smbios_uuid or "").lower()
            or node.mac not in identity.macs
        ):
            raise RefusedError(
                f"the machine at {node.address} is not VM {node.vmid}: it has UUID {identity.uuid} and MACs "
                f"{', '.join(sorted(identity.macs))}, Proxmox says {config.smbios_uuid} and {node.mac}. "
                "Find out what has that address; nothing was sent to it"
            )
        return {"fingerprint": fingerprint, "uuid": identity.uuid}


@action("talos.apply-config")
class ApplyConfig(SiteAction):
    """The machine took its configuration and answers with the site's own CA.

    Only a machine in maintenance is configured, over a connection pinned to the fingerprint seen before, and only
    with what it accepts in a dry run.
    """

    patience = "install"

    def goal(self) -> JsonObject:
        try:
            with self.connect.talos(self.node) as talos:
                return {"talos": talos.version().tag}
        except RefusedError as stranger:
            # A machine in maintenance signs for itself; with its configuration comes the site's authority.
            raise NotReadyError(f"{self.node.name} is not configured yet: {stranger}") from stranger

    def preconditions(self) -> None:
        self.unchanged("config", config_digest(self.site, self.node))
        expected = self.evidence(f"talos.maintenance/{self.node.name}")["uuid"]
        with self.connect.maintenance(self.node, self._pins) as talos:
            uuid = talos.identity().uuid
            if uuid != expected:
                raise PreflightError(f"{self.node.name} now has UUID {uuid}, was {expected}")
            talos.apply_config(node_config(self, self.node), mode="auto", dry_run=True)

    def effect(self) -> JsonObject | None:
        config = node_config(self, self.node)
        with self.connect.maintenance(self.node, self._pins) as talos:
            applied = talos.apply_config(config, mode="auto")
        return {"warnings": list(applied.warnings), "details": applied.details[:500]}

    def trace(self, since: datetime) -> JsonObject | None:
        """A machine that still answers in maintenance has not taken a config; a silent one may be installing."""
        try:
            with self.connect.maintenance(self.node, self._pins) as talos:
                talos.identity()
        except UnreachableError:
            return {"silent_since": since.isoformat()}
        return None

    @property
    def _pins(self) -> tuple[str, ...]:
        return (str(self.evidence(f"talos.maintenance/{self.node.name}")["fingerprint"]),)


def node_config(action_: SiteAction, node: Node) -> str:
    """The machine config of a node. Its certificates also carry the address it is reached at from here."""
    reached = action_.connect.talos_address(node)
    extra = () if reached == str(node.address) else (reached.partition(":")[0],)
    return machine_config(action_.site, node, action_.connect.secrets(), extra)


@action("talos.installed")
class Installed(SiteAction):
    """Gate: the machine runs the wanted Talos from its own disk and has come as far as it can alone."""

    patience = "install"

    def goal(self) -> JsonObject:
        with self.connect.talos(self.node) as talos:
            version, status = talos.version().tag, talos.machine_status()
        if status.stage not in ("booting", "running"):
            raise NotReadyError(
                f"{self.node.name} is {status.stage}: {', '.join(status.unmet) or 'no reason given'}"
            )
        if version != self.text("talos"):
            raise RefusedError(
                f"{self.node.name} came up with Talos {version}, wanted {self.text('talos')}"
            )
        return {"talos": version, "stage": status.stage}


@action("talos.bootstrap-etcd")
class BootstrapEtcd(SiteAction):
    """etcd runs, bootstrapped once, on this one node.

    Never repeated when its outcome is unknown: a second bootstrap elsewhere would split the cluster for good.
    """

    resume = Resume.NEVER
    patience = "etcd"

    def goal(self) -> JsonObject:
        with self.connect.talos(self.node) as talos:
            running_etcd(talos, self.node)
            members = talos.etcd_members()
        return {"members": [member.hostname for member in members]}

    def preconditions(self) -> None:
        for node in self.site.control_planes:
            with self.connect.talos(node) as talos:
                members = members_of(talos)
            if members:
                raise PreflightError(
                    f"{node.name} already has etcd members ({', '.join(m.hostname for m in members)}): "
                    "this cluster was bootstrapped before"
                )

    def effect(self) -> JsonObject | None:
        with self.connect.talos(self.node) as talos:
            talos.bootstrap()
        return None

    def trace(self, since: datetime) -> JsonObject | None:
        """An etcd that waits and never heard of a bootstrap was not bootstrapped; one that runs was.

        What else it does, it does on the way to one of these: another look tells.
        """
        try:
            with self.connect.talos(self.node) as talos:
                etcd = etcd_service(talos)
        except UnreachableError as silent:
            raise AmbiguousError(
                f"{self.node.name} does not say whether etcd was bootstrapped: {silent}"
            ) from silent
        if etcd is None or not (etcd.state in ("Running", "Preparing") or was_told(etcd)):
            raise AmbiguousError(f"etcd on {self.node.name} is {etcd.state if etcd else 'absent'}")
        return None if is_waiting(etcd) else {"etcd": etcd.state}


# What the service says when it is told to begin a cluster; afterwards it prepares itself as if it had never been told.
BOOTSTRAP_REQUESTED = "Bootstrap requested"


def etcd_service(talos: TalosClient) -> Service | None:
    return next((service for service in talos.services() if service.id == "etcd"), None)


def was_told(etcd: Service) -> bool:
    """It was told to begin a cluster since its machine booted."""
    return BOOTSTRAP_REQUESTED in etcd.events


def is_waiting(etcd: Service) -> bool:
    """It waits to be bootstrapped or to join."""
    return etcd.state == "Preparing" and not was_told(etcd)


def members_of(talos: TalosClient) -> tuple[EtcdMember, ...]:
    """The etcd members a connected control plane knows; none while its etcd waits to be bootstrapped.

    Raises:
        NotReadyError: its etcd neither runs nor waits: whether it has members cannot be told.
    """
    etcd = etcd_service(talos)
    if etcd is not None and etcd.state == "Running":
        return talos.etcd_members()
    if etcd is not None and is_waiting(etcd):
        return ()
    said = (
        f"{etcd.state}: {etcd.events[-1] if etcd.events else 'no word why'}" if etcd else "absent"
    )
    raise NotReadyError(f"whether its etcd has members cannot be told: it is {said}")


@action("talos.etcd-member")
class EtcdMemberGate(SiteAction):
    """Gate: this control plane is a voting member of etcd and its etcd is healthy."""

    patience = "etcd"

    def goal(self) -> JsonObject:
        with self.connect.talos(self.node) as talos:
            return voting_member(talos, self.node)


def running_etcd(talos: TalosClient, node: Node) -> None:
    """Raise NotReadyError unless the node's etcd runs and is healthy."""
    etcd = etcd_service(talos)
    if etcd is None or etcd.state != "Running" or not etcd.healthy:
        raise NotReadyError(f"etcd on {node.name} is {etcd.state if etcd else 'absent'}")


def voting_member(talos: TalosClient, node: Node) -> JsonObject:
    """Evidence that the node is a voter.

    Raises:
        NotReadyError: it is not, with what it is instead.
    """
    running_etcd(talos, node)
    for member in talos.etcd_members():
        if member.hostname == node.name:
            if member.is_learner:
                raise NotReadyError(f"{node.name} is still a learner")
            return {"member": f"{member.id:016x}"}
    raise NotReadyError(f"{node.name} is not in the member list")
