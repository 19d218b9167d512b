"""What programs outside stand on: the lab's files and commands, the journal's JSON, the exit codes, the credentials."""

import base64
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.faulty import FaultyLab, faulty_lab
from tests.labs import ROOT, RunningLab, running_lab
from windlass.cli import exits
from windlass.clients.kustomize import kubectl

NETWORK, SECOND_NETWORK = "127.59.0.0/16", "127.60.0.0/16"
TALOSCTL = Path.home() / ".cache/realclients/talosctl"
# What runs a command and says which of these modules it had loaded by its end.
LOADED = """
import json, sys
from windlass.cli import main
try:
    code = main(sys.argv[2:])
except SystemExit as ended:
    code = ended.code
found = sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[1].split(",")))
print(json.dumps([code, found]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[FaultyLab]:
    """A small site that nothing was made of yet."""
    with faulty_lab(tmp_path_factory.mktemp("contract"), NETWORK) as found:
        yield found


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningLab]:
    """The default site, bootstrapped by somebody who approved it by its hash."""
    with running_lab(tmp_path_factory.mktemp("booted"), network=SECOND_NETWORK) as lab:
        parked = lab.windlass("bootstrap", str(lab.site_file), "--apply", "--local")
        assert parked.returncode == exits.STOPPED, parked.stderr
        (operation,) = lab.json("history")
        assert not lab.effects()
        lab.json("approve", operation["id"], "--hash", operation["plan_hash"])
        resumed = lab.windlass("resume", operation["id"], "--local")
        assert resumed.returncode == exits.DONE, resumed.stdout[-2000:] + resumed.stderr
        yield lab


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The lab.


def test_lab_up_ends_with_ready_and_writes_what_others_need(tmp_path: Path):
    lab = RunningLab(tmp_path / "lab", tmp_path / "home")
    up = lab.windlass(
        "lab", "up", "--dir", str(lab.folder), "--speed", "100", "--network", "127.61.0.0/16", "--detach"
    )  # fmt: skip
    assert up.returncode == exits.DONE, up.stderr
    try:
        told = lab.contract
        processes = _processes_of(lab.folder)
    finally:
        down = lab.windlass("lab", "down", "--dir", str(lab.folder))

    assert up.stdout.splitlines()[-1] == "ready"
    assert {"proxmox", "talos", "kubernetes", "ssh", "dns", "git", "oplog", "machines"} <= set(told)
    assert set(told["proxmox"]) >= {
        "url", "ca_file", "hosts", "storages", "bridge", "vmid_range", "token_id", "token_secret_file", "user",
        "password_file",
    }  # fmt: skip
    assert set(told["talos"]) >= {"talosconfig"}
    assert set(told["kubernetes"]) >= {"kubeconfig"}
    assert set(told["git"]) >= {"path"}
    assert {(m["role"], m["address"].rsplit(".", 1)[0]) for m in told["machines"]} == {
        ("controlplane", "127.61.0"),
        ("worker", "127.61.0"),
    }
    assert all({"name", "role", "address"} <= set(machine) for machine in told["machines"])
    for credential in (told["proxmox"]["token_secret_file"], told["proxmox"]["password_file"]):
        assert mode_of(Path(credential)) == 0o600
    assert Path(told["oplog"]).exists()
    assert Path(told["git"]["path"]).is_dir()
    assert processes
    assert down.returncode == exits.DONE
    assert _processes_of(lab.folder) == []


def _processes_of(folder: Path) -> list[str]:
    """Every process that was started with this folder, or runs in it."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (
                (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            where = (process / "cwd").readlink()
        except OSError:
            continue
        if str(folder) in command or where.is_relative_to(folder):
            found.append(command)
    return found


def test_labs_run_side_by_side_and_know_nothing_of_each_other(lab: FaultyLab, booted: RunningLab):
    own = {machine["address"] for machine in lab.contract["machines"]}
    others = {machine["address"] for machine in booted.contract["machines"]}

    assert not own & others
    assert not lab.effects()
    assert booted.effects()
    assert lab.contract["proxmox"]["url"] != booted.contract["proxmox"]["url"]


def test_faults_are_listed_set_and_cleared(lab: FaultyLab):
    where = ("--dir", str(lab.folder))
    before = lab.json("lab", "fault", "list", *where)
    set_one = lab.json("lab", "fault", "set", *where, "--times", "3", "factory-slow", "delay_s=9")
    cleared = lab.json("lab", "fault", "clear", *where, "factory-slow")

    assert before["active"] == []
    assert "factory-slow" in before["known"]
    (active,) = set_one["active"]
    assert (active["name"], active["args"], active["left"]) == ("factory-slow", {"delay_s": "9"}, 3)
    assert cleared["active"] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("set", "factory-slwo"), "no fault is called 'factory-slwo'"),
        (("set", "factory-slow", "9"), "should be key=value"),
        (("set", "--times", "0", "factory-slow"), "not a whole number above 0"),
        (("set",), "required: name"),
        (("clear", "factory-slwo"), "no fault is called 'factory-slwo'"),
        (("mend",), "invalid choice"),
    ],
)
def test_a_fault_that_makes_no_sense_is_bad_input_and_sets_nothing(
    lab: FaultyLab, arguments: tuple[str, ...], says: str
):
    what, *rest = arguments

    done = lab.windlass("lab", "fault", what, "--dir", str(lab.folder), *rest)

    assert done.returncode == exits.BAD_INPUT
    assert says in done.stderr
    assert lab.active_faults() == []


