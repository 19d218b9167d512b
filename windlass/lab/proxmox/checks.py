"""Permission checks of a call, before its parameters are looked at: small values, evaluated on raw parameters."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from windlass.lab.proxmox.access import Access, Identity
from windlass.lab.proxmox.refusals import Refusal, forbidden

Check = Callable[[Access, Identity, Mapping[str, Any]], None]


def everybody(_access: Access, _identity: Identity, _given: Mapping[str, Any]) -> None:
    """Any login will do."""


def perm(path: str, *privileges: str, needs: str = "") -> Check:
    """All privileges at `path`, whose `{names}` are parameters; without the parameter that it `needs` it fails."""

    def check(access: Access, identity: Identity, given: Mapping[str, Any]) -> None:
        if needs and needs not in given:
            raise forbidden()
        where = _filled(path, given)
        for privilege in privileges:
            if not access.may(identity, where, privilege):
                raise forbidden(f"{where}, {privilege}")

    return check


def perm_any(path: str, *privileges: str) -> Check:
    """One of the privileges at `path`."""

    def check(access: Access, identity: Identity, given: Mapping[str, Any]) -> None:
        where = _filled(path, given)
        if not access.may_any(identity, where, *privileges):
            raise forbidden(f"{where}, {'|'.join(privileges)}")

    return check


def both(*checks: Check) -> Check:
    """Every check, the first that fails speaks."""

    def check(access: Access, identity: Identity, given: Mapping[str, Any]) -> None:
        for one in checks:
            one(access, identity, given)

    return check


def either(*checks: Check) -> Check:
    """One of the checks; when none holds no reason is given."""

    def check(access: Access, identity: Identity, given: Mapping[str, Any]) -> None:
        for one in checks:
            try:
                return one(access, identity, given)
            except Refusal:
                continue
        raise forbidden()

    return check


def myself(_access: Access, identity: Identity, given: Mapping[str, Any]) -> None:
    """The caller is the user that the call is about; a token is nobody's self."""
    if identity.name != given.get("userid"):
        raise forbidden()


def _filled(path: str, given: Mapping[str, Any]) -> str:
    """As Proxmox VE fills it: a dash stands for what is missing, empty or `0`."""
    texts = {key: str(value) for key, value in given.items() if str(value) not in ("", "0")}
    return re.sub(r"{(\w+)}", lambda name: texts.get(name[1], "-"), path)


NETWORK = either(perm("/", "Sys.Audit", "Sys.Modify"), perm("/nodes/{node}", "Sys.AccessNetwork"))
STORAGE_READ = perm_any("/storage/{storage}", "Datastore.Audit", "Datastore.AllocateSpace")
AGENT = perm_any("/vms/{vmid}", "VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted")


def vm(privilege: str) -> Check:
    return perm("/vms/{vmid}", privilege)
