"""One API call as the server understood it: who, what, and how the answer should look."""

import re
from dataclasses import dataclass, field
from datetime import datetime

from windlass.lab.kubernetes.resources import Registry, Resource
from windlass.lab.kubernetes.status import bad_request, no_such_resource, not_implemented

_FALSE = ("0", "false")


@dataclass(frozen=True)
class User:
    """Who calls, by client certificate: the common name and the organizations."""

    name: str
    groups: tuple[str, ...] = ()

    # RBAC rules are not evaluated: these groups may do everything, others nothing.
    MASTERS = frozenset(
        {
            "system:masters",
            "system:nodes",
            "windlass:controllers",
        }
    )
    COMPONENTS = frozenset({"system:kube-controller-manager", "system:kube-scheduler"})

    @property
    def may_everything(self) -> bool:
        return self.name in self.COMPONENTS or bool(
            (self.MASTERS | self.COMPONENTS) & set(self.groups)
        )


@dataclass(frozen=True)
class Target:
    """What a path names. `namespace` is None for a list over all namespaces and for cluster-wide resources."""

    resource: Resource
    namespace: str | None
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.resource.storage, self.namespace or "", self.name


@dataclass(frozen=True)
class Call:
    """Everything about a call but its body. `now` is lab time; `doubled` says which keys its body says twice."""

    verb: str
    target: Target
    query: dict[str, str]
    user: User
    user_agent: str
    now: datetime
    content_type: str = ""
    accept: str = ""
    warnings: list[str] = field(default_factory=list[str])
    doubled: list[str] = field(default_factory=list[str])

    @property
    def timestamp(self) -> str:
        return rfc3339(self.now)

    @property
    def manager(self) -> str:
        return self.query.get("fieldManager") or self.user_agent.split("/")[0] or "unknown"

    @property
    def validation(self) -> str:
        found = self.query.get("fieldValidation") or "Warn"
        if found not in ("Strict", "Warn", "Ignore"):
            raise bad_request(f'invalid fieldValidation parameter: "{found}"')
        return found

    @property
    def dry_run(self) -> bool:
        found = self.query.get("dryRun", "")
        if found not in ("", "All"):
            raise bad_request(f'Invalid value: "{found}": dryRun')
        return found == "All"

    def flag(self, name: str) -> bool:
        return name in self.query and self.query[name].lower() not in _FALSE

    def number(self, name: str) -> int | None:
        text = self.query.get(name, "")
        if not text:
            return None
        try:
            return int(text)
        except ValueError as error:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


def rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


_PATH = re.compile(r"^/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))/(?P<rest>.+)$")
# Below a Namespace object, not inside the namespace.
_OF_NAMESPACE = ("status", "finalize")
_LACKING = ("proxy", "exec", "attach", "portforward")


def resolve(path: str, registry: Registry) -> Target:
    """The target of a resource path.

    Raises:
        ApiError: 404, nothing is served there.
    """
    found = _PATH.match(path)
    if found is None:
        raise no_such_resource()
    group, version = ("", "v1") if found["core"] else (found["group"], found["version"])
    parts = found["rest"].strip("/").split("/")
    namespace: str | None = None
    if (
        parts[0] == "namespaces"
        and len(parts) > 2
        and not (group == "" and len(parts) == 3 and parts[2] in _OF_NAMESPACE)
    ):
        namespace, parts = parts[1], parts[2:]
    if len(parts) > 2 and parts[2] in _LACKING:
        raise not_implemented(f"{parts[0]}/{parts[2]}")
    if len(parts) > 3:
        raise no_such_resource()
    plural, name, subresource = [*parts, "", ""][:3]
    resource = registry.get(group, version, plural)
    if resource is None or (namespace is not None and not resource.namespaced):
        raise no_such_resource()
    if name and resource.namespaced and namespace is None:
        raise no_such_resource()
    return Target(resource, namespace, name, subresource)
