"""Where Windlass keeps its state: one private folder, WINDLASS_HOME or ~/.local/share/windlass."""

import os
import stat
from pathlib import Path

from windlass.errors import BadInputError

# A folder that holds one of these, or nothing, is Windlass's own and may be made private.
OWN = frozenset({"journal.db", "sites", "locks", "runs", "serve.json", "prefect"})


def windlass_home() -> Path:
    """The folder that holds all state, there and private (0700) afterwards.

    Raises:
        BadInputError: it is not a folder of this user, or holds other things and is open to others.
    """
    named = os.environ.get("WINDLASS_HOME")
    home = Path(named).expanduser().absolute() if named else Path.home() / ".local/share/windlass"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = home.stat()
    except OSError as error:
        raise BadInputError(f"WINDLASS_HOME {home} cannot be used: {error.strerror}") from error
    if found.st_uid != os.geteuid():
        raise BadInputError(
            f"WINDLASS_HOME {home} belongs to another user: name a folder of your own"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        _make_private(home)
    return home


def _make_private(home: Path) -> None:
    names = {entry.name for entry in home.iterdir()}
    if names and not names & OWN:
        raise BadInputError(
            f"WINDLASS_HOME {home} holds other things and is open to other users: "
            f"name an empty folder, or run: chmod 700 {home}"
        )
    home.chmod(0o700)
