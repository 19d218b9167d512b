"""Tickets, permissions, users, tokens, roles and the access control list. Groups and realms are not simulated."""

import uuid
from typing import Any

from windlass.lab.proxmox.access import BUILT_IN, PRIVILEGES, Access, Identity, tokens_of
from windlass.lab.proxmox.checks import Check, both, either, everybody, myself, perm
from windlass.lab.proxmox.parameters import split_list
from windlass.lab.proxmox.refusals import Refusal, bad_parameter, bad_parameters, forbidden
from windlass.lab.proxmox.routing import Call, serves

USER = "/access/users/{userid}"
TOKEN = f"{USER}/token/{{tokenid}}"
_MODIFY = perm("/access/groups", "User.Modify")
_SELF = either(myself, _MODIFY)


@serves("GET", "/access/ticket", everybody, login=False)
async def ticket_form(_call: Call) -> Any:
    return None


@serves(
    "POST", "/access/ticket", everybody,
    "username:s(64) password:s realm?:realm(32) new-format?:b otp?:s path?:s(64)>privs privs?:s(64)>path tfa-challenge?:s",
    token=False, login=False, lacks=("otp", "path", "privs", "tfa-challenge"),
)  # fmt: skip
async def ticket(call: Call) -> Any:
    name = call.text("username")
    if "@" not in name:
        name = f"{name}@{call.text('realm', 'pam')}"
    access = call.dc.access
    found: dict[str, Any] = dict(access.log_in(name, call.text("password")))
    kinds = {"vms": "/vms", "storage": "/storage", "nodes": "/nodes", "access": "/access", "dc": "/", "sdn": "/sdn",
             "mapping": "/mapping"}  # fmt: skip
    cap = {
        kind: dict.fromkeys(access.privileges(Identity(name), path), 1)
        for kind, path in kinds.items()
    }
    return found | {"cap": cap, "clustername": "lab"}


@serves("GET", "/access/domains", everybody, login=False)
async def domains(_call: Call) -> Any:
    return [
        {"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"},
        {
            "realm": "pve",
            "type": "pve",
            "comment": "Proxmox VE authentication server",
            "default": 1,
        },
    ]


@serves("GET", "/access/permissions", everybody, "path?:s userid?:user-or-token")
async def permissions(call: Call) -> Any:
    access, who = call.dc.access, call.identity
    if asked := call.text("userid"):
        if asked != who.name and not access.may(who, "/access", "Sys.Audit"):
            raise forbidden("/access, Sys.Audit")
        user, _, token = asked.partition("!")
        who = Identity(user, token or None)
    if path := call.text("path"):
        return {path: access.privileges(who, path)}
    tops = [
        "/",
        "/access",
        "/access/groups",
        "/mapping",
        "/nodes",
        "/pool",
        "/sdn",
        "/storage",
        "/vms",
    ]
    paths = dict.fromkeys([*tops, *(entry["path"] for entry in access.acl.values())])
    return {path: held for path in paths if (held := access.privileges(who, path))}


def _shown_user(access: Access, name: str) -> dict[str, Any]:
    doc = access.users[name]
    return {
        key: value for key, value in doc.items() if key != "password" and value not in ("", None)
    }


@serves("GET", "/access/users", everybody, "enabled?:b full?:b", lacks=("full",))
async def users(call: Call) -> Any:
    access = call.dc.access
    sees_all = access.may(call.identity, "/access/groups", "User.Modify") or access.may(
        call.identity, "/access/groups", "Sys.Audit"
    )
    names = [
        name for name, doc in access.users.items()
        if (sees_all or name == call.identity.user)
        and ("enabled" not in call.given or call.flag("enabled") == bool(doc["enable"]))
    ]  # fmt: skip
    return [{"userid": name, **_shown_user(access, name)} for name in names]


