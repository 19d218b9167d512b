"""Secrets come late, from private places only, and never leave through a message."""

import io
import logging
from pathlib import Path

import pytest

from tests.unit.site_text import BASE
from windlass.errors import BadInputError
from windlass.models.load import load_site
from windlass.secrets import RedactSecrets, redact, redact_logs, resolve, resolve_all

SOPS = """\
#!/bin/sh
test "$1 $2 $3" = '--decrypt --extract ["proxmox"]["token"]' || { echo "asked for $3" >&2; exit 1; }
cat "$4"
"""


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("s3cret-of-the-token\n")
    path.chmod(0o600)
    return path


def test_a_private_file_gives_its_text_without_the_last_newline(token: Path):
    assert resolve("file:token", token.parent).get_secret_value() == "s3cret-of-the-token"


def test_an_absolute_path_needs_no_folder(token: Path):
    assert resolve(f"file:{token}", Path("/")).get_secret_value() == "s3cret-of-the-token"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_open_to_others_is_refused_with_the_command_that_closes_it(token: Path, mode: int):
    token.chmod(mode)

    with pytest.raises(BadInputError, match=f"run chmod 600 {token}"):
        resolve("file:token", token.parent)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(BadInputError, match="is missing"):
        resolve("file:token", tmp_path)


def test_an_empty_file_is_refused(token: Path):
    token.write_text("\n")

    with pytest.raises(BadInputError, match="is empty"):
        resolve("file:token", token.parent)


def test_a_symlink_is_refused(token: Path):
    (token.parent / "link").symlink_to(token)

    with pytest.raises(BadInputError, match="is a symlink"):
        resolve("file:link", token.parent)


def test_a_folder_is_refused(tmp_path: Path):
    (tmp_path / "token").mkdir(mode=0o700)

    with pytest.raises(BadInputError, match="not a plain file"):
        resolve("file:token", tmp_path)


def test_what_is_not_text_is_refused(token: Path):
    token.write_bytes(b"\xff\xfe\xfd\xfc")

    with pytest.raises(BadInputError, match="not text"):
        resolve("file:token", token.parent)


@pytest.mark.parametrize(
    "ref", ["file:../token", "file:a/../../token", "file:///token", "file:a\0b"]
)
def test_a_path_that_climbs_or_pretends_is_refused(tmp_path: Path, ref: str):
    with pytest.raises(BadInputError, match="file:"):
        resolve(ref, tmp_path)


def test_a_value_instead_of_a_reference_is_refused_and_not_repeated(tmp_path: Path):
    with pytest.raises(BadInputError, match="never written out") as error:
        resolve("hunter2-hunter2", tmp_path)

    assert "hunter2" not in str(error.value)


def test_an_environment_variable_gives_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WINDLASS_TEST_TOKEN", "from-the-environment")

    assert resolve("env:WINDLASS_TEST_TOKEN", tmp_path).get_secret_value() == "from-the-environment"


def test_a_variable_that_is_not_set_is_refused(tmp_path: Path):
    with pytest.raises(BadInputError, match="is not set"):
        resolve("env:WINDLASS_TEST_UNSET", tmp_path)


def test_sops_is_asked_for_one_key_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "bin/sops"
    program.parent.mkdir()
    program.write_text(SOPS)
    program.chmod(0o700)
    (tmp_path / "secrets.enc.yaml").write_text("decrypted-value")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    assert (
        resolve("sops:secrets.enc.yaml#proxmox.token", tmp_path).get_secret_value()
        == "decrypted-value"
    )
    with pytest.raises(BadInputError, match="sops says: asked for"):
        resolve("sops:secrets.enc.yaml#other", tmp_path)


def test_without_sops_the_error_says_that_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BadInputError, match="needs the program sops"):
        resolve("sops:secrets.enc.yaml#token", tmp_path)


def test_a_resolved_value_shows_nowhere(token: Path, caplog: pytest.LogCaptureFixture):
    secret = resolve("file:token", token.parent)
    caplog.handler.addFilter(RedactSecrets())

    logging.getLogger("test").warning("answered %s to %s", 401, secret.get_secret_value())

    assert "s3cret" not in repr(secret) + str(secret)
    assert redact("Authorization: s3cret-of-the-token!") == "Authorization: [secret]!"
    assert redact("czNjcmV0LW9mLXRoZS10b2tlbg==") == "[secret]"
    assert "answered 401 to [secret]" in caplog.text


def test_a_traceback_is_redacted_too(token: Path, caplog: pytest.LogCaptureFixture):
    secret = resolve("file:token", token.parent)
    caplog.handler.addFilter(RedactSecrets())

    try:
        int(secret.get_secret_value())
    except ValueError:
        logging.getLogger("test").exception("failed")

    assert "with base 10: '[secret]'" in caplog.text
    assert "s3cret" not in caplog.text


def test_every_log_handler_of_a_process_is_told_once(token: Path):
    secret = resolve("file:token", token.parent)
    written = io.StringIO()
    logger, handler = logging.getLogger("test.flows"), logging.StreamHandler(written)
    logger.addHandler(handler)

    redact_logs()
    redact_logs()
    logger.warning("sent %s", secret.get_secret_value())
    logger.removeHandler(handler)

    assert written.getvalue() == "sent [secret]\n"
    assert len(handler.filters) == 1


@pytest.mark.parametrize(
    ("name", "mode", "key"),
    [("token", 0o644, "proxmox.token_secret"), ("secrets.yaml", 0o640, "cluster.secrets")],
)
def test_a_secret_of_a_site_that_is_open_is_named_by_its_key(
    tmp_path: Path, name: str, mode: int, key: str
):
    (tmp_path / "site.yaml").write_text(BASE)
    for one in ("token", "secrets.yaml"):
        (tmp_path / one).write_text("cluster: harbour-secret")
        (tmp_path / one).chmod(mode if one == name else 0o600)

    with pytest.raises(BadInputError, match=f"site.yaml: {key}: .* open to others"):
        resolve_all(load_site(tmp_path / "site.yaml"))


def test_a_site_whose_bundle_is_not_made_yet_has_all_its_secrets(tmp_path: Path):
    (tmp_path / "site.yaml").write_text(BASE)
    (tmp_path / "token").write_text("s3cret-of-the-token")
    (tmp_path / "token").chmod(0o600)

    resolve_all(load_site(tmp_path / "site.yaml"))

    assert redact("s3cret-of-the-token") == "[secret]"
