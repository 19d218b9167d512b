"""Reads a site file; what is wrong with it is told as file, line, key and what to do, all at once."""

import difflib
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from windlass.errors import BadInputError
from windlass.home import windlass_home
from windlass.models.document import (
    MAX_PROBLEMS,
    Document,
    Location,
    Problem,
    dotted,
    read_document,
)
from windlass.models.site import Site

MAX_BYTES = 1024 * 1024
BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Values under these words may be a credential that somebody wrote where its reference belongs.
UNQUOTED = re.compile("secret|credential|password|token")
QUOTED_LENGTH = 60
WHOLE_NUMBER = 'must be a whole number, written plainly: 8, not 08, 0x8, 1e3 or "8"'
NUMBER = 'must be a number, written plainly: 0.5, not 5e-1 or "0.5"'
# What a right value looks like, where pydantic's own words are about its types.
SAYS = {
    "string_type": "must be text: put it in quotes",
    "bool_type": "must be true or false",
    "int_type": WHOLE_NUMBER,
    "int_from_float": WHOLE_NUMBER,
    "int_parsing": WHOLE_NUMBER,
    "float_type": NUMBER,
    "tuple_type": "must be a list, such as [a, b]",
    "model_type": "must be keys and values, such as name: home",
    "model_attributes_type": "must be keys and values, such as name: home",
    "dict_type": "must be keys and values, such as name: home",
}


class SiteFileError(BadInputError):
    """A site file that does not make sense; `problems` holds what its message says."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        lines = [
            f"{path}:{one.line}: {f'{one.key}: ' if one.key else ''}{one.message}"
            for one in problems
        ]
        if len(lines) > 1:
            lines.insert(0, f"{path} has {len(problems)} problems:")
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class LoadedSite:
    """A site and the file it was read from."""

    site: Site
    path: Path

    @property
    def folder(self) -> Path:
        return self.path.parent

    def resolve(self, relative: str) -> Path:
        """A path in the site file, with or without `file:`, seen from the folder of the file."""
        return (self.folder / Path(relative.removeprefix("file:")).expanduser()).absolute()


def load_site(path: Path | str) -> LoadedSite:
    """The site that a file describes; a bare name is looked up in the folders of sites.

    These are `$WINDLASS_HOME/sites` and `./sites`.

    Raises:
        BadInputError: there is no such file, or it does not make sense.
    """
    found = _find(path)
    document = read_document(_text(found))
    if not document.problems and not isinstance(document.value, dict):
        document.problems.append(
            Problem(1, "", "a site file is a list of keys and values, such as name: home")
        )
    if document.problems:
        raise SiteFileError(found, document.problems)
    try:
        # JSON mode is strict about types yet reads addresses and durations from text.
        site = Site.model_validate_json(json.dumps(document.value), strict=True)
    except ValidationError as error:
        raise SiteFileError(found, _problems(error, document)) from error
    return LoadedSite(site, found)


def _find(path: Path | str) -> Path:
    if "\0" in str(path):
        raise BadInputError("the name of the site file holds a NUL character")
    direct = Path(path).expanduser()
    if direct.is_file() or not NAME.fullmatch(str(path)):
        return direct.absolute()
    places = [windlass_home() / "sites" / f"{path}.yaml", Path("sites") / f"{path}.yaml"]
    for place in places:
        if place.is_file():
            return place.absolute()
    looked = " and ".join(str(place) for place in places)
    raise BadInputError(f"no site {path}: looked for {looked}; name a site file or one of those")


def _text(path: Path) -> str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadInputError(f"{path} is not a plain file: name a site file")
            body = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist: name a site file") from error
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
    return _decoded(path, body)


def _decoded(path: Path, body: bytes) -> str:
    if len(body) > MAX_BYTES:
        raise BadInputError(f"{path} is larger than 1 MiB: that is no site file")
    if body.startswith(BOMS):
        raise BadInputError(
            f"{path}:1: starts with a byte order mark: save it as UTF-8 without one"
        )
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise BadInputError(f"{path}:{line}: is not UTF-8 text: save it as UTF-8") from error


def _problems(error: ValidationError, document: Document) -> list[Problem]:
    errors = error.errors(include_url=False)
    broken = {one["loc"][:i] for one in errors for i in range(len(one["loc"]))}
    found: list[Problem] = []
    for one in errors:
        location = _written(one["loc"])
        # A list that lost its broken items is also reported as too short.
        if one["type"] != "too_short" or one["loc"] not in broken:
            found.append(
                Problem(document.line(location), dotted(location), _message(location, one))
            )
    return sorted(dict.fromkeys(found), key=lambda problem: problem.line)[:MAX_PROBLEMS]


def _written(location: Location) -> Location:
    """`location` as the file has it: pydantic marks a bad key of a free mapping with `[key]`."""
    return tuple(part for part in location if part != "[key]")


def _message(location: Location, error: Any) -> str:
    kind: str = error["type"]
    if kind == "extra_forbidden":
        return f"unknown key{_nearest(location)}"
    if kind == "missing":
        return f"missing: add it{_meaning(location)}"
    if kind == "windlass_rule":
        return error["msg"]
    if error["input"] is None and kind.endswith("_type"):
        return f"is empty: fill it in{_meaning(location)}"
    if kind == "literal_error":
        said = f"must be {error['ctx']['expected']}"
    else:
        said = SAYS.get(kind, str(error["msg"]).replace("Input should", "must"))
    return said + _quoted(location, error["input"])


def _quoted(location: Location, value: object) -> str:
    if UNQUOTED.search(dotted(location)) or isinstance(value, dict | list):
        return ""
    said = json.dumps(value, default=str)
    return f" (is {said if len(said) <= QUOTED_LENGTH else said[:QUOTED_LENGTH] + '...'})"


def _nearest(location: Location) -> str:
    *around, key = location
    model = _model_at(tuple(around))
    known = list(model.model_fields) if model else []
    if close := difflib.get_close_matches(str(key), known, n=1):
        return f"; the nearest is {close[0]}"
    if elsewhere := [place for place in _all_keys(Site) if place.rpartition(".")[2] == key]:
        return f" here; it belongs to {elsewhere[0]}"
    return f"; the keys here are {', '.join(known)}" if known else ""


def _meaning(location: Location) -> str:
    *around, key = location
    model = _model_at(tuple(around))
    described = (
        model.model_fields[str(key)].description
        if model and str(key) in model.model_fields
        else None
    )
    return f" ({described})" if described else ""


def _model_at(location: Location) -> type[BaseModel] | None:
    model: type[BaseModel] | None = Site
    for part in location:
        if isinstance(part, int):
            continue
        if model is None or part not in model.model_fields:
            return None
        model = _model_in(model.model_fields[part].annotation)
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds: itself, or what its tuple, mapping or union is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)


def _all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, one in model.model_fields.items():
        keys.append(prefix + name)
        if inner := _model_in(one.annotation):
            several = "[]" if "tuple" in str(one.annotation) else ""
            keys += _all_keys(inner, f"{prefix}{name}{several}.")
    return keys
