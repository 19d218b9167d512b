"""Which resources the API serves: names, scopes, short names and subresources, by hand.

No package carries this table. Custom resources join it while their definition exists.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from windlass.lab.kubernetes.status import Subject

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
STATUS = ("get", "patch", "update")


@dataclass(frozen=True)
class Resource:
    """One collection under one group and version.

    `subresources` are the names served below an object; `definition` is the schema's name for a built-in kind.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...] = ALL_VERBS
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    singular: str = ""
    definition: str = ""
    custom: bool = field(default=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage(self) -> str:
        """All versions of a resource share their objects under this key."""
        return f"{self.group}/{self.plural}"

    def about(self, name: str = "") -> Subject:
        return Subject(self.group, self.plural, self.kind, name)


# group, version, then lines of: plural Kind N|C short,names|- categories|- subresources|-
_TABLE = """
 v1
bindings Binding N - - - create
configmaps ConfigMap N cm - -
endpoints Endpoints N ep - -
events Event N ev - -
limitranges LimitRange N limits - -
namespaces Namespace C ns - finalize,status create,delete,get,list,patch,update,watch
nodes Node C no - status
persistentvolumeclaims PersistentVolumeClaim N pvc - status
persistentvolumes PersistentVolume C pv - status
pods Pod N po all binding,ephemeralcontainers,eviction,log,resize,status
podtemplates PodTemplate N - - -
replicationcontrollers ReplicationController N rc all scale,status
resourcequotas ResourceQuota N quota - status
secrets Secret N - - -
serviceaccounts ServiceAccount N sa - token
services Service N svc all status
apiregistration.k8s.io v1
apiservices APIService C - api-extensions status
apps v1
controllerrevisions ControllerRevision N - - -
daemonsets DaemonSet N ds all status
deployments Deployment N deploy all scale,status
replicasets ReplicaSet N rs all scale,status
statefulsets StatefulSet N sts all scale,status
authentication.k8s.io v1
selfsubjectreviews SelfSubjectReview C - - - create
tokenreviews TokenReview C - - - create
authorization.k8s.io v1
localsubjectaccessreviews LocalSubjectAccessReview N - - - create
selfsubjectaccessreviews SelfSubjectAccessReview C - - - create
selfsubjectrulesreviews SelfSubjectRulesReview C - - - create
subjectaccessreviews SubjectAccessReview C - - - create
autoscaling v2
horizontalpodautoscalers HorizontalPodAutoscaler N hpa all status
batch v1
cronjobs CronJob N cj all status
jobs Job N - all status
certificates.k8s.io v1
certificatesigningrequests CertificateSigningRequest C csr - approval,status
networking.k8s.io v1
ingressclasses IngressClass C - - -
ingresses Ingress N ing - status
networkpolicies NetworkPolicy N netpol - -
policy v1
poddisruptionbudgets PodDisruptionBudget N pdb - status
rbac.authorization.k8s.io v1
clusterrolebindings ClusterRoleBinding C - - -
clusterroles ClusterRole C - - -
rolebindings RoleBinding N - - -
roles Role N - - -
storage.k8s.io v1
csidrivers CSIDriver C - - -
csinodes CSINode C - - -
csistoragecapacities CSIStorageCapacity N - - -
storageclasses StorageClass C sc - -
volumeattachments VolumeAttachment C - - status
admissionregistration.k8s.io v1
mutatingwebhookconfigurations MutatingWebhookConfiguration C - api-extensions -
validatingadmissionpolicies ValidatingAdmissionPolicy C - api-extensions status
validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding C - api-extensions -
validatingwebhookconfigurations ValidatingWebhookConfiguration C - api-extensions -
apiextensions.k8s.io v1
customresourcedefinitions CustomResourceDefinition C crd,crds api-extensions status
scheduling.k8s.io v1
priorityclasses PriorityClass C pc - -
coordination.k8s.io v1
leases Lease N - - -
node.k8s.io v1
runtimeclasses RuntimeClass C - - -
discovery.k8s.io v1
endpointslices EndpointSlice N - - -
"""

# Where the schema's names differ from io.k8s.api.<first label of the group>.
_DEFINITIONS = {
    "": "io.k8s.api.core",
    "apiregistration.k8s.io": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
    "apiextensions.k8s.io": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
}

# Kinds that only subresources send and receive.
SUBRESOURCE_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "eviction": ("policy", "v1", "Eviction"),
    "binding": ("", "v1", "Binding"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}
SUBRESOURCE_VERBS = {
    "binding": ("create",),
    "eviction": ("create",),
    "token": ("create",),
    "log": ("get",),
    "finalize": ("update",),
}


def definition_name(group: str, version: str, kind: str) -> str:
    prefix = _DEFINITIONS.get(group) or f"io.k8s.api.{group.partition('.')[0]}"
    return f"{prefix}.{version}.{kind}"


def _items(text: str) -> tuple[str, ...]:
    return () if text == "-" else tuple(text.split(","))


def _built_in() -> Iterator[Resource]:
    group, version = "", "v1"
    for line in _TABLE.strip("\n").splitlines():
        if line.count(" ") == 1:
            group, version = line.split(" ")
            continue
        plural, kind, scope, short, categories, below, *verbs = line.split()
        yield Resource(
            group=group,
            version=version,
            plural=plural,
            kind=kind,
            namespaced=scope == "N",
            verbs=_items(verbs[0]) if verbs else ALL_VERBS,
            short=_items(short),
            categories=_items(categories),
            subresources=_items(below),
            singular=kind.lower(),
            definition=definition_name(group, version, kind),
        )


class Registry:
    """All resources by group, version and plural; custom ones come and go."""

    def __init__(self) -> None:
        self._built_in = {(r.group, r.version, r.plural): r for r in _built_in()}
        self._custom: dict[tuple[str, str, str], Resource] = {}
        self._by_definition: dict[str, list[Resource]] = {}

    def get(self, group: str, version: str, plural: str) -> Resource | None:
        key = (group, version, plural)
        return self._built_in.get(key) or self._custom.get(key)

    def __iter__(self) -> Iterator[Resource]:
        yield from self._built_in.values()
        yield from self._custom.values()

    def groups(self) -> dict[str, list[str]]:
        """Group to its versions, the preferred one first."""
        found: dict[str, list[str]] = {}
        for resource in self:
            versions = found.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
        return found

    def of_version(self, group: str, version: str) -> list[Resource]:
        return [r for r in self if (r.group, r.version) == (group, version)]

    def serve(self, definition: str, resources: Iterable[Resource]) -> None:
        """A custom resource definition is established, or changed."""
        self.withdraw(definition)
        served = list(resources)
        self._by_definition[definition] = served
        for resource in served:
            self._custom[resource.group, resource.version, resource.plural] = resource

    def withdraw_all(self) -> None:
        for definition in list(self._by_definition):
            self.withdraw(definition)

    def withdraw(self, definition: str) -> list[Resource]:
        gone = self._by_definition.pop(definition, [])
        for resource in gone:
            self._custom.pop((resource.group, resource.version, resource.plural), None)
        return gone