# Exit codes, and that nothing happens without a yes.


def test_a_plan_is_printed_and_touches_nothing(lab: FaultyLab):
    plan = lab.json("bootstrap", str(lab.site_file))

    assert plan["plan_hash"].startswith("sha256:")
    assert {"key", "waits_for"} <= set(plan["steps"][0])
    assert not lab.oplog()


def test_apply_without_a_prefect_server_is_refused_and_stores_nothing(lab: FaultyLab):
    before = lab.json("history")

    done = lab.windlass("bootstrap", str(lab.site_file), "--apply", "--yes")

    assert done.returncode == exits.REFUSED
    assert "windlass serve" in done.stderr
    assert "--local" in done.stderr
    assert lab.json("history") == before
    assert not lab.oplog()


def test_apply_without_a_yes_and_without_a_terminal_parks_and_says_how_it_goes_on(lab: FaultyLab):
    done = lab.windlass("bootstrap", str(lab.site_file), "--apply", "--local")

    (operation, *_) = lab.json("history")
    assert done.returncode == exits.STOPPED
    assert (operation["state"], operation["reason"]) == ("awaiting-approval", "PARKED")
    assert f"windlass approve {operation['id']} --hash {operation['plan_hash']}" in done.stderr
    assert not lab.oplog()


def test_an_approval_of_another_plan_is_refused_and_starts_nothing(lab: FaultyLab):
    lab.windlass("bootstrap", str(lab.site_file), "--apply", "--local")
    (operation, *_) = lab.json("history")

    signed = lab.windlass("approve", operation["id"], "--hash", "sha256:" + "0" * 64)
    resumed = lab.windlass("resume", operation["id"], "--local")

    assert signed.returncode == exits.REFUSED
    assert resumed.returncode == exits.STOPPED
    assert not lab.oplog()


def test_a_frozen_site_is_refused_until_it_is_thawed(lab: FaultyLab):
    lab.json("freeze", "faulty", "--reason", "the flood")
    frozen = lab.bootstrap()
    lab.json("thaw", "faulty", "--reason", "it is dry")
    thawed = lab.windlass("bootstrap", str(lab.site_file), "--apply", "--local")

    assert frozen.returncode == exits.REFUSED
    assert "the flood" in frozen.stderr
    assert thawed.returncode == exits.STOPPED
    assert not lab.oplog()


def test_failpoints_are_refused_on_a_site_that_is_no_lab(lab: FaultyLab):
    site = lab.document
    site["lab"] = False
    path = lab.folder / "no-lab.yaml"
    path.write_text(yaml.safe_dump(site, sort_keys=False))
    failpoint = {"WINDLASS_FAILPOINT": "proxmox.create-vm/plane:pre_intent=kill9"}

    done = lab.windlass("bootstrap", str(path), "--apply", "--local", "--yes", env=failpoint)

    assert done.returncode == exits.REFUSED
    assert "this site is no lab: unset it" in done.stderr
    assert not lab.oplog()


def test_an_operation_that_is_not_there_is_bad_input(lab: FaultyLab):
    for command in (["show", "nothing"], ["resume", "nothing", "--local"], ["export", "nothing"]):
        assert lab.windlass(*command).returncode == exits.BAD_INPUT


# What is not loaded cannot be missing on the night when everything else is.


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), exits.DONE),
        (("bootstrap", "--help"), exits.DONE),
        (("check", "SITE"), exits.DONE),
        (("history",), exits.DONE),
        (("bootstrap", "SITE"), exits.DONE),
        (("bootstrap", "SITE", "--apply", "--local"), exits.STOPPED),
    ],
)
def test_prefect_is_not_loaded_where_no_server_is_asked(
    lab: FaultyLab, arguments: tuple[str, ...], code: int
):
    given = [str(lab.site_file) if one == "SITE" else one for one in arguments]

    done = subprocess.run(
        [sys.executable, "-c", LOADED, "prefect,fastapi", *given],
        cwd=ROOT, env=lab.env(), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=True,
    )  # fmt: skip

    assert json.loads(done.stderr.splitlines()[-1]) == [code, []]


# After a bootstrap.


def test_all_state_is_private(booted: RunningLab):
    written = [
        *booted.home.rglob("*"),
        booted.folder / "secrets.yaml", booted.folder / "talosconfig", booted.folder / "kubeconfig",
    ]  # fmt: skip

    assert mode_of(booted.home) == 0o700
    assert (booted.home / "journal.db").exists()
    assert [path for path in written if mode_of(path) & 0o077] == []


