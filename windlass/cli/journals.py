"""What the journal commands share: where it is, who asks, and how an operation looks in JSON."""

import getpass
import os
import socket
from datetime import datetime

from windlass.engine.journal import Journal, Operation
from windlass.home import windlass_home
from windlass.models.load import NAME, load_site


def open_journal() -> Journal:
    return Journal.open(windlass_home())


def asker() -> str:
    """Who is at the keyboard, as approvals and freezes record it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.geteuid()}"
    return f"{user}@{socket.gethostname()}"


def site_name(given: str) -> str:
    """The site's name, given itself or as its site file; a broken site file can still be frozen by name."""
    return given if NAME.fullmatch(given) else load_site(given).site.name


def brief(operation: Operation) -> dict[str, object]:
    """An operation as `history --json` lists it."""
    return {
        "id": operation.id,
        "site": operation.site,
        "verb": operation.verb,
        "state": operation.state.value,
        "reason": operation.reason,
        "plan_hash": operation.plan_hash,
    }


def moment(at: datetime | None) -> str | None:
    """A time for people, to the second and in their own zone."""
    return None if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
