"""References to secrets become values here, late: `file:PATH`, `env:NAME`, `sops:FILE#key`.

Values are never logged, stored or passed as parameters. Each one that was resolved is known to
`redact`, so that it cannot leave through a message that quotes it.
"""

import base64
import json
import logging
import os
import shutil
import stat
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from windlass.errors import BadInputError
from windlass.models.load import LoadedSite
from windlass.models.site import Site

# A credential is a line or a certificate; anything larger is another file named by mistake.
MAX_BYTES = 256 * 1024
# sops may ask a key service over the network; a hung one never answers.
SOPS_SECONDS = 30
# Shorter values would blank out ordinary words.
SHORTEST_REDACTED = 6

_live: set[str] = set()


def resolve(ref: str, base: Path) -> SecretStr:
    """The value that `ref` names; relative paths are relative to the folder `base`.

    Raises:
        BadInputError: it is malformed, or what it names is missing, empty or open to others.
    """
    scheme, _, rest = ref.partition(":")
    if scheme == "file":
        value = read_private(secret_path(rest, base))
    elif scheme == "env":
        value = _from_environment(rest)
    elif scheme == "sops":
        value = _from_sops(rest, base)
    else:
        raise BadInputError(
            "a secret is named by file:PATH, env:NAME or sops:FILE#key, never written out"
        )
    if not value.strip():
        raise BadInputError(f"secret {ref} is empty: put the value there")
    value = value.rstrip("\r\n")
    _remember(value)
    return SecretStr(value)


def named_secrets(site: Site) -> dict[str, str]:
    """The references of the credentials that somebody puts there, by their key in the site file."""
    refs = {"proxmox.token_secret": site.proxmox.token_secret}
    if site.gitops is not None and site.gitops.credentials is not None:
        refs["gitops.credentials"] = site.gitops.credentials
    return refs


def resolve_all(loaded: LoadedSite) -> None:
    """Every secret of the site is here and private; the cluster's own bundle is, where there is one yet.

    Raises:
        BadInputError: one is not; names its key in the site file.
    """
    for key, ref in named_secrets(loaded.site).items():
        with _at(loaded, key):
            resolve(ref, loaded.folder)
    bundle = loaded.resolve(loaded.site.cluster.secrets)
    if bundle.exists():
        with _at(loaded, "cluster.secrets"):
            # Read, not resolved: its lines are words like `cluster:`, which are to stay in messages.
            read_private(bundle)


@contextmanager
def _at(loaded: LoadedSite, key: str) -> Generator[None]:
    """Whatever is wrong inside the block is said of this key of the site file."""
    try:
        yield
    except BadInputError as error:
        raise BadInputError(f"{loaded.path}: {key}: {error}") from error


def secret_path(path: str, base: Path) -> Path:
    """`path` seen from the folder `base`, which it never leaves with `..`."""
    if "\0" in path or path.startswith("//"):
        raise BadInputError(f"secret file:{path!r} is not a path: write file:folder/name")
    if ".." in Path(path).parts:
        raise BadInputError(
            f"secret file:{path} climbs out with '..': write the absolute path instead"
        )
    return (base / Path(path).expanduser()).absolute()


def read_private(path: Path) -> str:
    """The text of a file that only its owner can read.

    Raises:
        BadInputError: it is missing, a symlink, no plain file, of another owner, or open to others.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise BadInputError(
            f"secret file {path} is missing: put the value there, mode 0600"
        ) from error
    except OSError as error:
        if path.is_symlink():
            raise BadInputError(f"secret file {path} is a symlink: name the file itself") from error
        raise BadInputError(f"secret file {path} cannot be read: {error.strerror}") from error
    try:
        # Judged by the open handle, so that nobody can change the file in between.
        _check_private(path, os.fstat(handle))
        body = os.read(handle, MAX_BYTES + 1)
    finally:
        os.close(handle)
    if len(body) > MAX_BYTES:
        raise BadInputError(
            f"secret file {path} is larger than {MAX_BYTES // 1024} KiB: is it the right one?"
        )
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BadInputError(f"secret file {path} is not text") from error


def _check_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise BadInputError(f"secret {path} is not a plain file")
    if found.st_uid != os.geteuid():
        raise BadInputError(
            f"secret file {path} belongs to user {found.st_uid}: run chown {os.geteuid()} {path}"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise BadInputError(
            f"secret file {path} is open to others (mode {mode:04o}): run chmod 600 {path}"
        )


def _from_environment(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise BadInputError(f"secret env:{name}: the variable is not set")
    return value


def _from_sops(rest: str, base: Path) -> str:
    name, _, key = rest.partition("#")
    path = secret_path(name, base)
    program = shutil.which("sops")
    if program is None:
        raise BadInputError(
            f"secret sops:{rest} needs the program sops, which is not installed here"
        )
    extract = "".join(f"[{json.dumps(part)}]" for part in key.split("."))
    try:
        done = subprocess.run(
            [program, "--decrypt", "--extract", extract, str(path)],
            check=False,
            capture_output=True,
            text=True,
            timeout=SOPS_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise BadInputError(
            f"secret sops:{rest}: sops gave no answer in {SOPS_SECONDS} s"
        ) from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise BadInputError(f"secret sops:{rest}: sops says: {said[-1]}")
    return done.stdout


def _remember(value: str) -> None:
    for one in {value, *value.splitlines()}:
        if len(one) >= SHORTEST_REDACTED:
            _live.update({one, quote(one, safe=""), base64.b64encode(one.encode()).decode()})


def redact(text: str) -> str:
    """`text` without the values resolved in this process, plain, URL-quoted or in base64."""
    for value in sorted(_live, key=len, reverse=True):
        text = text.replace(value, "[secret]")
    return text


def redact_logs() -> None:
    """From now on no log handler that this process has writes a resolved value."""
    named = [
        found
        for found in logging.root.manager.loggerDict.values()
        if isinstance(found, logging.Logger)
    ]
    for handler in {handler for logger in (logging.root, *named) for handler in logger.handlers}:
        if not any(isinstance(known, RedactSecrets) for known in handler.filters):
            handler.addFilter(RedactSecrets())


class RedactSecrets(logging.Filter):
    """Blanks live secret values in what a handler is about to write."""

    def filter(self, record: logging.LogRecord) -> bool:
        with suppress(TypeError, ValueError):  # a malformed log call is reported by logging itself
            record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        return True
