"""No secret of a site is in what a bootstrap through Prefect leaves behind: database, journal, artifacts, logs."""

import base64
import gzip
import shutil
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.connections import Connections
from tests.canaries import search, secrets_in
from tests.labs import running_lab
from tests.serving import serving
from tests.sweeping import small_site
from windlass.models.load import load_site

NETWORK = "127.74.0.0/16"
# What opens the Prefect API lies in a file of its own, and only there.
AUTH = "prefect-auth"


@dataclass(frozen=True)
class Left:
    """What a bootstrap left in its WINDLASS_HOME, and the secrets that it had to do with."""

    home: Path
    secrets: dict[str, str]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Generator[Left]:
    """A bootstrap that a machine refused and another one that was done, both through Prefect."""
    folder = tmp_path_factory.mktemp("secrets")
    more = ["--site", str(small_site(folder))]
    with running_lab(folder, network=NETWORK, more=more) as lab:
        with serving(lab) as served:
            lab.fault("talos-apply-rejected", "node=w", times=1)
            first = served.run(mode="apply")
            operation = served.approve(first).id
            refused = served.end_of(first)
            again = served.run(mode="apply")
            served.approve(again)
            done = served.end_of(again)
        assert refused[0] == "FAILED", refused
        assert served.journal.operation(operation).state.value == "refused"
        assert done[0] == "COMPLETED", done
        connect = Connections(load_site(lab.site_file), "test")
        proxmox = lab.contract["proxmox"]
        files = (lab.folder / "secrets.yaml", connect.kubeconfig_path, connect.talosconfig_path)
        yield Left(
            lab.home,
            {
                "proxmox token": Path(proxmox["token_secret_file"]).read_text().strip(),
                AUTH: (lab.home / AUTH).read_text().strip().partition(":")[2],
                **{name: value for file in files for name, value in secrets_in(file).items()},
            },
        )


def test_no_secret_of_the_site_is_in_anything_that_is_kept(left: Left):
    assert len(left.secrets) >= 12
    assert min(map(len, left.secrets.values())) >= 20

    assert search(left.home, left.secrets) == [f"{AUTH}: {AUTH}"]


def in_a_log(home: Path, secret: str) -> str:
    with (home / "serve.log").open("a") as log:
        log.write(f"could not log in with {secret}\n")
    return "serve.log"


def in_the_journal(home: Path, secret: str) -> str:
    with closing(sqlite3.connect(home / "journal.db")) as db, db:
        db.execute("update operations set message = ?", (f"refused: token={secret}",))
    return "journal.db/operations"


def in_an_artifact(home: Path, secret: str) -> str:
    # Long enough to lie across pages of the database.
    text = "x" * 4050 + base64.b64encode(f"a {secret} b".encode()).decode() + "x" * 9000
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as db, db:
        db.execute("update artifact set data = ?", (f'"{text}"',))
    return "prefect/prefect.db/artifact"


def in_prefects_logs(home: Path, secret: str) -> str:
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as db, db:
        db.execute("update log set message = ?", (secret.encode().hex(),))
    return "prefect/prefect.db/log"


def packed(home: Path, secret: str) -> str:
    (home / "old.log.gz").write_bytes(gzip.compress(secret.encode()))
    return "old.log.gz"


@pytest.mark.parametrize(
    "plant", [in_a_log, in_the_journal, in_an_artifact, in_prefects_logs, packed]
)
def test_a_secret_that_is_planted_is_found(
    left: Left, tmp_path: Path, plant: Callable[[Path, str], str]
):
    home = tmp_path / "home"
    shutil.copytree(left.home, home)
    (name,) = [one for one in left.secrets if "client-key-data" in one]

    place = plant(home, left.secrets[name])

    assert f"{place}: {name}" in search(home, left.secrets)