@serves(
    "POST", "/access/users", both(perm("/access/realm/pve", "Realm.AllocateUser"), _MODIFY),
    "userid:userid(64) comment?:s(2048) email?:email-opt(254) enable?:b expire?:i(0..) firstname?:s(1024)"
    " groups?:groupid-list keys?:second-factors lastname?:s(1024) password?:s(8..64)",
    lacks=("groups", "keys"),
)  # fmt: skip
async def create_user(call: Call) -> Any:
    name = call.text("userid")
    if name in call.dc.access.users:
        raise Refusal(f"create user failed: user '{name}' already exists")
    doc = {key: value for key, value in call.given.items() if key != "userid"}
    call.dc.access.users[name] = {"enable": 1, "password": None} | doc
    call.dc.world.oplog.append(
        "user_create", f"user/{name}", before=None, after={}, actor=call.actor
    )


def _user(call: Call) -> str:
    name = call.text("userid")
    if name not in call.dc.access.users:
        raise Refusal(f"no such user ('{name}')")
    return name


@serves(
    "GET", USER, either(perm("/access/groups", "User.Modify"), perm("/access/groups", "Sys.Audit"))
)
async def user(call: Call) -> Any:
    name = _user(call)
    found = tokens_of(call.dc.access.tokens, name)
    return _shown_user(call.dc.access, name) | {
        "tokens": {t: _shown_token(doc) for t, doc in found.items()}
    }


@serves("DELETE", USER, both(perm("/access/realm/pve", "Realm.AllocateUser"), _MODIFY))
async def delete_user(call: Call) -> Any:
    access, name = call.dc.access, _user(call)
    for token in tokens_of(access.tokens, name):
        del access.tokens[f"{name}!{token}"]
    for key, entry in list(access.acl.items()):
        if entry["ugid"].partition("!")[0] == name:
            del access.acl[key]
    del access.users[name]
    call.dc.world.oplog.append(
        "user_delete", f"user/{name}", before={}, after=None, actor=call.actor
    )


def _shown_token(doc: dict[str, Any]) -> dict[str, Any]:
    found = {"privsep": doc["privsep"], "expire": doc["expire"]}
    return found | ({"comment": doc["comment"]} if doc.get("comment") else {})


@serves("GET", f"{USER}/token", _SELF)
async def tokens(call: Call) -> Any:
    found = tokens_of(call.dc.access.tokens, _user(call))
    return [{"tokenid": name, **_shown_token(doc)} for name, doc in found.items()]


@serves("GET", TOKEN, _SELF)
async def token(call: Call) -> Any:
    found = tokens_of(call.dc.access.tokens, _user(call)).get(call.text("tokenid"))
    if found is None:
        raise Refusal(f"no such token '{call.text('tokenid')}' for user '{call.text('userid')}'")
    return _shown_token(found)


@serves("POST", TOKEN, _SELF, "comment?:s expire?:i(0..) privsep?:b")
async def create_token(call: Call) -> Any:
    name, secret = f"{_user(call)}!{call.text('tokenid')}", str(uuid.uuid4())
    if name in call.dc.access.tokens:
        raise bad_parameter("tokenid", "Token already exists.")
    doc = {
        "privsep": call.number("privsep", 1),
        "expire": call.number("expire"),
        "comment": call.text("comment"),
    }
    call.dc.access.tokens[name] = doc | {"secret": secret}
    call.dc.world.oplog.append(
        "token_create",
        f"token/{name}",
        before=None,
        after={"privsep": doc["privsep"]},
        actor=call.actor,
    )
    return {"full-tokenid": name, "value": secret, "info": _shown_token(doc)}


@serves("DELETE", TOKEN, _SELF)
async def delete_token(call: Call) -> Any:
    name = f"{_user(call)}!{call.text('tokenid')}"
    if name not in call.dc.access.tokens:
        raise Refusal(f"no such token '{call.text('tokenid')}' for user '{call.text('userid')}'")
    del call.dc.access.tokens[name]
    call.dc.world.oplog.append(
        "token_delete", f"token/{name}", before={}, after=None, actor=call.actor
    )


# Roles and the access control list


@serves("GET", "/access/roles", everybody)
async def roles(call: Call) -> Any:
    own = {name: frozenset[str](doc["privs"]) for name, doc in call.dc.access.roles.items()}
    return [
        {"roleid": name, "privs": ",".join(sorted(held))}
        | ({"special": 1} if name in BUILT_IN else {})
        for name, held in (BUILT_IN | own).items()
    ]


