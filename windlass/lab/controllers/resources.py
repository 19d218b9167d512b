"""The resources the controllers work with."""

from windlass.lab.controllers.access import Resource

PODS = Resource("v1", "pods", "Pod")
NODES = Resource("v1", "nodes", "Node", namespaced=False)
NAMESPACES = Resource("v1", "namespaces", "Namespace", namespaced=False)
EVENTS = Resource("v1", "events", "Event")
SERVICES = Resource("v1", "services", "Service")
CONFIG_MAPS = Resource("v1", "configmaps", "ConfigMap")
SECRETS = Resource("v1", "secrets", "Secret")
SERVICE_ACCOUNTS = Resource("v1", "serviceaccounts", "ServiceAccount")
CLAIMS = Resource("v1", "persistentvolumeclaims", "PersistentVolumeClaim")
VOLUMES = Resource("v1", "persistentvolumes", "PersistentVolume", namespaced=False)
STORAGE_CLASSES = Resource("storage.k8s.io/v1", "storageclasses", "StorageClass", namespaced=False)
CSI_NODES = Resource("storage.k8s.io/v1", "csinodes", "CSINode", namespaced=False)
LEASES = Resource("coordination.k8s.io/v1", "leases", "Lease")
DEPLOYMENTS = Resource("apps/v1", "deployments", "Deployment")
REPLICA_SETS = Resource("apps/v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Resource("apps/v1", "statefulsets", "StatefulSet")
DAEMON_SETS = Resource("apps/v1", "daemonsets", "DaemonSet")
JOBS = Resource("batch/v1", "jobs", "Job")
BUDGETS = Resource("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget")
SLICES = Resource("discovery.k8s.io/v1", "endpointslices", "EndpointSlice")
DEFINITIONS = Resource(
    "apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", False
)
APPLICATIONS = Resource("argoproj.io/v1alpha1", "applications", "Application")
APPLICATION_SETS = Resource("argoproj.io/v1alpha1", "applicationsets", "ApplicationSet")
PROJECTS = Resource("argoproj.io/v1alpha1", "appprojects", "AppProject")