def test_the_oplog_says_who_did_what_in_order(booted: RunningLab):
    (operation,) = booted.json("history")
    entries = booted.oplog()

    assert {frozenset(entry) for entry in entries} == {
        frozenset(("seq", "time", "run", "epoch", "verb", "target", "before", "after"))
    }
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    assert {(entry["run"], entry["epoch"]) for entry in booted.effects()} == {(operation["id"], 1)}


def test_history_and_show_have_the_fields_that_others_read(booted: RunningLab):
    (operation,) = booted.json("history")
    shown = booted.json("show", operation["id"])

    assert set(operation) == {"id", "site", "verb", "state", "reason", "plan_hash"}
    assert (operation["site"], operation["verb"], operation["state"]) == (
        "lab",
        "bootstrap",
        "done",
    )
    assert operation.items() <= shown.items()
    keys = {step["key"] for step in shown["steps"]}
    assert {step["state"] for step in shown["steps"]} == {"done"}
    assert all(set(step["waits_for"]) <= keys for step in shown["steps"])


def test_a_second_bootstrap_plans_nothing_and_does_nothing(booted: RunningLab):
    before = booted.json("history"), len(booted.effects())

    plan = booted.json("bootstrap", str(booted.site_file))
    again = booted.bootstrap()

    assert plan["steps"] == []
    assert again.returncode == exits.DONE
    assert (booted.json("history"), len(booted.effects())) == before


def test_a_done_operation_is_resumed_without_effect(booted: RunningLab):
    (operation,) = booted.json("history")
    before = len(booted.effects())

    assert booted.windlass("resume", operation["id"], "--local").returncode == exits.DONE
    assert len(booted.effects()) == before


def test_the_journal_of_a_bootstrap_is_whole(booted: RunningLab):
    assert booted.windlass("verify").returncode == exits.DONE


def test_the_written_kubeconfig_is_kubectls(booted: RunningLab):
    path = Path(booted.contract["kubernetes"]["kubeconfig"])
    cluster = yaml.safe_load(path.read_text())["clusters"][0]["cluster"]

    done = _kubectl(path, "get", "nodes", "-o", "name")

    assert cluster["tls-server-name"] == "api.kube.pc-tips.se"
    assert len(done.stdout.split()) == 6, done.stderr


def test_every_control_planes_certificate_carries_its_loopback_address(
    booted: RunningLab, tmp_path: Path
):
    """Unmodified clients go straight to a machine's address, and verify it by that."""
    document = yaml.safe_load(Path(booted.contract["kubernetes"]["kubeconfig"]).read_text())
    del document["clusters"][0]["cluster"]["tls-server-name"]
    straight = tmp_path / "kubeconfig"
    planes = [m["address"] for m in booted.contract["machines"] if m["role"] == "controlplane"]

    for address in planes:
        document["clusters"][0]["cluster"]["server"] = f"https://{address}:6443"
        straight.write_text(yaml.safe_dump(document))
        done = _kubectl(straight, "get", "nodes", "-o", "name")
        assert len(done.stdout.split()) == 6, done.stderr


def test_every_machines_talos_certificate_carries_its_loopback_address(booted: RunningLab):
    config = yaml.safe_load(Path(booted.contract["talos"]["talosconfig"]).read_text())
    context = config["contexts"][config["context"]]
    tls = ssl.create_default_context(cadata=_decoded(context["ca"]))

    for machine in booted.contract["machines"]:
        address = machine["address"]
        # The handshake of TLS 1.3 is over for the client before the server asks who it is.
        with (
            socket.create_connection((address, 50000), timeout=10) as plain,
            tls.wrap_socket(plain, server_hostname=address) as wrapped,
        ):
            assert ("IP Address", address) in _names(wrapped.getpeercert())


def test_the_written_talosconfig_is_talosctls(booted: RunningLab, tmp_path: Path):
    if not TALOSCTL.exists():
        message = "talosctl is not here: build it with ../shared/realclients/build talosctl"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    told = booted.contract
    planes = [m["address"] for m in told["machines"] if m["role"] == "controlplane"]
    workers = [m["address"] for m in told["machines"] if m["role"] == "worker"]

    version = _talosctl(booted, tmp_path, "version", "--nodes", ",".join(planes + workers))
    health = _talosctl(
        booted, tmp_path, "health", "--server=false", "--wait-timeout", "50s", "--nodes", planes[0],
        "--control-plane-nodes", ",".join(planes), "--worker-nodes", ",".join(workers),
        "--k8s-endpoint", told["kubernetes"]["endpoint"],
    )  # fmt: skip

    assert version.stdout.count("Tag:         v1.13.9") >= 6, version.stderr
    assert health.returncode == 0, health.stderr


def _kubectl(kubeconfig: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(kubectl()), "--kubeconfig", str(kubeconfig), *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def _talosctl(lab: RunningLab, home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(TALOSCTL), "--talosconfig", lab.contract["talos"]["talosconfig"], *arguments],
        capture_output=True, text=True, timeout=90, check=False,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )  # fmt: skip


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


def _names(certificate: dict[str, Any] | None) -> list[tuple[str, str]]:
    assert certificate is not None
    return list(certificate["subjectAltName"])
