"""The folder of all state is private, and never somebody else's."""

import stat
from pathlib import Path

import pytest

from windlass.errors import BadInputError
from windlass.home import windlass_home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv("WINDLASS_HOME", str(path))
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_that_is_not_there_is_made_private(home: Path):
    assert windlass_home() == home
    assert mode(home) == 0o700


def test_an_empty_home_is_made_private(home: Path):
    home.mkdir(mode=0o755)

    windlass_home()

    assert mode(home) == 0o700


def test_a_folder_that_holds_other_things_is_left_as_it_is(home: Path):
    home.mkdir()
    home.chmod(0o755)
    (home / "thesis.tex").touch()

    with pytest.raises(BadInputError, match="holds other things"):
        windlass_home()
    assert mode(home) == 0o755


def test_without_a_name_the_home_is_in_the_users_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("WINDLASS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert windlass_home() == tmp_path / ".local/share/windlass"


def test_a_home_below_a_file_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path / "file/home"))

    with pytest.raises(BadInputError, match="cannot be used"):
        windlass_home()
