"""Every kind of bad site file ends in one clear error that names file, line and key, and connects to nothing."""

import os
import sys
import traceback
from pathlib import Path

import pytest

from tests.unit.site_text import BASE, changed
from windlass.cli import main
from windlass.cli.exits import BAD_INPUT, DONE
from windlass.errors import BadInputError
from windlass.models.load import load_site

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, key in zip("abcdefghi", "bcdefghij", strict=True)
)
MANY_NODES = (
    BASE.split("nodes:")[0]
    + "nodes:\n"
    + "".join(
        f"  - {{name: n-{i}, role: worker, host: pve1, address: 192.0.2.{i % 250 + 2}, vmid: {i + 100}, "
        f'mac: "bc:24:11:00:{i // 256 % 256:02x}:{i % 256:02x}", cpu: 1, memory: 1024}}\n'
        for i in range(5000)
    )
)

# What is wrong, the text or bytes of the file, the line it is on, and what the error must say.
CORPUS: list[tuple[str, str | bytes, int | None, str]] = [
    ("malformed", changed("cluster:", "cluster: ["), 4, "not YAML"),
    ("a tab", changed("  name: home", "\tname: home"), 3, "indent with spaces"),
    ("a byte order mark", b"\xef\xbb\xbf" + BASE.encode(), 1, "byte order mark"),
    ("UTF-16", BASE.encode("utf-16"), 1, "byte order mark"),
    ("UTF-16 without a mark", BASE.encode("utf-16-le"), 1, "hidden character"),
    ("binary", b"\x7fELF\x02\x01\x01\x00\xff\xfe\xfd", 1, "not UTF-8"),
    ("empty", "", 1, "empty"),
    ("only a comment", "# site\n", 1, "empty"),
    ("a list", "- a\n- b\n", 1, "keys and values"),
    ("two documents", BASE + "---\n" + BASE, 45, "second document"),
    ("a typo", changed("memory: 4096", "memroy: 4096"), 27, "nodes[0].memroy: unknown key; the nearest is memory"),
    ("a key in the wrong place", changed("  vip:", "  memory: 1\n  vip:"), 8, "it belongs to nodes[].memory"),
    ("a missing key", changed("    cpu: 4\n", ""), 20, "nodes[0].cpu: missing: add it (cores)"),
    ("yes for a boolean", changed("name: home", "name: home\nlab: yes"), 2, "lab: must be true or false"),
    ("1e3", changed("memory: 4096", "memory: 4e3"), 27, "written plainly"),
    ("0x10", changed("cpu: 4", "cpu: 0x10"), 26, "written plainly"),
    ("08", changed("cpu: 4", "cpu: 08"), 26, "written plainly"),
    ("a quoted number", changed("cpu: 4", 'cpu: "4"'), 26, "written plainly"),
    ("a fraction", changed("cpu: 4", "cpu: 4.0"), 26, "written plainly"),
    ("NaN", changed("  storage:", "  headroom: .nan\n  storage:"), 17, "headroom: must be a number"),
    ("null", changed("memory: 4096", "memory:"), 27, "is empty: fill it in (MiB"),
    ("a boolean for a label", changed("    disk: 60", "    labels: {gpu: true}"), 36, "put it in quotes"),
    ("a number for a label", changed("    disk: 60", "    labels: {v: 1.10}"), 36, "put it in quotes"),
    ("a version as a number", changed("v1.36.3", "1.36"), 10, "cluster.kubernetes"),
    ("exploding aliases", BOMB, None, "values once its aliases are written out"),
    ("an alias of itself", "a: &a [*a]\n", 1, "names nothing written before it"),
    ("deep nesting", "[" * 5000, 1, "nested deeper"),
    ("10 MB", b"#" * 10_000_000, None, "larger than 1 MiB"),
    ("a doubled key", BASE + "name: other\n", 45, "name: written twice (first on line 1)"),
    ("a merge key", changed("    disk: 60", "    <<: {disk: 60}"), 36, "merge keys"),
    ("a tag", changed("name: home", "name: !!python/name:os.system home"), 1, "is not read"),
    ("outside the network", changed("192.0.2.21", "192.0.3.21"), 31, "node w-1: 192.0.3.21 is not in the cluster network"),
    ("the network address", changed("192.0.2.21", "192.0.2.0"), 31, "network address of 192.0.2.0/24"),
    ("the broadcast address", changed("192.0.2.21", "192.0.2.255"), 31, "broadcast address of 192.0.2.0/24"),
    ("one address for two", changed("192.0.2.21", "192.0.2.11"), 31, "already taken by node cp-1"),
    ("the vip is a node", changed("192.0.2.21", "192.0.2.10"), 31, "192.0.2.10 is the vip"),
    ("the gateway is a node", changed("192.0.2.21", "192.0.2.1"), 31, "192.0.2.1 is the gateway"),
    ("the vip is the gateway", changed("192.0.2.10", "192.0.2.1"), 8, "cluster.vip: 192.0.2.1 is the gateway"),
    ("overlapping networks", changed("  vip:", "  pod_network: 192.0.0.0/16\n  vip:"), 8, "overlaps network 192.0.2.0/24"),
    ("host bits in a network", changed("192.0.2.0/24", "192.0.2.5/24"), 5, "must be a network with its prefix"),
    ("an IPv6 address", changed("192.0.2.21", '"::ffff:192.0.2.21"'), 31, "must be an IPv4 address"),
    ("one name for two", changed("name: w-1", "name: cp-1"), 28, "cp-1 is already taken"),
    ("one vmid for two", changed("vmid: 201", "vmid: 101"), 32, "101 is already taken by node cp-1"),
    ("one MAC for two", changed("00:00:02", "00:00:01"), 33, "nodes[1].mac"),
    ("one MAC for two, in capitals", changed("bc:24:11:00:00:02", "BC:24:11:00:00:01"), 33, "already taken"),
    ("a name in capitals", changed("name: w-1", "name: CP-1"), 28, "lower-case"),
    ("hosts that differ by case", changed("    host: pve1\n    address: 192.0.2.21", "    host: PVE1\n    address: 192.0.2.21"), 30, "differ only by case"),
    ("an even etcd", changed("role: worker", "role: controlplane"), 19, "odd number of control planes, this is 2"),
    ("no control plane", changed("role: controlplane", "role: worker"), 19, "odd number of control planes, this is 0"),
    ("no nodes", BASE.split("nodes:")[0] + "nodes: []\n", 19, "nodes: "),
    ("too many nodes", MANY_NODES, 19, "at most 1000"),
    ("negative cores", changed("cpu: 4", "cpu: -1"), 26, "greater than or equal to 1"),
    ("a disk of a pebibyte", changed("disk: 60", "disk: 1048576"), 36, "less than or equal to"),
    ("a number beyond all integers", changed("vmid: 201", "vmid: 1" + "0" * 5000), 32, "nodes[1].vmid"),
    ("v99.0.0", changed("v1.13.9", "v99.0.0"), 9, "Talos v99.0.0 is not known"),
    ("latest", changed("v1.13.9", "latest"), 9, "must be a released Talos version"),
    ("no patch release", changed("v1.13.9", "v1.13"), 9, "must be a released Talos version"),
    ("a pre-release", changed("v1.13.9", "v1.14.0-rc.1"), 9, "must be a released Talos version"),
    ("too new for this Talos", changed("v1.36.3", "v1.37.0"), 10, "it runs 1.31 to 1.36"),
    ("too old for this Talos", changed("v1.36.3", "v1.30.1"), 10, "it runs 1.31 to 1.36"),
    ("an absurd patch", changed("v1.36.3", "v1.36.999"), 10, "does not exist"),
    ("climbing out of the folder", changed("file:token", "file:../../etc/shadow"), 15, "must not climb out"),
    ("climbing out of the repository", changed("k8s/argocd", "k8s/../../argocd"), 39, "must not climb out"),
    ("outside the repository", changed("k8s/argocd", "/etc/passwd"), 39, "inside the repository"),
    ("file://", changed("file:token", "file:///etc/shadow"), 15, "must be a path"),
    ("NUL in a path", changed("file:token", '"file:to\\0ken"'), 15, "hidden character U+0000"),
    ("a homoglyph", changed("name: w-1", "name: w\u0435-1"), 28, "must be a name"),
    ("a right-to-left override", changed("name: w-1", "name: w\u202e-1"), 28, "hidden character U+202E"),
    ("a zero-width space", changed("name: w-1", "name: w\u200b-1"), 28, "hidden character U+200B"),
    ("a decomposed letter", changed("name: w-1", "name: e\u0301"), 28, "must be a name"),
    ("an emoji as a host", changed("api.k8s.example.org", "\U0001f600.example.org"), 4, "must be a host name"),
    ("a command in a name", changed("name: w-1", "name: w;reboot"), 28, "must be a name"),
    ("a substitution in a host", changed("host: pve1", 'host: "$(reboot)"'), 22, "must be the name of a Proxmox host"),
    ("backticks in a storage", changed("local-lvm", '"`id`"'), 17, "must be the name of a Proxmox storage"),
    ("an option as a revision", changed("  argocd:", "  revision: --upload-pack=sh\n  argocd:"), 39, "must be a branch"),
    ("a command as a repository", changed("https://git.example.org/owner/repo.git", "ext::sh"), 38, "must be a Git repository"),
    ("a newline in a name", changed("name: w-1", 'name: "w-1\\n"'), 28, "must be a name"),
    ("a template in a name", changed("name: w-1", 'name: "{{ w }}"'), 28, "must be a name"),
    ("no certificate to trust", changed("  ca_file: ca.pem\n", ""), 12, "TLS is never left unverified"),
    ("plain HTTP to Proxmox", changed("https://pve1", "http://pve1"), 13, "must be an https URL"),
    ("plain HTTP to Git", changed("https://git.", "http://git."), 38, "must be an https or ssh URL"),
    ("an app in two layers", changed("[media]", "[network]"), 44, "already taken by layer core"),
    ("two layers of one name", changed("name: apps", "name: core"), 43, "already taken by another layer"),
    ("tofu without a folder", BASE + "provisioner: {kind: tofu}\n", 45, "needs a folder"),
    ("a taint without an effect", changed("    disk: 60", '    taints: {gpu: "true"}'), 36, "VALUE:EFFECT"),
    ("a mapping that is no name", changed("    disk: 60", "    gpus: [../gpu]"), 36, "PCI mapping"),
    ("a multicast MAC", changed("bc:24:11:00:00:02", "01:24:11:00:00:02"), 33, "one machine"),
    ("a duration without a unit", BASE + "approvals: {wait: five}\n", 45, "must be a duration"),
    ("a duration of years", BASE + "approvals: {wait: 9000d}\n", 45, "from 0s to 7d"),
    ("a port beyond all ports", BASE + "reach: {pve1: pve1:99999}\n", 45, "from 1 to 65535"),
    ("one file for two secrets", BASE + "outputs: {kubeconfig: secrets.yaml}\n", 45, "already taken by the secrets bundle"),
]  # fmt: skip
IDS = [case[0] for case in CORPUS]

