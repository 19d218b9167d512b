"""Who calls and what they may: users, tokens, tickets, roles and the access control list.

Tickets expire by the real clock, as the clients that renew them count real hours.
"""

import base64
import hashlib
import hmac
import secrets
import time
import uuid
from dataclasses import dataclass
from urllib.parse import unquote

from windlass.lab.proxmox.refusals import Refusal
from windlass.lab.store import Document, Section
from windlass.lab.world import World

TICKET_LIFETIME_S = 7200
_GRACE_S = 300
ROOT = "root@pam"

VM_CONFIG = ("Disk", "CPU", "Memory", "Network", "HWType", "Options", "CDROM", "Cloudinit")
PRIVILEGES = frozenset(
    [
        "VM.Allocate",
        "VM.Clone",
        "VM.Migrate",
        "VM.Replicate",
        "VM.Snapshot",
        "VM.Snapshot.Rollback",
        "VM.Console",
        "VM.Backup",
        "VM.PowerMgmt",
        "VM.Audit",
        "VM.GuestAgent.Audit",
        "VM.GuestAgent.FileRead",
        "VM.GuestAgent.FileWrite",
        "VM.GuestAgent.FileSystemMgmt",
        "VM.GuestAgent.Unrestricted",
        "Sys.PowerMgmt",
        "Sys.Modify",
        "Sys.Incoming",
        "Sys.AccessNetwork",
        "Sys.Console",
        "Sys.Syslog",
        "Sys.Audit",
        "Datastore.Allocate",
        "Datastore.AllocateTemplate",
        "Datastore.AllocateSpace",
        "Datastore.Audit",
        "SDN.Allocate",
        "SDN.Use",
        "SDN.Audit",
        "User.Modify",
        "Group.Allocate",
        "Realm.Allocate",
        "Realm.AllocateUser",
        "Pool.Allocate",
        "Pool.Audit",
        "Mapping.Modify",
        "Mapping.Use",
        "Mapping.Audit",
        "Permissions.Modify",
    ]
) | {f"VM.Config.{part}" for part in VM_CONFIG}

# One role on `/` is all that Windlass needs.
WINDLASS_ROLE = frozenset(
    [
        "Sys.Audit",
        "Sys.Modify",
        "Sys.PowerMgmt",
        "Sys.AccessNetwork",
        "Sys.Console",
        "Datastore.Allocate",
        "Datastore.AllocateTemplate",
        "Datastore.AllocateSpace",
        "Datastore.Audit",
        "SDN.Use",
        "SDN.Audit",
        "Pool.Allocate",
        "Pool.Audit",
        "Mapping.Audit",
        "Mapping.Use",
        "VM.Allocate",
        "VM.Audit",
        "VM.Backup",
        "VM.Clone",
        "VM.Migrate",
        "VM.PowerMgmt",
        "VM.Snapshot",
        "VM.Snapshot.Rollback",
        "VM.GuestAgent.Audit",
    ]
) | {f"VM.Config.{part}" for part in VM_CONFIG}

BUILT_IN = {
    "Administrator": PRIVILEGES,
    "NoAccess": frozenset[str](),
    "PVEAuditor": frozenset(p for p in PRIVILEGES if p.endswith(".Audit")),
    "PVEVMAdmin": frozenset(p for p in PRIVILEGES if p.startswith("VM.")),
    "PVEDatastoreAdmin": frozenset(p for p in PRIVILEGES if p.startswith("Datastore.")),
    "PVEVMUser": frozenset({"VM.Audit", "VM.Backup", "VM.Config.CDROM", "VM.Config.Cloudinit", "VM.Console",
                            "VM.GuestAgent.Audit", "VM.PowerMgmt"}),
}  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """A caller: a user, or one of a user's tokens."""

    user: str
    token: str | None = None

    @property
    def name(self) -> str:
        return f"{self.user}!{self.token}" if self.token else self.user

    @property
    def is_root(self) -> bool:
        """root@pam itself; its tokens are not."""
        return self.user == ROOT and self.token is None


def unauthorized(text: str = "Authentication failed!") -> Refusal:
    return Refusal(text, status=401)


