"""Bad input against a lab that runs: one clear error each, the right exit code, and nothing is touched.

What a site file may not say is tried in full, without a lab, by tests/unit/test_site_bad_input.py. Here each kind of
it goes all the way: an approved bootstrap that would act, were the input good.
"""

import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from proxmoxer import ProxmoxAPI  # pyright: ignore[reportMissingTypeStubs]

from tests.lab.faulty import FaultyLab, faulty_lab
from windlass.cli import exits
from windlass.lab.pki import Authority

NETWORK = "127.61.0.0/16"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[FaultyLab]:
    with faulty_lab(tmp_path_factory.mktemp("bad"), NETWORK) as found:
        yield found


def bootstrap_of(lab: FaultyLab, text: str | bytes) -> tuple[int, str]:
    """Exit code and error of an approved bootstrap of a site file with this text, beside the lab's own."""
    path = lab.folder / "bad.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = lab.windlass("bootstrap", str(path), "--apply", "--local", "--yes")
    return done.returncode, done.stderr


def refused(lab: FaultyLab, text: str | bytes, code: int, says: str) -> None:
    """An approved bootstrap of this site file ends with `code`, says why once, and nothing is touched by it."""
    oplog, requests = len(lab.oplog()), len(lab.requests())
    history = lab.json("history")

    ended, error = bootstrap_of(lab, text)

    assert ended == code, error
    assert says in error
    assert error.startswith("windlass: ")
    assert error.count("windlass: ") == 1
    assert "Traceback" not in error
    assert len(lab.oplog()) == oplog
    assert len(lab.requests()) == requests
    assert lab.json("history") == history


def _node(number: int, **changes: Any) -> Callable[[Document], None]:
    return lambda site: site["nodes"][number].update(changes)


def _cluster(**changes: Any) -> Callable[[Document], None]:
    return lambda site: site["cluster"].update(changes)


def _image(**changes: Any) -> Callable[[Document], None]:
    return lambda site: site["cluster"].setdefault("image", {}).update(changes)


def _proxmox(**changes: Any) -> Callable[[Document], None]:
    return lambda site: site["proxmox"].update(changes)


# What is wrong, how the site file comes to say it, and what the error must say.
SITES: list[tuple[str, Callable[[Document], None], str]] = [
    ("an unknown key", _node(0, memroy=4096), "nodes[0].memroy: unknown key; the nearest is memory"),
    ("outside its subnet", _node(1, address="10.57.0.21"), "10.57.0.21 is not in the cluster network"),
    ("a doubled vmid", _node(1, vmid=5611), "nodes[1].vmid: 5611 is already taken by node plane"),
    ("a doubled MAC", _node(1, mac="bc:24:11:56:00:11"), "nodes[1].mac: bc:24:11:56:00:11 is already taken"),
    ("a doubled address", _node(1, address="10.56.0.11"), "10.56.0.11 is already taken by node plane"),
    ("two control planes", _node(1, role="controlplane"), "an odd number of control planes, this is 2"),
    ("an absurd Talos", _cluster(talos="v99.0.0"), "Talos v99.0.0 is not known"),
    ("a pair nobody supports", _cluster(kubernetes="v1.20.0"), "does not run Kubernetes v1.20.0"),
    ("a secret that is not there", _proxmox(token_secret="file:credentials/none"), "is missing: put the value there"),
    ("a variable that is not set", _proxmox(token_secret="env:WINDLASS_NOT_SET"), "the variable is not set"),
    ("a CA file that is not there", _proxmox(ca_file="pki/none.pem"), "pki/none.pem"),
    ("a factory's CA file that is not there", _image(ca_file="pki/none.pem"), "cluster.image.ca_file"),
    ("a factory without TLS", _image(factory="http://factory.example.org"), "must be an https URL"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "says"), [one[1:] for one in SITES], ids=[one[0] for one in SITES])  # fmt: skip
def test_a_site_that_makes_no_sense_is_bad_input(
    lab: FaultyLab, change: Callable[[Document], None], says: str
):
    site = lab.document
    change(site)

    refused(lab, yaml.safe_dump(site, sort_keys=False), exits.BAD_INPUT, says)


