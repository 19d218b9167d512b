"""The frame of the command line: the table, exit codes, help without imports, and one place where errors end."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import windlass.cli
from tests.unit.site_text import BASE
from windlass.cli import exits, main, printing
from windlass.cli.commands import COMMANDS, Command

ROOT = Path(__file__).parents[2]
HEAVY = (
    "prefect",
    "rich",
    "hcl2",
    "sqlalchemy",
    "kubernetes",
    "grpclib",
    "aiohttp",
    "requests",
    "paramiko",
)
CODES = {
    "BadInputError": 2,
    "RefusedError": 3,
    "PreflightError": 3,
    "FrozenError": 3,
    "ParkedError": 4,
    "BusyError": 4,
    "NeedsHumanError": 5,
    "TimedOutError": 6,
    "UnreachableError": 6,
    "NotReadyError": 6,
    "AmbiguousError": 6,
    "KeyError": 6,
    "KeyboardInterrupt": 130,
}


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> str:
    command = Command("break", "tests.unit.breaking_command", "end as told")
    monkeypatch.setattr(windlass.cli, "COMMANDS", (*COMMANDS, command))
    return command.name


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_an_error_ends_with_its_exit_code_and_one_message(
    breaking: str, capsys: pytest.CaptureFixture[str], kind: str, code: int
):
    ended = main([breaking, kind])

    said = capsys.readouterr()
    assert ended == code
    assert said.err.startswith("windlass: ")
    assert "Traceback" not in said.err
    assert not said.out


def test_with_json_the_error_is_also_a_document(breaking: str, capsys: pytest.CaptureFixture[str]):
    main([breaking, "FrozenError", "--json"])

    told = json.loads(capsys.readouterr().out)
    assert (told["error"], told["exit"]) == ("FrozenError", 3)


def test_what_a_terminal_would_obey_is_shown_and_not_sent(
    breaking: str, capsys: pytest.CaptureFixture[str]
):
    main([breaking, "RefusedError"])

    assert capsys.readouterr().err == "windlass: the reason \\u001b[31m\n"


def test_a_bug_is_named_as_one_and_says_how_to_see_where(
    breaking: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    main([breaking, "KeyError"])
    assert "a bug in Windlass: KeyError" in capsys.readouterr().err

    monkeypatch.setenv("WINDLASS_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main([breaking, "KeyError"])


def test_a_wrong_command_is_bad_input_and_names_the_nearest(capsys: pytest.CaptureFixture[str]):
    assert main(["chekc"]) == exits.BAD_INPUT
    assert "the nearest is check" in capsys.readouterr().err


def test_a_wrong_option_is_bad_input():
    with pytest.raises(SystemExit) as ended:
        main(["check", "site.yaml", "--sekrets"])

    assert ended.value.code == exits.BAD_INPUT


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == exits.DONE

    said = capsys.readouterr().out
    assert all(f"\n  {command.name} " in said for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_of_the_table_has_a_module(command: Command):
    assert importlib.util.find_spec(command.module) is not None


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["check", "SITE"]], ids=str)
def test_help_and_check_import_nothing_heavy(tmp_path: Path, arguments: list[str]):
    site = tmp_path / "site.yaml"
    site.write_text(BASE)
    given = [str(site) if one == "SITE" else one for one in arguments]
    program = (
        "import sys\nfrom windlass.cli import main\n"
        f"code = main({given!r})\nprint(sorted({set(HEAVY)!r} & set(sys.modules)))\nsys.exit(code)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_table_is_plain_lines_where_nobody_watches(capsys: pytest.CaptureFixture[str]):
    printing.table(["name", "state"], [("a", None), ("longer", "done\x07")])

    assert capsys.readouterr().out == "NAME    STATE\na       -\nlonger  done\\u0007\n"


def test_check_refuses_a_secret_that_others_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "site.yaml").write_text(BASE)
    (tmp_path / "token").write_text("value")
    (tmp_path / "token").chmod(0o644)

    assert main(["check", str(tmp_path / "site.yaml")]) == exits.BAD_INPUT
    assert (
        f"proxmox.token_secret: secret file {tmp_path}/token is open to others"
        in capsys.readouterr().err
    )


def test_check_says_when_a_talos_is_known_but_cannot_be_bootstrapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "site.yaml").write_text(
        BASE.replace("v1.13.9", "v1.9.6").replace("v1.36.3", "v1.32.4")
    )

    code = main(["check", str(tmp_path / "site.yaml")])

    assert code == exits.DONE
    assert (
        "no bootstrap: Windlass writes machine configs for Talos 1.12 and 1.13"
        in capsys.readouterr().out
    )


def test_check_names_a_secret_that_is_not_there_and_insists_on_it_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "site.yaml").write_text(BASE)

    relaxed = main(["check", str(tmp_path / "site.yaml")])
    said = capsys.readouterr().out
    strict = main(["check", str(tmp_path / "site.yaml"), "--secrets"])

    assert (relaxed, strict) == (exits.DONE, exits.BAD_INPUT)
    assert f"not here yet: proxmox.token_secret: {tmp_path}/token" in said


def test_the_environment_that_make_builds_has_the_command(tmp_path: Path):
    built = subprocess.run(
        ["make", "--dry-run", "--always-make", ".venv"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    command = Path(sys.executable).with_name("windlass")

    done = subprocess.run(
        [command, "history", "--json"],
        env={"WINDLASS_HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert json.loads(done.stdout) == []
    assert "-r requirements.txt" in built.stdout
    assert "requirements-dev.txt" not in built.stdout