connected: list[object] = []


@pytest.fixture(scope="session", autouse=True)
def watch_for_connections() -> None:
    """An audit hook cannot be taken back, so there is one for the whole run."""

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event in {"socket.connect", "socket.getaddrinfo", "subprocess.Popen"}:
            connected.append((event, arguments))

    sys.addaudithook(note)


@pytest.mark.parametrize(("text", "line", "says"), [case[1:] for case in CORPUS], ids=IDS)
def test_bad_input_is_one_clear_error_with_its_place(
    tmp_path: Path, text: str | bytes, line: int | None, says: str
):
    path = tmp_path / "site.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(BadInputError) as error:
        load_site(path)

    message = str(error.value)
    assert says in message
    assert str(path) in message
    if line is not None:
        assert any(f"{path}:{line}:" in said and says in said for said in message.splitlines())


@pytest.mark.parametrize("text", [case[1] for case in CORPUS], ids=IDS)
def test_check_ends_with_bad_input_without_a_traceback_or_a_connection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | bytes
):
    path = tmp_path / "site.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    connected.clear()

    code = main(["check", str(path)])

    said = capsys.readouterr()
    assert code == BAD_INPUT
    assert said.err.startswith("windlass: ")
    assert "Traceback" not in said.err
    assert not said.out
    assert not connected


