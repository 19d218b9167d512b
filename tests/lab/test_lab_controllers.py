"""The lab's controllers and kubelets on the lab's API: what a cluster does by itself."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.lab.gitops_fixture import SPEED, GitOpsLab, gitops, node
from tests.lab.workloads import IMAGE, make, pods_of, ready, waiting_reasons, workload
from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Access, ApiError, Ref, Resource
from windlass.lab.controllers.kubelet import Kubelet
from windlass.lab.controllers.objects import (
    condition,
    condition_holds,
    controller_reference,
    dig,
    items,
    pod_is_ready,
)
from windlass.lab.controllers.resources import (
    BUDGETS,
    CLAIMS,
    CONFIG_MAPS,
    DAEMON_SETS,
    DEFINITIONS,
    DEPLOYMENTS,
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    SLICES,
    STATEFUL_SETS,
    STORAGE_CLASSES,
    VOLUMES,
)

DRIVER_IMAGE = "ghcr.io/sergelogvinov/proxmox-csi-controller:v0.15.0"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitOpsLab]:
    with gitops(tmp_path_factory.mktemp("controllers"), "127.17.4.1") as lab:
        yield lab


@pytest.fixture
def lab(cluster: GitOpsLab) -> Iterator[GitOpsLab]:
    yield cluster
    cluster.clear()


def test_a_deployment_rolls_to_a_new_template_without_falling_below_its_limit(lab: GitOpsLab):
    body = workload(DEPLOYMENTS, "roll", replicas=4)
    make(lab, DEPLOYMENTS, body)
    lab.until("4 ready", lambda: ready(lab, "roll") == 4)
    ref, lowest = DEPLOYMENTS.ref("roll", "default"), [4]
    body["spec"]["template"]["spec"]["containers"][0]["image"] = IMAGE + "-next"
    change = {"spec": {"template": body["spec"]["template"]}}

    lab.do(lab.client.merge(ref, change))

    def done() -> bool:
        found = lab.do(lab.client.get(ref)) or {}
        lowest.append(ready(lab, "roll"))
        progress = condition(found, "Progressing") or {}
        return (
            dig(found, "status", "observedGeneration") == found["metadata"]["generation"]
            and dig(found, "status", "updatedReplicas") == 4
            and dig(found, "status", "replicas") == 4
            and progress.get("reason") == "NewReplicaSetAvailable"
        )

    lab.until("rolled out", done)
    assert min(lowest) >= 3
    sets = lab.do(lab.client.list(REPLICA_SETS, "default", labelSelector="app=roll"))
    assert sorted(one["spec"]["replicas"] for one in sets) == [0, 4]


def test_an_eviction_beyond_the_budget_is_refused_and_within_it_replaced(lab: GitOpsLab):
    make(lab, DEPLOYMENTS, workload(DEPLOYMENTS, "guarded", replicas=2))
    budget: dict[str, Any] = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "guarded", "namespace": "default"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "guarded"}}},
    }
    make(lab, BUDGETS, budget)
    ref = BUDGETS.ref("guarded", "default")
    lab.until("2 ready", lambda: ready(lab, "guarded") == 2)

    def status(name: str) -> Any:
        return dig(lab.do(lab.client.get(ref)), "status", name)

    lab.until("the budget counts", lambda: status("currentHealthy") == 2)
    name = pods_of(lab, "guarded")[0]["metadata"]["name"]

    with pytest.raises(ApiError) as refused:
        lab.do(lab.client.evict("default", name))

    assert refused.value.code == 429
    lab.do(lab.client.merge(ref, {"spec": {"minAvailable": 1}}))
    lab.until("one may go", lambda: status("disruptionsAllowed") == 1)
    lab.do(lab.client.evict("default", name))
    lab.until("it is gone", lambda: lab.do(lab.client.get(PODS.ref(name, "default"))) is None)
    lab.until("2 ready again", lambda: ready(lab, "guarded") == 2)


def test_a_stateful_set_makes_its_pods_in_order_with_volumes_of_a_running_driver(lab: GitOpsLab):
    storage: dict[str, Any] = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "disks"},
        "provisioner": "csi.proxmox.sinextra.dev",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    make(lab, STORAGE_CLASSES, storage)
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "storageClassName": "disks",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    make(
        lab,
        STATEFUL_SETS,
        workload(
            STATEFUL_SETS,
            "ordered",
            replicas=2,
            serviceName="ordered",
            volumeClaimTemplates=[claim],
        ),
    )
    first = PODS.ref("ordered-0", "default")

    lab.until("the first pod waits", lambda: lab.do(lab.client.get(first)) is not None)
    assert [one["metadata"]["name"] for one in pods_of(lab, "ordered")] == ["ordered-0"]
    make(lab, DEPLOYMENTS, workload(DEPLOYMENTS, "driver", image=DRIVER_IMAGE, replicas=1))
    lab.until("2 ready", lambda: ready(lab, "ordered") == 2)

    claims = lab.do(lab.client.list(CLAIMS, "default"))
    assert {dig(one, "status", "phase") for one in claims} == {"Bound"}
    lab.do(lab.client.delete(STATEFUL_SETS.ref("ordered", "default")))
    lab.until("the pods are gone", lambda: not pods_of(lab, "ordered"))
    for one in claims:
        lab.do(lab.client.delete(CLAIMS.of(one)))
    lab.until("the volumes are gone", lambda: not lab.do(lab.client.list(VOLUMES)))


def test_a_daemon_set_has_one_pod_on_each_node_and_none_where_its_selector_forbids(lab: GitOpsLab):
    make(lab, DAEMON_SETS, workload(DAEMON_SETS, "everywhere"))
    only = {"nodeSelector": {"kubernetes.io/hostname": "w-2"}}
    make(lab, DAEMON_SETS, workload(DAEMON_SETS, "somewhere", pod=only))

    lab.until("2 ready", lambda: ready(lab, "everywhere") == 2)
    lab.until("1 ready", lambda: ready(lab, "somewhere") == 1)

    assert {pod["spec"]["nodeName"] for pod in pods_of(lab, "everywhere")} == {"w-1", "w-2"}
    assert {pod["spec"]["nodeName"] for pod in pods_of(lab, "somewhere")} == {"w-2"}


def test_a_job_that_fails_too_often_is_failed(lab: GitOpsLab):
    lab.fault("pod-crash", namespace="default")
    job = workload(JOBS, "doomed", backoffLimit=1, pod={"restartPolicy": "Never"})
    del job["spec"]["selector"]
    make(lab, JOBS, job)

    ref = JOBS.ref("doomed", "default")

    lab.until("failed", lambda: condition_holds(lab.do(lab.client.get(ref)) or {}, "Failed"))
    found = lab.do(lab.client.get(ref)) or {}
    assert found["status"]["failed"] == 2


def test_a_crashing_container_backs_off(lab: GitOpsLab):
    lab.fault("pod-crash", namespace="default")
    make(lab, DEPLOYMENTS, workload(DEPLOYMENTS, "crash", replicas=1))

    lab.until("CrashLoopBackOff", lambda: waiting_reasons(lab, "crash") == {"CrashLoopBackOff"})
    lab.do(lab.client.delete(DEPLOYMENTS.ref("crash", "default")))


def test_an_image_that_cannot_be_pulled_is_waited_for(lab: GitOpsLab):
    image = "registry.example.org/absent:1"
    lab.fault("image-unavailable", image=image)
    make(lab, DEPLOYMENTS, workload(DEPLOYMENTS, "absent", image=image, replicas=1))

    lab.until("ImagePullBackOff", lambda: "ImagePullBackOff" in waiting_reasons(lab, "absent"))
    lab.clear()
    lab.until("1 ready", lambda: ready(lab, "absent") == 1)


def test_a_pod_that_fits_nowhere_says_why(lab: GitOpsLab):
    container = {"name": "main", "image": IMAGE, "resources": {"requests": {"cpu": "64"}}}
    body = workload(DEPLOYMENTS, "huge", replicas=1, pod={"containers": [container]})
    make(lab, DEPLOYMENTS, body)

    def message() -> str:
        found = [condition(pod, "PodScheduled") or {} for pod in pods_of(lab, "huge")]
        return found[0].get("message", "") if found else ""

    lab.until("a reason", lambda: message() != "")
    assert message() == "0/2 nodes are available: 2 Insufficient cpu."
    lab.do(lab.client.delete(DEPLOYMENTS.ref("huge", "default")))


def test_what_a_deleted_deployment_owned_goes_with_it(lab: GitOpsLab):
    make(lab, DEPLOYMENTS, workload(DEPLOYMENTS, "owner", replicas=2))
    lab.until("2 ready", lambda: ready(lab, "owner") == 2)

    lab.do(lab.client.delete(DEPLOYMENTS.ref("owner", "default")))

    lab.until("no pods", lambda: not pods_of(lab, "owner"))
    assert not lab.do(lab.client.list(REPLICA_SETS, "default", labelSelector="app=owner"))


def test_a_deleted_namespace_takes_everything_in_it_along(lab: GitOpsLab):
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "brief"}}
    make(lab, NAMESPACES, space)
    body = workload(DEPLOYMENTS, "inside", replicas=1)
    body["metadata"]["namespace"] = "brief"
    make(lab, DEPLOYMENTS, body)

    def pods() -> list[dict[str, Any]]:
        return lab.do(lab.client.list(PODS, "brief"))

    lab.until("a ready pod", lambda: any(pod_is_ready(pod) for pod in pods()))

    lab.do(lab.client.delete(NAMESPACES.ref("brief")))

    lab.until("gone", lambda: lab.do(lab.client.get(NAMESPACES.ref("brief"))) is None)
    assert not pods()


def test_a_service_knows_its_ready_pods(lab: GitOpsLab):
    make(lab, DEPLOYMENTS, workload(DEPLOYMENTS, "served", replicas=2))
    service: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "served", "namespace": "default"},
        "spec": {"selector": {"app": "served"}, "ports": [{"name": "http", "port": 80}]},
    }
    make(lab, SERVICES, service)

    def addresses() -> list[str]:
        found = lab.do(lab.client.get(SLICES.ref("served-lab", "default"))) or {}
        endpoints = items(found, "endpoints")
        return [one["addresses"][0] for one in endpoints if one["conditions"]["ready"]]

    lab.until("2 addresses", lambda: len(addresses()) == 2)
    wanted = {pod["status"]["podIP"] for pod in pods_of(lab, "served")}
    assert set(addresses()) == wanted


def test_a_silent_node_turns_unknown_and_comes_back(lab: GitOpsLab):
    ref = NODES.ref("w-2")

    def is_ready() -> str:
        found = condition(lab.do(lab.client.get(ref)) or {}, "Ready") or {}
        return found.get("status", "")

    lab.until("ready", lambda: is_ready() == "True")

    lab.fault("kubelet-silent", node="w-2")

    lab.until("unknown", lambda: is_ready() == "Unknown")

    def taints() -> set[str]:
        return {one["key"] for one in items(lab.do(lab.client.get(ref)) or {}, "spec", "taints")}

    lab.until("tainted", lambda: taints() == {"node.kubernetes.io/unreachable"})
    lab.clear()
    lab.until("ready again", lambda: is_ready() == "True" and not taints())


def test_a_restarted_machine_starts_its_containers_again(lab: GitOpsLab):
    access = Access(lab.api.url, lab.api.tls(lab.api.admin), "windlass-lab-test")
    before = node("w-3", 23)
    kubelet = Kubelet(access, Clock(SPEED), before)
    life = asyncio.run_coroutine_threadsafe(kubelet.run(), lab.loop)
    here = {"nodeSelector": {"kubernetes.io/hostname": "w-3"}}
    make(lab, DEPLOYMENTS, workload(DEPLOYMENTS, "stays", replicas=1, pod=here))
    lab.until("1 ready", lambda: ready(lab, "stays") == 1)
    (pod,) = pods_of(lab, "stays")
    log = kubelet.log("default", pod["metadata"]["name"], "main")
    assert log is not None
    assert "starting main" in log.after(0)[0]
    assert kubelet.log("default", pod["metadata"]["name"], "main", previous=True) is None

    life.cancel()
    again = Kubelet(access, Clock(SPEED), replace(before, boot_id="second"))
    life = asyncio.run_coroutine_threadsafe(again.run(), lab.loop)

    def restarts() -> list[int]:
        return [
            one["restartCount"]
            for found in pods_of(lab, "stays")
            for one in items(found, "status", "containerStatuses")
        ]

    lab.until("one restart", lambda: restarts() == [1] and ready(lab, "stays") == 1)
    assert pods_of(lab, "stays")[0]["metadata"]["uid"] == pod["metadata"]["uid"]
    life.cancel()
    lab.do(lab.client.delete(DEPLOYMENTS.ref("stays", "default")))
    lab.do(lab.client.delete(NODES.ref("w-3")))


def test_what_a_custom_object_owned_goes_with_its_definition(lab: GitOpsLab):
    names = {"plural": "widgets", "kind": "Widget"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    make(lab, DEFINITIONS, {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {"group": "example.org", "scope": "Cluster", "names": names, "versions": [version]},
    })  # fmt: skip
    widgets = Resource("example.org/v1", "widgets", "Widget", namespaced=False)

    def own(name: str) -> Ref:
        """A Widget that owns a ConfigMap of its name, which is returned."""
        body = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": name}}
        owner = lab.do(lab.client.create(widgets, body))
        reference = controller_reference(owner, "example.org/v1", "Widget")
        metadata = {"name": name, "namespace": "default", "ownerReferences": [reference]}
        make(lab, CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        return CONFIG_MAPS.ref(name, "default")

    def is_gone(ref: Ref) -> bool:
        return lab.do(lab.client.get(ref)) is None

    first = own("first")
    lab.do(lab.client.delete(widgets.ref("first")))
    lab.until("the collector knows the kind", lambda: is_gone(first))
    second = own("second")

    lab.do(lab.client.delete(DEFINITIONS.ref("widgets.example.org")))

    lab.until("it is gone", lambda: is_gone(second))
