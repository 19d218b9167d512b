"""Proxmox VE through its REST API (https://pve.proxmox.com/pve-docs/api-viewer/), by proxmoxer.

Nothing is retried and nobody waits here: a read without an answer is unreachable, a write without
one is ambiguous. Methods say what their caller wants, one call each unless they say otherwise.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, TypeVar
from urllib.parse import quote

from pydantic import SecretStr, TypeAdapter, ValidationError

from windlass.clients.proxmox.entries import (
    Bridge,
    ClusterEntry,
    HostTime,
    LogLine,
    Mapped,
    PoolEntry,
    TaskEntry,
    TaskState,
    Version,
)
from windlass.clients.proxmox.meaning import redacted, translate, unanswered
from windlass.clients.proxmox.wire import Api, NoAnswerError, Reach, RefusalError, Wire
from windlass.deadline import Trust, within
from windlass.errors import (
    AmbiguousError,
    BadInputError,
    NotReadyError,
    RefusedError,
    UnreachableError,
)
from windlass.models.proxmox import (
    UPID,
    ClusterStatus,
    HostState,
    HostStatus,
    PciMapping,
    Pool,
    StorageState,
    TaskRef,
    TaskStatus,
    Upid,
    UrlMetadata,
    VmConfig,
    VmRef,
    VmStatus,
    Volume,
    properties,
)

Settings = Mapping[str, str | int | bool]
T = TypeVar("T")

# Right after a task began its host may not know it yet.
TASK_APPEARS = timedelta(seconds=10)
NO_SUCH_TASK = "no such task"
LOG_TAIL = 12
# One answer holds this many tasks; a busy host makes some thousand a day.
TASK_PAGE = 500


class ProxmoxClient:
    """One Proxmox cluster; knows nothing of Talos or Kubernetes. One thread's; closed by it."""

    def __init__(  # noqa: PLR0913 - trust, way and patience are the site's, each by its name
        self,
        endpoints: tuple[str, ...],
        token_id: str,
        token_secret: SecretStr,
        *,
        ca_file: Path | None,
        fingerprints: tuple[str, ...],
        reach: Reach,
        agent: str,
        probe: timedelta,
        call: timedelta,
    ) -> None:
        """Make no connection yet. `probe` bounds a read, `call` a write: the whole call each.

        Raises:
            BadInputError: an endpoint is no https URL, or the CA file cannot be read.
        """
        self._token_id = token_id
        self._probe = probe
        self._call_limit = call
        headers = {
            "Authorization": f"PVEAPIToken={token_id}={token_secret.get_secret_value()}",
            "User-Agent": agent,
            "Accept": "application/json",
        }
        self._wire = Wire(endpoints, reach, _trust(ca_file, fingerprints), headers)
        self._api = Api(self._wire, token_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._wire.close()

    # The cluster and its hosts

    def version(self) -> str:
        """Return the release, such as `9.1.4`."""
        return self._one(Version, "version").version

    def cluster(self) -> ClusterStatus:
        """Return quorum and hosts; a host that stands alone has no cluster entry and is quorate."""
        entries = self._many(ClusterEntry, "cluster", "status")
        whole = next((entry for entry in entries if entry.type == "cluster"), None)
        return ClusterStatus(
            name=whole.name if whole else None,
            quorate=whole.quorate if whole else True,
            hosts=tuple(
                HostState(name=entry.name, online=entry.online)
                for entry in entries
                if entry.type == "node"
            ),
        )

    def host(self, name: str) -> HostStatus:
        return self._one(HostStatus, "nodes", name, "status")

    def host_time(self, host: str) -> datetime:
        """Return the host's own clock."""
        return self._one(HostTime, "nodes", host, "time").time

    def permissions(self) -> dict[str, frozenset[str]]:
        """Return the privileges of this token by path."""
        granted = self._one(dict[str, dict[str, int]], "access", "permissions")
        return {path: frozenset(privileges) for path, privileges in granted.items()}

    def storages(self, host: str) -> tuple[StorageState, ...]:
        """Return the enabled storages of a host. None at all may mean no permission."""
        return self._many(StorageState, "nodes", host, "storage", enabled=1)

    def bridges(self, host: str) -> frozenset[str]:
        """Return the names of the host's bridges, those of SDN included."""
        found = self._many(Bridge, "nodes", host, "network", type="any_bridge")
        return frozenset(bridge.iface for bridge in found)

    def pci_mappings(self) -> tuple[PciMapping, ...]:
        return tuple(
            PciMapping(
                name=mapping.id,
                hosts=frozenset(properties(device).get("node", "") for device in mapping.map),
            )
            for mapping in self._many(Mapped, "cluster", "mapping", "pci")
        )

    def pool(self, name: str) -> Pool | None:
        """Return the pool; None: there is none of this name that we may see."""
        pools = self._many(PoolEntry, "pools")
        if name not in (pool.poolid for pool in pools):
            return None
        found = self._many(PoolEntry, "pools", poolid=name)
        members = [member for pool in found for member in pool.members]
        return Pool(name=name, vmids=frozenset(m.vmid for m in members if m.vmid is not None))

    # Storage

    def content(self, host: str, storage: str, kind: str) -> tuple[Volume, ...]:
        """Return the volumes of a kind: iso, import, images, backup, ..."""
        # A sleeping NAS takes long to list; it is no reason to call it unreachable.
        return self._many(
            Volume, "nodes", host, "storage", storage, "content", content=kind, slow=True
        )

    def image_metadata(self, host: str, url: str) -> UrlMetadata:
        """Return what the host sees at a URL. An image factory may build the image meanwhile."""
        return self._one(UrlMetadata, "nodes", host, "query-url-metadata", url=url, slow=True)

    def download(
        self, host: str, storage: str, url: str, filename: str, sha256: str | None
    ) -> Upid:
        """Let the host fetch an ISO. With a checksum a file that is there already is compared."""
        settings: dict[str, str | int | bool] = {"content": "iso", "url": url, "filename": filename}
        if sha256 is not None:
            settings |= {"checksum": sha256, "checksum-algorithm": "sha256"}
        return self._task("POST", "nodes", host, "storage", storage, "download-url", **settings)

    # Virtual machines

    def vms(self) -> tuple[VmRef, ...]:
        """Return every guest we may see, containers and templates too."""
        return self._many(VmRef, "cluster", "resources", type="vm")

    def find_vm(self, vmid: int) -> VmRef | None:
        """Return the guest with this id on whatever host; None: there is none that we may see."""
        return next((vm for vm in self.vms() if vm.vmid == vmid), None)

    def vm_config(self, host: str, vmid: int, kind: Literal["qemu", "lxc"] = "qemu") -> VmConfig:
        """Return the configuration, pending changes merged. A container's is its own `kind`.

        Raises:
            RefusedError: there is no such VM on this host ("does not exist").
        """
        answer = self._one(dict[str, Any], "nodes", host, kind, vmid, "config")
        return VmConfig(raw={key: str(value) for key, value in answer.items()})

    def vm_status(self, host: str, vmid: int) -> VmStatus:
        return self._one(VmStatus, "nodes", host, "qemu", vmid, "status", "current")

    def create_vm(self, host: str, vmid: int, settings: Settings) -> Upid:
        """Create a VM with exactly this id; a taken id is refused before any task begins."""
        return self._task("POST", "nodes", host, "qemu", vmid=vmid, **settings)

    def update_config(self, host: str, vmid: int, settings: Settings, digest: str) -> None:
        """Change the configuration that `digest` names; what cannot be hot-plugged is pending.

        Raises:
            RefusedError: somebody else changed it since ("checksum mismatch").
        """
        self._write("PUT", "nodes", host, "qemu", vmid, "config", digest=digest, **settings)

    def start_vm(self, host: str, vmid: int) -> Upid:
        return self._task("POST", "nodes", host, "qemu", vmid, "status", "start")

    def stop_vm(self, host: str, vmid: int, *, overrule_shutdown: bool = False) -> Upid:
        """Pull the plug; `overrule_shutdown` ends a running shutdown that holds the lock."""
        settings = {"overrule-shutdown": True} if overrule_shutdown else {}
        return self._task("POST", "nodes", host, "qemu", vmid, "status", "stop", **settings)

    def destroy_vm(self, host: str, vmid: int, *, purge: bool = True) -> Upid:
        """Remove a stopped VM and the disks in its configuration; other volumes stay.

        `purge` takes it out of backup jobs, HA and replication as well.
        """
        settings: dict[str, str | int | bool] = {
            "purge": purge,
            "destroy-unreferenced-disks": False,
        }
        return self._task("DELETE", "nodes", host, "qemu", vmid, **settings)

    # Tasks

    def task(self, upid: Upid) -> TaskStatus:
        state = self._one(TaskState, "nodes", _host_of(upid), "tasks", upid, "status")
        return TaskStatus(running=state.status == "running", exit_status=state.exitstatus)

    def task_log(self, upid: Upid, lines: int) -> tuple[str, ...]:
        """Return the last lines of the log, without what looks like a credential."""
        log = self._many(LogLine, "nodes", _host_of(upid), "tasks", upid, "log", limit=0)
        return tuple(redacted(line.t) for line in log[-lines:])

    def tasks(
        self, host: str, vmid: int | None, kind: str | None, since: datetime
    ) -> tuple[TaskRef, ...]:
        """Return tasks that began at or after `since` on a host, running ones too, newest first."""
        narrow: dict[str, Any] = {"source": "all", "limit": TASK_PAGE}
        narrow |= {"since": int(since.timestamp())}
        narrow |= {"vmid": vmid} if vmid is not None else {}
        narrow |= {"typefilter": kind} if kind is not None else {}
        return tuple(
            TaskRef(
                upid=task.upid,
                kind=task.type,
                about=task.id,
                user=f"{task.user}!{task.tokenid}" if task.tokenid else task.user,
                start=task.starttime,
                running=task.endtime is None,
            )
            for task in self._many(TaskEntry, "nodes", host, "tasks", **narrow)
        )

    def check_task(self, upid: Upid) -> TaskStatus:
        """Return how a task ended well; looks once.

        Raises:
            NotReadyError: it runs, or its host does not show it yet.
            RefusedError: it ended badly; carries the end of its log.
            AmbiguousError: its host does not know (any more) how it ended.
        """
        try:
            status = self.task(upid)
        except RefusedError as error:
            if NO_SUCH_TASK not in str(error):
                raise
            self._check_age(upid, error)
        if status.running:
            raise NotReadyError(f"Proxmox task {_subject(upid)} is running")
        if status.ok:
            return status
        if status.exit_status in ("", "unexpected status") or "unable to get" in status.exit_status:
            raise AmbiguousError(
                f"Proxmox task {_subject(upid)} ended without a result ({status.exit_status}): "
                "its host may have been restarted"
            )
        raise RefusedError(
            f"Proxmox task {_subject(upid)} failed: {redacted(status.exit_status)}"
            f"{self._log_tail(upid)}"
        )

    def _check_age(self, upid: Upid, error: RefusedError) -> NoReturn:
        age = self.host_time(_host_of(upid)) - _start_of(upid)
        if age < TASK_APPEARS:
            raise NotReadyError(f"Proxmox task {_subject(upid)} is not visible yet") from error
        raise AmbiguousError(
            f"Proxmox does not know task {_subject(upid)} any more: look at its effect"
        ) from error

    def _log_tail(self, upid: Upid) -> str:
        try:
            lines = self.task_log(upid, LOG_TAIL)
        except (UnreachableError, RefusedError) as error:
            return f" (its log cannot be read: {error})"
        return "".join(f"\n  {line}" for line in lines)

    # The wire

    def _read(self, *path: str | int, slow: bool = False, **narrow: Any) -> Any:
        """Return the data of a GET; null is no answer."""
        data = self._request("GET", path, narrow, self._call_limit if slow else self._probe)
        if data is None:
            raise unanswered("GET", _path(path), "200 without data")
        return data

    def _many(
        self, model: type[T], *path: str | int, slow: bool = False, **narrow: Any
    ) -> tuple[T, ...]:
        return self._one(tuple[model, ...], *path, slow=slow, **narrow)

    def _one(self, model: type[T], *path: str | int, slow: bool = False, **narrow: Any) -> T:
        """Return the data of a GET as a model; of another shape it is no answer."""
        data = self._read(*path, slow=slow, **narrow)
        try:
            return TypeAdapter(model).validate_python(data)
        except ValidationError as error:
            why = f"it is not what it should be: {error.errors()[0]}"
            raise unanswered("GET", _path(path), why) from error

    def _write(self, method: str, *path: str | int, **settings: str | int | bool) -> Any:
        return self._request(method, path, settings, self._call_limit)

    def _task(self, method: str, *path: str | int, **settings: str | int | bool) -> Upid:
        """Make a call that begins a task; success without a task id is no answer."""
        data = self._write(method, *path, **settings)
        if not isinstance(data, str) or UPID.fullmatch(data) is None:
            raise unanswered(method, _path(path), f"200 without a task id ({data!r:.80})")
        return Upid(data)

    def _request(
        self,
        method: str,
        path: tuple[str | int, ...],
        settings: Mapping[str, str | int | bool],
        limit: timedelta,
    ) -> Any:
        where = _path(path)
        values = {key: _proxmox(value) for key, value in settings.items()}
        try:
            with within(limit):
                return self._api.send(method, where, values)
        except NoAnswerError as error:
            raise unanswered(method, where, str(error)) from error
        except RefusalError as error:
            raise translate(error, method, where, self._token_id) from error


def _trust(ca_file: Path | None, fingerprints: tuple[str, ...]) -> Trust:
    try:
        return Trust.of(ca_file=ca_file, fingerprints=fingerprints)
    except (OSError, ValueError) as error:
        raise BadInputError(f"proxmox.ca_file {ca_file}: {error}") from error


def _path(segments: tuple[str | int, ...]) -> str:
    return "/" + "/".join(quote(str(segment), safe=":@!") for segment in segments)


def _proxmox(value: str | int | bool) -> str | int:
    """Write booleans as Proxmox reads them: `True` is refused."""
    return int(value) if isinstance(value, bool) else value


def _fields(upid: Upid) -> dict[str, str]:
    found = UPID.fullmatch(upid)
    if found is None:
        raise BadInputError(f"{upid!r} is no Proxmox task id")
    return found.groupdict()


def _host_of(upid: Upid) -> str:
    return _fields(upid)["host"]


def _start_of(upid: Upid) -> datetime:
    return datetime.fromtimestamp(int(_fields(upid)["start"], 16), UTC)


def _subject(upid: Upid) -> str:
    fields = _fields(upid)
    return f"{fields['kind']} {fields['subject']} on {fields['host']}".replace("  ", " ")
