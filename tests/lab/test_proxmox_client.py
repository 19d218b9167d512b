"""The Proxmox client against servers that say exactly one thing: what it means, and what was sent to whom."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.lab.wire_peer import (
    Drip,
    Peer,
    Request,
    Reset,
    Says,
    answer,
    fingerprint,
    no,
    ok,
    self_signed,
)
from windlass.clients.proxmox import ProxmoxClient
from windlass.errors import (
    AmbiguousError,
    NotReadyError,
    RefusedError,
    UnreachableError,
    WindlassError,
)
from windlass.lab.pki import Authority
from windlass.models.proxmox import Upid

ADDRESS = "127.18.0.1"
NAME = "pve1.test"
TOKEN = "windlass@pve!windlass"
SECRET = "0b6e4c1a-canary-93c2"
AGENT = "windlass/0.1 (operation op1; epoch 7)"
UPID = f"UPID:pve1:0000C0DE:00BADCAF:65F00000:qmcreate:101:{TOKEN}:"
START = datetime.fromtimestamp(0x65F00000, UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.open(tmp_path / "pki")


class Proxmox:
    """One scripted host and a client that trusts it."""

    def __init__(self, authority: Authority) -> None:
        self.says: Callable[[Request], Says] = lambda _: ok(None)
        crt, key = authority.issue("pve1", [NAME])
        self.peer = Peer(ADDRESS, crt, key, self._answer)
        self.ca_file = authority.ca_file

    def _answer(self, request: Request) -> Says:
        return self.says(request)

    def client(self, **changed: Any) -> ProxmoxClient:
        return client(self.peer.port, **{"ca_file": self.ca_file} | changed)


def client(port: int, **changed: Any) -> ProxmoxClient:
    def reach(_host: str, _port: int) -> tuple[str, int]:
        return ADDRESS, port

    settings: dict[str, Any] = {
        "ca_file": None,
        "fingerprints": (),
        "reach": reach,
        "agent": AGENT,
        "probe": timedelta(seconds=2),
        "call": timedelta(seconds=2),
    }
    settings |= changed
    endpoints = settings.pop("endpoints", (f"https://{NAME}:8006",))
    return ProxmoxClient(endpoints, TOKEN, SecretStr(SECRET), **settings)


@pytest.fixture
def proxmox(authority: Authority) -> Iterator[Proxmox]:
    one = Proxmox(authority)
    with one.peer:
        yield one


def test_a_call_carries_token_agent_and_the_real_host_name(proxmox: Proxmox):
    proxmox.says = lambda _: ok({"version": "9.1.4", "release": "9.1"})

    with proxmox.client() as pve:
        version = pve.version()

    sent = proxmox.peer.requests[0]
    assert version == "9.1.4"
    assert (sent.method, sent.path) == ("GET", "/api2/json/version")
    assert sent.headers["authorization"] == f"PVEAPIToken={TOKEN}={SECRET}"
    assert sent.headers["user-agent"] == AGENT
    assert sent.headers["host"] == f"{NAME}:8006"


def test_settings_leave_as_proxmox_reads_them(proxmox: Proxmox):
    proxmox.says = lambda _: ok(UPID)

    with proxmox.client() as pve:
        upid = pve.create_vm(
            "pve1", 101, {"onboot": True, "tags": "a;b", "net0": "virtio=AA,bridge=b"}
        )

    sent = proxmox.peer.requests[0]
    assert upid == UPID
    assert (sent.method, sent.path) == ("POST", "/api2/json/nodes/pve1/qemu")
    assert sent.body == "vmid=101&onboot=1&tags=a%3Bb&net0=virtio%3DAA%2Cbridge%3Db"


def test_a_delete_has_no_body(proxmox: Proxmox):
    proxmox.says = lambda _: ok(UPID)

    with proxmox.client() as pve:
        pve.destroy_vm("pve1", 101)

    sent = proxmox.peer.requests[0]
    assert sent.path == "/api2/json/nodes/pve1/qemu/101?purge=1&destroy-unreferenced-disks=0"
    assert "content-length" not in sent.headers


READ = ProxmoxClient.version


def WRITE(pve: ProxmoxClient) -> object:  # noqa: N802 - a value of the table below
    return pve.start_vm("pve1", 101)


LOCKED = "VM is locked (backup)"
FLOCK = "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout"
STORAGE = "cfs-lock 'storage-nfs' error: got lock request timeout"


@pytest.mark.parametrize(
    ("call", "says", "error", "text"),
    [
        (WRITE, no(500, LOCKED), NotReadyError, "VM is locked"),
        (WRITE, no(500, FLOCK), NotReadyError, "got timeout"),
        (WRITE, no(500, STORAGE), NotReadyError, "lock request timeout"),
        (WRITE, no(500, "VM 101 already running"), RefusedError, "already running"),
        (WRITE, no(500, "cluster not ready - no quorum?"), RefusedError, "no quorum"),
        (WRITE, no(500, "got no worker upid - start worker failed"), AmbiguousError, "no worker"),
        (READ, no(500, "first line", "first line\nsecond line\n"), RefusedError, "second line"),
        (
            WRITE,
            no(400, "Parameter verification failed.", vmid="too low\n"),
            RefusedError,
            "vmid: too low",
        ),
        (READ, no(501, "Method 'GET /x' not implemented"), RefusedError, "not implemented"),
        (READ, answer(595, "No route to host"), UnreachableError, "No route to host"),
        (WRITE, answer(595, "No route to host"), UnreachableError, "No route to host"),
        (READ, answer(596, "Connection timed out"), UnreachableError, "596"),
        (WRITE, answer(596, "Connection timed out"), AmbiguousError, "may have been done"),
        (WRITE, answer(599, "Too many redirections"), AmbiguousError, "599"),
        (READ, Reset(), UnreachableError, "no answer"),
        (WRITE, Reset(), AmbiguousError, "may have been done"),
        (READ, answer(200, "OK", b"<html>", "text/html"), UnreachableError, "text/html"),
        (WRITE, answer(200, "OK", b"<html>", "text/html"), AmbiguousError, "text/html"),
        (WRITE, answer(302, "Found"), AmbiguousError, "redirected"),
        (READ, ok(None), UnreachableError, "without data"),
        (WRITE, ok(None), AmbiguousError, "without a task id"),
        (WRITE, ok("OK"), AmbiguousError, "without a task id"),
        (READ, answer(200, "OK", b'{"data": {"ver'), UnreachableError, "broken JSON"),
    ],
)
def test_what_an_answer_means(
    proxmox: Proxmox,
    call: Callable[[ProxmoxClient], object],
    says: Says,
    error: type[WindlassError],
    text: str,
):
    proxmox.says = lambda _: says

    with proxmox.client() as pve, pytest.raises(error, match=text) as raised:
        call(pve)

    assert type(raised.value) is error
    assert len(proxmox.peer.requests) == 1


def test_a_server_of_one_byte_at_a_time_meets_the_total_deadline(proxmox: Proxmox):
    proxmox.says = lambda _: Drip(ok({"version": "9" * 2000}), pause_s=0.02)

    with proxmox.client(probe=timedelta(seconds=0.5)) as pve, pytest.raises(UnreachableError):
        pve.version()


def test_a_write_to_a_silent_server_is_ambiguous(proxmox: Proxmox):
    proxmox.says = lambda _: Drip(b"", 0)

    slow = timedelta(seconds=0.4)
    with proxmox.client(call=slow) as pve, pytest.raises(AmbiguousError, match="start"):
        pve.start_vm("pve1", 101)

    assert len(proxmox.peer.requests) == 1


def test_a_refused_permission_names_path_privilege_and_cure(proxmox: Proxmox):
    proxmox.says = lambda _: no(403, "Permission check failed (/vms/101, VM.PowerMgmt)")

    with proxmox.client() as pve, pytest.raises(RefusedError) as raised:
        pve.start_vm("pve1", 101)

    assert "lacks VM.PowerMgmt on /vms/101" in str(raised.value)
    assert "pveum acl modify /vms/101" in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_revoked_token_is_named_without_its_secret(proxmox: Proxmox):
    proxmox.says = lambda _: answer(401, "Authentication failed!", kind="text/plain")

    with (
        proxmox.client() as pve,
        pytest.raises(RefusedError, match="pveum user token list") as raised,
    ):
        pve.version()

    assert TOKEN in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("subjects", "begins", "ends"),
    [
        (["other.test"], -1, 24),
        ([NAME], -48, -24),
        ([NAME], 24, 48),
        ([NAME], -1, 24),
    ],
    ids=["another name", "expired", "not yet valid", "vouches for itself"],
)
def test_a_wrong_certificate_gets_not_one_byte(
    tmp_path: Path, authority: Authority, subjects: list[str], begins: int, ends: int
):
    made = self_signed(
        tmp_path, subjects, begins=timedelta(hours=begins), ends=timedelta(hours=ends)
    )
    with (
        Peer(ADDRESS, *made, lambda _: ok({"version": "9"})) as peer,
        client(peer.port, ca_file=authority.ca_file) as pve,
    ):
        with pytest.raises(RefusedError, match="not trusted, nothing was sent"):
            pve.version()

        assert peer.received == 0


def test_a_pinned_leaf_needs_no_authority(tmp_path: Path):
    crt, key = self_signed(tmp_path, ["whatever.test"])
    with (
        Peer(ADDRESS, crt, key, lambda _: ok({"version": "9"})) as peer,
        client(peer.port, fingerprints=("00" * 32, fingerprint(crt))) as pve,
    ):
        assert pve.version() == "9"


@pytest.mark.parametrize(
    ("pinned", "ends"), [(False, 24), (True, -1)], ids=["another leaf", "expired"]
)
def test_a_leaf_that_is_not_pinned_or_out_of_time_gets_not_one_byte(
    tmp_path: Path, pinned: bool, ends: int
):
    crt, key = self_signed(tmp_path, [NAME], begins=timedelta(days=-2), ends=timedelta(hours=ends))
    pins = (fingerprint(crt),) if pinned else ("AB:" * 31 + "AB",)
    with (
        Peer(ADDRESS, crt, key, lambda _: ok({"version": "9"})) as peer,
        client(peer.port, fingerprints=pins) as pve,
    ):
        with pytest.raises(RefusedError, match="nothing was sent"):
            pve.version()

        assert peer.received == 0


def test_the_next_endpoint_answers_for_a_host_that_is_down(proxmox: Proxmox):
    proxmox.says = lambda _: ok({"version": "9.1"})
    ways = {"pve0.test": (ADDRESS, 1), NAME: (ADDRESS, proxmox.peer.port)}

    def reach(host: str, _port: int) -> tuple[str, int]:
        return ways[host]

    with proxmox.client(
        endpoints=("https://pve0.test:8006", f"https://{NAME}:8006"),
        reach=reach,
    ) as pve:
        assert pve.version() == "9.1"
        assert pve.version() == "9.1"


def test_all_endpoints_down_is_unreachable_and_names_them():
    with client(1, fingerprints=("00" * 32,)) as pve, pytest.raises(UnreachableError, match=NAME):
        pve.start_vm("pve1", 101)


def test_reads_share_a_connection_and_a_write_opens_its_own(proxmox: Proxmox):
    proxmox.says = lambda request: ok(UPID if request.method == "POST" else {"version": "9"})

    with proxmox.client() as pve:
        pve.version()
        pve.version()
        pve.start_vm("pve1", 101)

    assert proxmox.peer.connections == 2


def routes(**answers: Says) -> Callable[[Request], Says]:
    """Answers by the last word of the path."""
    return lambda request: answers[request.path.partition("?")[0].rpartition("/")[2]]


def test_a_running_task_is_not_ready(proxmox: Proxmox):
    proxmox.says = routes(status=ok({"status": "running"}))

    with proxmox.client() as pve, pytest.raises(NotReadyError, match="qmcreate 101 on pve1"):
        pve.check_task(Upid(UPID))


@pytest.mark.parametrize("ended", ["OK", "WARNINGS: 2"])
def test_a_task_with_warnings_ended_well(proxmox: Proxmox, ended: str):
    proxmox.says = routes(status=ok({"status": "stopped", "exitstatus": ended}))

    with proxmox.client() as pve:
        assert pve.check_task(Upid(UPID)).ok


def test_a_failed_task_brings_the_end_of_its_log_without_secrets(proxmox: Proxmox):
    lines = ["begin", *["noise"] * 20, "cipassword: hunter2-canary", "TASK ERROR: out of space"]
    proxmox.says = routes(
        status=ok({"status": "stopped", "exitstatus": "out of space"}),
        log=ok([{"n": n, "t": text} for n, text in enumerate(lines, 1)]),
    )

    with proxmox.client() as pve, pytest.raises(RefusedError, match="out of space") as raised:
        pve.check_task(Upid(UPID))

    assert "begin" not in str(raised.value)
    assert "cipassword" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_task_that_ended_without_a_result_is_ambiguous(proxmox: Proxmox):
    proxmox.says = routes(status=ok({"status": "stopped", "exitstatus": "unexpected status"}))

    with proxmox.client() as pve, pytest.raises(AmbiguousError, match="without a result"):
        pve.check_task(Upid(UPID))


@pytest.mark.parametrize(("age_s", "error"), [(2, NotReadyError), (60, AmbiguousError)])
def test_an_unknown_task_is_waited_for_only_while_it_is_young(
    proxmox: Proxmox, age_s: int, error: type[WindlassError]
):
    now = START + timedelta(seconds=age_s)
    proxmox.says = routes(
        status=no(400, "Parameter verification failed.", upid="no such task\n"),
        time=ok({"time": int(now.timestamp()), "localtime": 0, "timezone": "UTC"}),
    )

    with proxmox.client() as pve, pytest.raises(error):
        pve.check_task(Upid(UPID))


def test_tasks_are_asked_for_running_and_ended_ones(proxmox: Proxmox):
    entry = {"upid": UPID, "type": "qmcreate", "user": "windlass@pve", "tokenid": "windlass"}
    proxmox.says = lambda _: ok([entry | {"starttime": 0x65F00000, "node": "pve1", "id": "101"}])

    with proxmox.client() as pve:
        (task,) = pve.tasks("pve1", 101, "qmcreate", START)

    assert "source=all" in proxmox.peer.requests[0].path
    assert f"since={int(START.timestamp())}" in proxmox.peer.requests[0].path
    assert (task.user, task.start, task.running) == (TOKEN, START, True)


def test_a_host_that_stands_alone_is_quorate(proxmox: Proxmox):
    node = {"type": "node", "id": "node/host3", "name": "host3", "nodeid": 0, "online": 1}
    proxmox.says = lambda _: ok([node])

    with proxmox.client() as pve:
        cluster = pve.cluster()

    assert (cluster.name, cluster.quorate) == (None, True)
    assert [host.name for host in cluster.hosts] == ["host3"]


def test_storages_and_guests_are_read_as_proxmox_types_them(proxmox: Proxmox):
    storage = {"storage": "local", "type": "dir", "content": "iso,vztmpl", "total": 9, "avail": 4}
    guest = {"id": "qemu/101", "type": "qemu", "vmid": 101, "node": "pve1", "status": "unknown"}
    proxmox.says = routes(
        storage=ok([storage | {"active": 1, "shared": 0, "enabled": 1}]),
        resources=ok([guest | {"tags": "a;b", "template": 1}]),
    )

    with proxmox.client() as pve:
        (local,) = pve.storages("pve1")
        found = pve.find_vm(101)
        absent = pve.find_vm(102)

    assert (local.content, local.available, local.active) == (frozenset({"iso", "vztmpl"}), 4, True)
    assert found is not None
    assert (found.host, found.tags, found.template) == ("pve1", frozenset({"a", "b"}), True)
    assert absent is None


def test_an_answer_of_another_shape_is_no_answer(proxmox: Proxmox):
    proxmox.says = lambda _: ok([{"storage": "local"}])

    with proxmox.client() as pve, pytest.raises(UnreachableError, match="not what it should be"):
        pve.storages("pve1")


READS: dict[str, Callable[[ProxmoxClient], object]] = {
    "version": ProxmoxClient.version,
    "cluster": ProxmoxClient.cluster,
    "host": lambda pve: pve.host("pve1"),
    "host_time": lambda pve: pve.host_time("pve1"),
    "permissions": ProxmoxClient.permissions,
    "storages": lambda pve: pve.storages("pve1"),
    "bridges": lambda pve: pve.bridges("pve1"),
    "pci_mappings": ProxmoxClient.pci_mappings,
    "pool": lambda pve: pve.pool("p"),
    "content": lambda pve: pve.content("pve1", "local", "iso"),
    "image_metadata": lambda pve: pve.image_metadata("pve1", "https://f.test/x"),
    "vms": ProxmoxClient.vms,
    "vm_config": lambda pve: pve.vm_config("pve1", 101),
    "vm_status": lambda pve: pve.vm_status("pve1", 101),
    "task": lambda pve: pve.task(Upid(UPID)),
    "task_log": lambda pve: pve.task_log(Upid(UPID), 5),
    "tasks": lambda pve: pve.tasks("pve1", None, None, START),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_of_any_shape_is_an_answer_or_unreachable(proxmox: Proxmox, name: str):
    shapes: list[Any] = [
        "text",
        5,
        True,
        [],
        {},
        [1],
        [None],
        [[]],
        [{}],
        {"": ""},
        {"status": [1]},
    ]
    with proxmox.client() as pve:
        for shape in shapes:
            says = ok(shape)
            proxmox.says = lambda _, says=says: says
            with contextlib.suppress(UnreachableError):
                READS[name](pve)

    assert len(proxmox.peer.requests) >= len(shapes)