def test_the_file_that_the_corpus_breaks_is_whole(tmp_path: Path):
    path = tmp_path / "site.yaml"
    path.write_text(BASE)

    assert main(["check", str(path)]) == DONE


def test_several_problems_are_all_listed_in_the_order_of_the_file(tmp_path: Path):
    path = tmp_path / "site.yaml"
    path.write_text(BASE.replace("vmid: 201", "vmid: 101").replace("192.0.2.21", "192.0.3.21"))

    with pytest.raises(BadInputError) as error:
        load_site(path)

    lines = str(error.value).splitlines()
    assert lines[0].endswith("has 2 problems:")
    assert ":31: nodes[1].address" in lines[1]
    assert ":32: nodes[1].vmid" in lines[2]


def test_a_secret_written_where_its_reference_belongs_is_not_repeated(tmp_path: Path):
    path = tmp_path / "site.yaml"
    path.write_text(BASE.replace("file:token", "hunter2-hunter2"))

    with pytest.raises(BadInputError, match="must name the secret, never hold it") as error:
        load_site(path)

    assert "hunter2" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("where", ["nowhere.yaml", "folder", "pipe", "nul\0"])
def test_what_is_no_file_is_refused(tmp_path: Path, where: str):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(BadInputError):
        load_site(tmp_path / where)


def test_a_name_is_looked_up_among_the_sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home/sites").mkdir(parents=True)
    (tmp_path / "home/sites/kitchen.yaml").write_text(BASE)

    assert load_site("kitchen").path == tmp_path / "home/sites/kitchen.yaml"
    with pytest.raises(BadInputError, match="no site cellar"):
        load_site("cellar")