class Access:
    """The user database. Made on first use with root@pam and the user and token of Windlass."""

    def __init__(self, world: World) -> None:
        self._faults = world.faults
        self.users = world.store.section("proxmox.users")
        self.tokens = world.store.section("proxmox.tokens")
        self.roles = world.store.section("proxmox.roles")
        self.acl = world.store.section("proxmox.acl")
        self.pools = world.store.section("proxmox.pools")
        keys = world.store.section("proxmox.keys")
        if not self.users:
            keys["ticket"] = {"key": secrets.token_hex(32)}
            self.users[ROOT] = {"enable": 1, "password": secrets.token_urlsafe(18)}
            self.users["windlass@pve"] = {"enable": 1, "password": None}
            self.tokens["windlass@pve!windlass"] = {
                "privsep": 0,
                "secret": str(uuid.uuid4()),
                "expire": 0,
            }
            self.roles["Windlass"] = {"privs": sorted(WINDLASS_ROLE)}
            self.grant("/", "windlass@pve", "Windlass")
        self._key = bytes.fromhex(keys["ticket"]["key"])

    def grant(self, path: str, who: str, role: str, *, propagate: bool = True) -> None:
        self.acl[f"{path} {who} {role}"] = {
            "path": path, "ugid": who, "roleid": role, "propagate": int(propagate),
            "type": "token" if "!" in who else "user",
        }  # fmt: skip

    def role(self, name: str) -> frozenset[str] | None:
        built_in = BUILT_IN.get(name)
        doc = self.roles.get(name)
        return built_in if built_in is not None else frozenset(doc["privs"]) if doc else None

    # Tickets and tokens

    def log_in(self, username: str, password: str) -> dict[str, str]:
        """A ticket and its CSRF token; `password` may be a ticket that is still valid.

        Raises:
            Refusal: 401 without a reason, whatever is wrong.
        """
        user = self.users.get(username)
        known = user is not None and user["enable"]
        by_password = bool(known and user and user["password"]) and hmac.compare_digest(
            str(user["password"] if user else ""), password
        )
        if not (known and (by_password or self._renews(username, password))):
            raise Refusal("authentication failure", status=401)
        return {
            "username": username,
            "ticket": self._sign(f"PVE:{username}:{int(time.time()):08X}", "::"),
            "CSRFPreventionToken": self._csrf(username, f"{int(time.time()):08X}"),
        }

    def _renews(self, username: str, ticket: str) -> bool:
        holder = self._ticket_user(ticket)
        return holder is not None and holder in (username, ROOT)

    def _sign(self, plain: str, separator: str) -> str:
        mac = hmac.new(self._key, plain.encode(), hashlib.sha256).digest()
        return f"{plain}{separator}{base64.b64encode(mac).decode()}"

    def _csrf(self, username: str, stamp: str) -> str:
        mac = hmac.new(self._key, f"{stamp}:{username}".encode(), hashlib.sha256).digest()
        return f"{stamp}:{base64.b64encode(mac).decode().rstrip('=')}"

    def _ticket_user(self, ticket: str) -> str | None:
        plain, found, _ = ticket.partition("::")
        if not found or not hmac.compare_digest(self._sign(plain, "::"), ticket):
            return None
        _, user, stamp = plain.split(":")
        age = time.time() - int(stamp, 16)
        return user if -_GRACE_S < age < TICKET_LIFETIME_S and user in self.users else None

    def of_ticket(self, ticket: str) -> Identity:
        """Raises: Refusal 401."""
        user = self._ticket_user(unquote(ticket))
        if user is None:
            raise unauthorized()
        return Identity(user)

    def check_csrf(self, identity: Identity, given: str) -> None:
        stamp = given.partition(":")[0]
        if not given or not hmac.compare_digest(
            self._csrf(identity.user, stamp), given.rstrip("=")
        ):
            raise unauthorized("Permission denied - invalid csrf token")

    def of_token(self, header: str) -> Identity:
        """`USER@REALM!TOKENID=UUID`, the first `=` may be a space. Raises: Refusal 401."""
        text = unquote(header).strip().replace(" ", "=", 1)
        name, _, secret = text.partition("=")
        user, _, token = name.partition("!")
        doc = self.tokens.get(name)
        wrong = (
            doc is None
            or not hmac.compare_digest(str(doc["secret"]), secret)
            or 0 < doc["expire"] < time.time()
            or not self.users.get(user, {}).get("enable")
        )
        if wrong or self._faults.fires("pve-token-revoked", token=name):
            raise unauthorized()
        return Identity(user, token)

    # Privileges

    def privileges(self, identity: Identity, path: str) -> dict[str, int]:
        """Privilege to whether it also holds below `path`."""
        if identity.is_root:
            return dict.fromkeys(PRIVILEGES, 1)
        own = (
            dict.fromkeys(PRIVILEGES, 1)
            if identity.user == ROOT
            else self._granted(identity.user, path)
        )
        token = self.tokens.get(identity.name) if identity.token else None
        if token is None or not token["privsep"]:
            return own
        granted = self._granted(identity.name, path)
        return {p: min(own[p], held) for p, held in granted.items() if p in own}

    def _granted(self, who: str, path: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for level in _levels(path):
            here = [e for e in self.acl.values() if e["ugid"] == who and e["path"] == level]
            here = [e for e in here if e["propagate"] or level == path]
            if here:
                found = self._of_roles(here)
        for entry in self._pool_entries(who, path):
            found |= self._of_roles([entry])
        return found

    def _of_roles(self, entries: list[Document]) -> dict[str, int]:
        if any(e["roleid"] == "NoAccess" for e in entries):
            return {}
        return {p: e["propagate"] for e in entries for p in self.role(e["roleid"]) or ()}

    def _pool_entries(self, who: str, path: str) -> list[Document]:
        member = path.removeprefix("/vms/") if path.startswith("/vms/") else ""
        pools = [name for name, doc in self.pools.items() if member in map(str, doc["vms"])]
        return [
            e
            for e in self.acl.values()
            if e["ugid"] == who and e["path"] in {f"/pool/{p}" for p in pools}
        ]

    def may(self, identity: Identity, path: str, *privileges: str) -> bool:
        """Whether all of them are held at `path`."""
        held = self.privileges(identity, path)
        return all(p in held for p in privileges)

    def may_any(self, identity: Identity, path: str, *privileges: str) -> bool:
        held = self.privileges(identity, path)
        return any(p in held for p in privileges)


def _levels(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    return ["/", *("/" + "/".join(parts[: n + 1]) for n in range(len(parts)))]


def tokens_of(tokens: Section, user: str) -> dict[str, Document]:
    """Token id to its document."""
    return {
        name.partition("!")[2]: doc for name, doc in tokens.items() if name.startswith(f"{user}!")
    }
