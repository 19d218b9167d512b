"""What a pod waits for before it runs, and what it says when it falls."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.gitops_fixture import SPEED, GitOpsLab, gitops, node
from tests.lab.workloads import (
    IMAGE,
    keyed,
    make,
    pods_of,
    ready,
    waiting_messages,
    waiting_reasons,
    with_environment,
    workload,
)
from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Access
from windlass.lab.controllers.kubelet import Kubelet
from windlass.lab.controllers.objects import (
    condition,
    dig,
)
from windlass.lab.controllers.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    NODES,
    PODS,
    SECRETS,
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitOpsLab]:
    with gitops(tmp_path_factory.mktemp("pods"), "127.17.8.1") as lab:
        yield lab


@pytest.fixture
def lab(cluster: GitOpsLab) -> Iterator[GitOpsLab]:
    yield cluster
    cluster.clear()


@pytest.mark.parametrize(
    ("name", "container", "said"),
    [
        ("no-secret", keyed("secretKeyRef", "absent"), 'secret "absent" not found'),
        ("no-map", keyed("configMapKeyRef", "absent"), 'configmap "absent" not found'),
        (
            "no-key",
            keyed("configMapKeyRef", "empty"),
            "couldn't find key x in ConfigMap default/empty",
        ),
        (
            "no-source",
            {"envFrom": [{"secretRef": {"name": "absent"}}]},
            'secret "absent" not found',
        ),
    ],
)
def test_a_container_without_its_environment_never_runs(
    lab: GitOpsLab, name: str, container: dict[str, Any], said: str
):
    metadata = {"name": "empty", "namespace": "default"}
    empty = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    lab.do(lab.client.create_if_absent(CONFIG_MAPS, empty))

    make(lab, DEPLOYMENTS, with_environment(name, container))

    lab.until("what it lacks", lambda: said in waiting_messages(lab, name))
    assert waiting_reasons(lab, name) == {"CreateContainerConfigError"}
    assert {dig(pod, "status", "phase") for pod in pods_of(lab, name)} == {"Pending"}


def test_a_container_runs_once_its_environment_is_there(lab: GitOpsLab):
    container = {
        "env": [
            *keyed("secretKeyRef", "later")["env"],
            *keyed("secretKeyRef", "never", optional=True)["env"],
        ],
        "envFrom": [{"configMapRef": {"name": "never", "optional": True}}],
    }
    make(lab, DEPLOYMENTS, with_environment("patient", container))
    lab.until("it waits", lambda: bool(waiting_messages(lab, "patient") - {""}))
    assert waiting_messages(lab, "patient") == {'secret "later" not found'}

    make(lab, SECRETS, {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later", "namespace": "default"},
        "stringData": {"x": "1"},
    })  # fmt: skip

    lab.until("ready", lambda: ready(lab, "patient") == 1)


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("no-projected-secret", {"secret": {"name": "absent"}}, 'secret "absent" not found'),
        (
            "no-projected-key",
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "x", "path": "x"}]}},
            "configmap references non-existent config key: x",
        ),
    ],
)
def test_a_projected_volume_waits_for_its_sources(
    lab: GitOpsLab, name: str, source: dict[str, Any], said: str
):
    volume = {"name": "all", "projected": {"sources": [source]}}
    body = with_environment(name, {})
    body["spec"]["template"]["spec"]["volumes"] = [volume]

    make(lab, DEPLOYMENTS, body)

    def messages() -> set[str]:
        found = pods_of(lab, name)
        return {(condition(pod, "Ready") or {}).get("message", "") for pod in found}

    lab.until(
        "the mount fails",
        lambda: messages() == {f'MountVolume.SetUp failed for volume "all" : {said}'},
    )
    assert waiting_reasons(lab, name) == {"ContainerCreating"}


@pytest.mark.parametrize(
    ("name", "spec", "beyond"),
    [
        (
            "keyed",
            {"topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "keyed"}}, "matchLabelKeys": ["pod-template-hash"],
            }]},
            "topologySpreadConstraints' matchLabelKeys",
        ),
        (
            "mismatched",
            {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "kubernetes.io/hostname", "mismatchLabelKeys": ["app"],
                "labelSelector": {"matchLabels": {"app": "mismatched"}},
            }]}}},
            "podAntiAffinity's mismatchLabelKeys",
        ),
    ],
)  # fmt: skip
def test_a_pod_with_wishes_beyond_the_scheduler_waits_and_is_told_so(
    lab: GitOpsLab, name: str, spec: dict[str, Any], beyond: str
):
    make(lab, DEPLOYMENTS, with_environment(name, {}))
    body = with_environment(f"{name}-too", {})
    body["spec"]["template"]["spec"] |= spec
    make(lab, DEPLOYMENTS, body)
    lab.until("the plain one runs", lambda: ready(lab, name) == 1)

    def said() -> list[str]:
        events = lab.do(lab.client.list(EVENTS, "default"))
        return [
            one["message"]
            for one in events
            if one["reason"] == "FailedScheduling"
            and one["involvedObject"]["name"].startswith(f"{name}-too")
        ]

    lab.until("it is told", lambda: said() == [f"the lab does not evaluate {beyond}"])
    assert {dig(pod, "status", "phase") for pod in pods_of(lab, f"{name}-too")} == {"Pending"}


def test_a_restarted_container_has_a_log_of_each_run(lab: GitOpsLab):
    access = Access(lab.api.url, lab.api.tls(lab.api.admin), "windlass-lab-test")
    faults = lab.api.world.faults
    kubelet = Kubelet(access, Clock(SPEED), node("w-4", 24), faults=faults)
    life = asyncio.run_coroutine_threadsafe(kubelet.run(), lab.loop)
    here = {"nodeSelector": {"kubernetes.io/hostname": "w-4"}}
    make(lab, DEPLOYMENTS, workload(DEPLOYMENTS, "falls", replicas=1, pod=here))
    lab.until("1 ready", lambda: ready(lab, "falls") == 1)
    (pod,) = pods_of(lab, "falls")
    name = pod["metadata"]["name"]
    lab.fault("pod-crash", namespace="default")
    lab.do(lab.client.delete(PODS.of(pod)))
    lab.until("it falls", lambda: "CrashLoopBackOff" in waiting_reasons(lab, "falls"))
    (fallen,) = [one["metadata"]["name"] for one in pods_of(lab, "falls")]
    lab.clear()

    def runs() -> list[list[str]]:
        found = [one["metadata"]["name"] for one in pods_of(lab, "falls")]
        logs = [
            kubelet.log("default", one, "main", previous=previous)
            for one in found
            if one != name
            for previous in (True, False)
        ]
        return [[line.partition(" ")[2] for line in log.after(0)] for log in logs if log]

    started = f"starting main from {IMAGE}"
    both = [[started, "panic: told to crash"], [started]]
    lab.until("it runs again", lambda: runs() == both and ready(lab, "falls") == 1)
    assert [one["metadata"]["name"] for one in pods_of(lab, "falls")] == [fallen]
    life.cancel()
    lab.do(lab.client.delete(DEPLOYMENTS.ref("falls", "default")))
    lab.do(lab.client.delete(NODES.ref("w-4")))
