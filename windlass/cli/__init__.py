"""The command `windlass`: commands imported when asked for, and one place where errors end."""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from windlass import __version__
from windlass.cli import exits
from windlass.cli.commands import COMMANDS, Command
from windlass.errors import BadInputError, WindlassError


class CommandModule(Protocol):
    """What a module of the command table has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, args: argparse.Namespace) -> int: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code says how it ended."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in {"-h", "--help", "help"}:
        print(_overview())
        return exits.DONE
    if given[0] == "--version":
        print(f"windlass {__version__}")
        return exits.DONE
    return _guarded(given[0], given[1:])


def _guarded(name: str, given: list[str]) -> int:
    as_json = "--json" in given
    try:
        return _run(_command(name), given)
    except KeyboardInterrupt:
        return _report(InterruptedError("interrupted"), exits.INTERRUPTED, as_json=as_json)
    except BrokenPipeError:
        # The reader of a pipe has gone; Python would complain once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FAILED
    except WindlassError as error:
        return _report(error, exits.exit_code(error), as_json=as_json)
    except Exception as error:
        if os.environ.get("WINDLASS_TRACEBACK"):
            raise
        return _report(error, exits.FAILED, as_json=as_json)


def _overview() -> str:
    width = max(len(command.name) for command in COMMANDS)
    listed = "\n".join(f"  {command.name:<{width}}  {command.says}" for command in COMMANDS)
    return (
        "usage: windlass COMMAND ...\n\n"
        "Hauls a Talos-on-Proxmox Kubernetes cluster through its life, "
        "and keeps every step in its journal.\n\n"
        f"{listed}\n\nwindlass COMMAND --help says more. Every command takes --json."
    )


def _command(name: str) -> Command:
    found = next((command for command in COMMANDS if command.name == name), None)
    if found is None:
        close = difflib.get_close_matches(name, [command.name for command in COMMANDS], n=1)
        hint = f"the nearest is {close[0]}" if close else "windlass --help lists them"
        raise BadInputError(f"no command {name!r}: {hint}")
    return found


def _run(command: Command, arguments: list[str]) -> int:
    module = cast(CommandModule, importlib.import_module(command.module))
    parser = argparse.ArgumentParser(
        prog=f"windlass {command.name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    module.add_arguments(parser)
    return module.run(parser.parse_args(arguments))


def _report(error: BaseException, code: int, *, as_json: bool) -> int:
    """Say once, on stderr, what ended the command; with `--json` also as a document on stdout."""
    # Help and the overview need no printing, and so none of what it imports.
    from windlass.cli.printing import say_json, warn  # noqa: PLC0415

    if isinstance(error, WindlassError | InterruptedError):
        message = str(error)
    else:
        kind = type(error).__name__
        message = f"a bug in Windlass: {kind}: {error} (WINDLASS_TRACEBACK=1 shows where)"
    warn(f"windlass: {message}")
    if as_json:
        say_json({"error": type(error).__name__, "message": message, "exit": code})
    return code
