"""Write the journal of an operation as JSON lines, each with its hash, for an archive or another eye."""

import argparse
import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from windlass.cli import exits, journals, printing
from windlass.errors import BadInputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operation", help="its id, or the beginning of it")
    parser.add_argument("--output", metavar="FILE", type=Path, help="default: stdout")


def run(args: argparse.Namespace) -> int:
    journal = journals.open_journal()
    operation = journal.operation(args.operation)
    count = 0
    with _opened(args.output) as out:
        for record in journal.export(operation.id):
            out.write(json.dumps(record, default=str) + "\n")
            count += 1
    if args.output is not None:
        if args.json:
            printing.say_json({"path": str(args.output), "records": count})
        else:
            printing.say(f"wrote {count} records to {args.output}")
    return exits.DONE


@contextmanager
def _opened(path: Path | None) -> Generator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BadInputError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        yield file
