"""How Windlass works on a site: what makes the VMs, who says yes, how fast, and what comes out."""

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from windlass.models.fields import Duration, FilePath, ImageRef, Spec, StorageClass, refuse


class Acceptance(Spec):
    """What the new cluster must prove; without `storage_class` no volume is tried."""

    storage_class: StorageClass | None = None
    image: ImageRef = "registry.k8s.io/pause:3.10"


class Approvals(Spec):
    """When a person must say yes; by-risk is before disruptive and destructive plans."""

    policy: Literal["always", "by-risk", "never"] = "by-risk"
    # A run waits this long for the answer, then parks; the approval starts a new run.
    wait: Duration = timedelta(minutes=5)


class PaceSpec(Spec):
    """How often Windlass looks, and how long it is patient. The lab writes these for its speed."""

    first: Duration = timedelta(seconds=1)
    longest: Duration = timedelta(seconds=10)
    call: Duration = Field(
        default=timedelta(seconds=60), description="deadline of one API call that changes something"
    )
    probe: Duration = Field(
        default=timedelta(seconds=10), description="deadline of one API call that only reads"
    )
    download: Duration = timedelta(minutes=15)
    vm: Duration = Field(
        default=timedelta(minutes=10), description="a VM task: create, start, stop"
    )
    boot: Duration = Field(
        default=timedelta(minutes=10), description="power on until the Talos API answers"
    )
    install: Duration = timedelta(minutes=15)
    etcd: Duration = timedelta(minutes=10)
    ready: Duration = Field(default=timedelta(minutes=15), description="API up, nodes Ready")
    rollout: Duration = Field(default=timedelta(minutes=30), description="one GitOps Application")
    settle: Duration = Field(
        default=timedelta(seconds=10), description="gap between two reads where one can lie"
    )
    speed: float = Field(
        default=1.0,
        gt=0,
        le=100_000,
        description="how much faster than real machines; forecasts without history use it",
    )

    @model_validator(mode="after")
    def _looking_takes_turns_and_grows_slower(self) -> Self:
        if not self.first:
            refuse("Pace", [(("first",), "must be longer than 0s: looking again takes a while")])
        if self.longest < self.first:
            refuse("Pace", [(("longest",), f"must not be shorter than first ({self.first})")])
        return self


class Parallel(Spec):
    """How much runs side by side, per host and per API; a Proxmox cluster takes the defaults well."""

    per_host: int = Field(default=2, ge=1, le=32)
    per_storage: int = Field(default=2, ge=1, le=32)
    proxmox: int = Field(default=8, ge=1, le=64)
    talos: int = Field(default=16, ge=1, le=256)
    kubernetes: int = Field(default=8, ge=1, le=64)


class Outputs(Spec):
    """Where bootstrap leaves the credentials of the new cluster, mode 0600."""

    talosconfig: FilePath = "talosconfig"
    kubeconfig: FilePath = "kubeconfig"


class Provisioner(Spec):
    """What makes the VMs: Windlass itself, or an OpenTofu folder."""

    kind: Literal["native", "tofu"] = "native"
    folder: FilePath | None = None

    @model_validator(mode="after")
    def _tofu_has_a_folder_and_native_has_none(self) -> Self:
        if self.kind == "tofu" and self.folder is None:
            refuse("Provisioner", [((), "kind tofu needs a folder: name the OpenTofu folder")])
        if self.kind == "native" and self.folder is not None:
            says = "only kind tofu has a folder: remove it, or write kind: tofu"
            refuse("Provisioner", [(("folder",), says)])
        return self