@serves("GET", "/access/roles/{roleid}", everybody)
async def role(call: Call) -> Any:
    held = call.dc.access.role(call.text("roleid"))
    if held is None:
        raise Refusal(f"role '{call.text('roleid')}' does not exist")
    return dict.fromkeys(sorted(held), 1)


def _privileges(text: str) -> list[str]:
    found = [p for p in text.replace(";", ",").replace(" ", ",").split(",") if p]
    for privilege in found:
        if privilege not in PRIVILEGES:
            raise bad_parameter("privs", f"invalid privilege '{privilege}'")
    return sorted(found)


@serves("POST", "/access/roles", perm("/access", "Sys.Modify"), "roleid:roleid privs?:s")
async def create_role(call: Call) -> Any:
    name = call.text("roleid")
    if call.dc.access.role(name) is not None:
        raise Refusal(f"create role failed: role '{name}' already exists")
    call.dc.access.roles[name] = {"privs": _privileges(call.text("privs"))}
    call.dc.world.oplog.append(
        "role_create", f"role/{name}", before=None, after={}, actor=call.actor
    )


@serves("PUT", "/access/roles/{roleid}", perm("/access", "Sys.Modify"), "append?:b>privs privs?:s")
async def update_role(call: Call) -> Any:
    name, roles_ = call.text("roleid"), call.dc.access.roles
    if name not in roles_:
        raise Refusal(
            f"auto-generated role '{name}' cannot be modified"
            if name in BUILT_IN
            else f"role '{name}' does not exist"
        )
    before: list[str] = roles_[name]["privs"] if call.flag("append") else []
    roles_[name] = {"privs": sorted({*before, *_privileges(call.text("privs"))})}
    call.dc.world.oplog.append(
        "role_update", f"role/{name}", before=None, after=None, actor=call.actor
    )


@serves("DELETE", "/access/roles/{roleid}", perm("/access", "Sys.Modify"))
async def delete_role(call: Call) -> Any:
    name = call.text("roleid")
    if name not in call.dc.access.roles:
        raise Refusal(f"role '{name}' does not exist")
    del call.dc.access.roles[name]
    call.dc.world.oplog.append(
        "role_delete", f"role/{name}", before={}, after=None, actor=call.actor
    )


@serves("GET", "/access/acl", everybody)
async def acl(call: Call) -> Any:
    access = call.dc.access
    return [
        entry for entry in access.acl.values()
        if access.may_any(call.identity, entry["path"], "Permissions.Modify", "Sys.Audit")
    ]  # fmt: skip


def _may_modify(access: Access, identity: Identity, given: Any) -> None:
    path = str(given.get("path", "/"))
    also = {"storage": "Datastore.Allocate", "vms": "VM.Allocate", "pool": "Pool.Allocate"}.get(
        path.strip("/").partition("/")[0]
    )
    if not access.may_any(identity, path, "Permissions.Modify", *([also] if also else [])):
        raise forbidden(f"{path}, Permissions.Modify")


_ACL: Check = _may_modify


@serves(
    "PUT", "/access/acl", _ACL,
    "path:s roles:roleid-list delete?:b propagate?:b groups?:groupid-list tokens?:full-tokenid-list users?:userid-list",
    lacks=("groups",),
)  # fmt: skip
async def update_acl(call: Call) -> Any:
    access = call.dc.access
    subjects = split_list(f"{call.text('users')},{call.text('tokens')}")
    if not subjects:
        wrong = "either 'users', 'groups' or 'tokens' is required."
        raise bad_parameters(dict.fromkeys(("users", "groups", "tokens"), wrong))
    for who in subjects:
        if who not in access.users and who not in access.tokens:
            raise Refusal(f"user '{who}' does not exist")
        for name in split_list(call.text("roles")):
            if access.role(name) is None:
                raise Refusal(f"role '{name}' does not exist")
            if call.flag("delete"):
                access.acl.pop(f"{call.text('path')} {who} {name}", None)
            else:
                access.grant(
                    call.text("path"), who, name, propagate=call.flag("propagate", default=True)
                )
    call.dc.world.oplog.append(
        "acl_update",
        f"acl{call.text('path')}",
        before=None,
        after=call.text("roles"),
        actor=call.actor,
    )