def test_a_site_file_of_ten_megabytes_is_bad_input(lab: FaultyLab):
    refused(lab, b"#" * 10_000_000, exits.BAD_INPUT, "larger than 1 MiB")


def test_anchors_that_explode_are_bad_input(lab: FaultyLab):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{key}: &{key} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, key in zip("abcdefghi", "bcdefghij", strict=True)
    )

    refused(lab, bomb, exits.BAD_INPUT, "once its aliases are written out")


def test_a_secret_that_the_world_can_read_is_bad_input(lab: FaultyLab):
    token = lab.folder / "credentials" / "open-token"
    token.write_text((lab.folder / "credentials" / "proxmox-token").read_text())
    token.chmod(0o644)
    site = lab.document
    site["proxmox"]["token_secret"] = "file:credentials/open-token"

    refused(lab, yaml.safe_dump(site, sort_keys=False), exits.BAD_INPUT, f"run chmod 600 {token}")


def test_a_secrets_bundle_that_the_world_can_read_is_bad_input(lab: FaultyLab):
    bundle = lab.folder / "open-secrets.yaml"
    bundle.write_text("{}")
    bundle.chmod(0o644)
    site = lab.document
    site["cluster"]["secrets"] = "file:open-secrets.yaml"

    refused(lab, yaml.safe_dump(site, sort_keys=False), exits.BAD_INPUT, f"run chmod 600 {bundle}")


def test_an_operation_whose_secret_has_gone_is_not_begun(lab: FaultyLab):
    lab.windlass("bootstrap", str(lab.site_file), "--apply", "--local")
    (operation, *_) = lab.json("history")
    requests = len(lab.requests())
    token = lab.folder / "credentials" / "proxmox-token"
    away = token.rename(token.with_suffix(".away"))

    done = lab.windlass("resume", operation["id"], "--local", "--yes")
    away.rename(token)

    assert done.returncode == exits.BAD_INPUT
    assert f"proxmox.token_secret: secret file {token} is missing" in done.stderr
    assert lab.json("history")[0]["state"] == "awaiting-approval"
    assert len(lab.requests()) == requests
    assert lab.verbs() == []


def test_a_certificate_of_another_ca_is_refused(lab: FaultyLab):
    site = lab.document
    site["proxmox"]["ca_file"] = str(Authority.open(lab.folder / "another-ca").ca_file)

    refused(lab, yaml.safe_dump(site, sort_keys=False), exits.REFUSED, "certificate")


def test_a_token_without_privileges_is_refused_with_what_it_lacks(lab: FaultyLab):
    secret = lab.folder / "credentials" / "poor-token"
    secret.touch(mode=0o600)
    secret.write_text(_token_without_privileges(lab, "poor"))
    site = lab.document
    site["proxmox"] |= {
        "token_id": "windlass@pve!poor",
        "token_secret": "file:credentials/poor-token",
    }

    refused(
        lab,
        yaml.safe_dump(site, sort_keys=False),
        exits.REFUSED,
        "the token windlass@pve!poor lacks Datastore.AllocateSpace",
    )


def test_a_bad_argument_is_bad_input_and_says_what_a_good_one_is(lab: FaultyLab):
    done = lab.bootstrap("--until", "argo")

    assert done.returncode == exits.BAD_INPUT
    assert "no such phase; phases are preflight" in done.stderr


def test_with_json_the_error_is_a_document(lab: FaultyLab):
    done = lab.windlass("bootstrap", str(lab.folder / "nowhere.yaml"), "--json")

    said = json.loads(done.stdout)
    assert (said["error"], said["exit"], done.returncode) == ("BadInputError", 2, 2)


def _token_without_privileges(lab: FaultyLab, name: str) -> str:
    """A separated token that no access control entry names: its secret."""
    proxmox = lab.contract["proxmox"]
    root: Any = ProxmoxAPI(
        urlsplit(str(proxmox["url"])).netloc, user=proxmox["user"],
        password=Path(proxmox["password_file"]).read_text(), verify_ssl=proxmox["ca_file"],
    )  # fmt: skip
    made = root.access.users("windlass@pve").token(name).post(privsep=1)
    return made["value"]
