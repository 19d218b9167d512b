"""What Proxmox means by a status and a reason phrase. The only place that decides.

The text of an error travels in the HTTP reason phrase; almost every refusal is a 500.
"""

import re
from collections.abc import Mapping

from windlass.clients.proxmox.wire import RefusalError
from windlass.errors import (
    AmbiguousError,
    DeniedError,
    NotReadyError,
    RefusedError,
    UnreachableError,
    WindlassError,
)

# The proxy inside Proxmox could not connect to the host that should answer: nothing was executed.
PROXY_NOT_CONNECTED = 595
# The proxy lost the host half-way: what it did is unknown.
PROXY_LOST = range(596, 600)
GATEWAY_LOST = (502, 503, 504)
UNAUTHENTICATED, FORBIDDEN = 401, 403

# Somebody else works on this VM or storage right now, and the call did not begin.
LOCKED = re.compile(
    r"VM is locked|can't lock file '.+' - got timeout|got lock request timeout"
    r"|guest migration lock"
)
# Proxmox itself does not know how far it came.
UNDECIDED = re.compile(
    r"locked command timed out|got no worker upid|(qmp|qga) command '.+' failed - got timeout"
)
DENIED = re.compile(r"Permission check failed \((?P<path>[^,]+), (?P<privileges>[^)]+)\)")
SECRET = re.compile(
    r"(?i)((?:password|passwd|secret|token|ticket|authorization|apikey)\S*?\s*[=:]\s*)\S+"
    r"|(PVEAPIToken=\S+?[=:])\S+|(://[^/\s:@]+:)[^@\s]+(?=@)"
)


def translate(error: RefusalError, method: str, path: str, token_id: str) -> WindlassError:
    """Return what a refusal of `method path` is to Windlass."""
    reason = _reason(error)
    call = f"{method} {path}"
    if error.status == PROXY_NOT_CONNECTED:
        return UnreachableError(f"Proxmox cannot reach the host of {call}: {reason}")
    if error.status in (*PROXY_LOST, *GATEWAY_LOST) or UNDECIDED.search(reason):
        return unanswered(method, path, f"{error.status} {reason}")
    if LOCKED.search(reason):
        return NotReadyError(f"Proxmox is busy at {path}: {reason}")
    remedy = _remedy(error.status, reason, token_id)
    denied = error.status in (UNAUTHENTICATED, FORBIDDEN)
    return (DeniedError if denied else RefusedError)(f"Proxmox refused {call}: {reason}{remedy}")


def unanswered(method: str, path: str, why: str) -> WindlassError:
    """Return what no answer means: a read may be asked again, a write must be observed."""
    if method == "GET":
        return UnreachableError(f"Proxmox gave no answer to GET {path}: {why}")
    return AmbiguousError(
        f"Proxmox gave no answer to {method} {path}, it may have been done: {why}"
    )


def redacted(text: str) -> str:
    """Return the text without what looks like a credential."""
    return SECRET.sub(lambda found: f"{found[1] or found[2] or found[3]}***", text)


def _reason(error: RefusalError) -> str:
    """All that Proxmox said: the phrase, every line of the message, and errors by parameter."""
    said = [error.reason.strip() or f"status {error.status}"]
    message = str(error.body.get("message") or "").strip()
    if message.startswith(said[0]):
        said = [message]
    elif message:
        said.append(message)
    parameters: Mapping[str, object] = error.body.get("errors") or {}
    said += [f"{key}: {str(why).strip()}" for key, why in parameters.items()]
    return redacted("; ".join(said))


def _remedy(status: int, reason: str, token_id: str) -> str:
    """What to do about it, for the two refusals that have a cure of one line; else nothing."""
    user = token_id.split("!", maxsplit=1)[0]
    if status == UNAUTHENTICATED:
        return f". Is token {token_id} deleted or expired? See: pveum user token list {user}"
    if status != FORBIDDEN:
        return ""
    denied = DENIED.search(reason)
    if denied is None:
        return f". See what the token may do: pveum user token permissions {user} {token_id}"
    privileges = denied["privileges"].replace("|", ",")
    return (
        f". {token_id} lacks {denied['privileges']} on {denied['path']}. As root on a host: "
        f"pveum role add WindlassMore --privs '{privileges}' && pveum acl modify {denied['path']} "
        f"--roles WindlassMore --users '{user}' --tokens '{token_id}'"
    )
