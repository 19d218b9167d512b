"""`windlass lab` refuses what cannot be a lab before anything starts."""

from pathlib import Path

import pytest

from windlass.cli import main
from windlass.cli.exits import BAD_INPUT


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--network", "10.9.0.0/16", "10.9.0.0/16 is no loopback network like 127.30.0.0/16"),
        ("--network", "127.30.0.0/24", "is no loopback network"),
        ("--network", "127.30.0.1/16", "is no loopback network"),
        ("--network", "here", "is no loopback network"),
        ("--speed", "0", "0 is not a number above 0"),
        ("--speed", "-3", "-3 is not a number above 0"),
        ("--speed", "nan", "nan is not a number above 0"),
        ("--speed", "fast", "fast is not a number above 0"),
        ("--host-memory", "64G", "64G is not a whole number above 0"),
        ("--site", "nowhere.yaml", "there is no file nowhere.yaml"),
    ],
)
def test_a_lab_that_cannot_be_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, says: str
):
    with pytest.raises(SystemExit) as ended:
        main(["lab", "up", "--dir", str(tmp_path / "lab"), f"{option}={value}", "--detach"])

    assert ended.value.code == BAD_INPUT
    assert says in capsys.readouterr().err
    assert not (tmp_path / "lab").exists()


def test_a_lab_of_a_site_file_that_makes_no_sense_is_bad_input_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    site = tmp_path / "site.yaml"
    site.write_text("name: x\nnonsense: 1\n")

    code = main(["lab", "up", "--dir", str(tmp_path / "lab"), "--site", str(site)])

    assert code == BAD_INPUT
    said = capsys.readouterr().err
    assert f"{site}:2: nonsense: unknown key" in said
    assert f"{site}:1: proxmox: missing" in said
    assert not (tmp_path / "lab").exists()


def test_a_fault_where_no_lab_runs_is_bad_input_and_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    code = main(["lab", "fault", "list", "--dir", str(tmp_path)])

    assert code == BAD_INPUT
    assert f"windlass lab up --dir {tmp_path}" in capsys.readouterr().err
