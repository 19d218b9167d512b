"""Argo CD and the repository on a bad day, by the fault's name. One cluster, a layer of its own for each fault."""

import re
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.lab.faulty import SITE, FaultyLab, Outcome, faulty_lab
from windlass.cli import exits
from windlass.lab import homelab

NETWORK = "127.58.0.0/16"
# Of the real seconds that a layer may take where it is to come up.
PATIENT = 120
LAYERS = {
    "network": {"name": "network", "apply": ["k8s/infra/network"], "apps": ["cilium"]},
    "storage": {"name": "storage", "apply": ["k8s/infra/storage"], "apps": ["proxmox-csi"]},
    "database": {"name": "database", "apply": ["k8s/infra/database"], "apps": ["cnpg"]},
    "monitoring": {"name": "monitoring", "apply": ["k8s/infra/monitoring"], "apps": ["prometheus-stack"]},
    "auth": {"name": "auth", "apply": ["k8s/infra/auth"], "apps": ["authelia"]},
}  # fmt: skip
GITOPS_SITE = {
    **SITE,
    "cluster": {**SITE["cluster"], "cni": "none"},
    "gitops": {
        "repo": "https://git.example.org/homelab", "revision": "main", "cni": homelab.CNI,
        "argocd": homelab.ARGOCD, "layers": [LAYERS["network"]],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[FaultyLab]:
    """A lab whose Argo CD runs and has no Application yet."""
    with faulty_lab(tmp_path_factory.mktemp("argocd"), NETWORK, GITOPS_SITE) as found:
        done = found.boot("--until", "argocd")
        assert done.state == "done", done.said
        yield found


@pytest.fixture
def lab(cluster: FaultyLab) -> Generator[FaultyLab]:
    yield cluster
    cluster.heal()


def to_come(lab: FaultyLab, layer: str, *before: str) -> None:
    """The site has these layers and no other; all but the last, which no other test brings up, stand already."""
    lab.hurry(rollout=PATIENT)
    lab.describe(gitops__layers=[LAYERS[name] for name in (*before, layer)])
    for name in before:
        stood = lab.boot("--until", name)
        assert stood.code == exits.DONE, stood.said


def failed_at(outcome: Outcome, gate: str) -> bool:
    return (outcome.code, outcome.state) == (exits.FAILED, "failed") and (
        outcome.steps[gate]["state"] == "failed"
    )


def test_a5_a_repository_that_is_gone_before_the_plan_stops_it_and_touches_nothing(
    lab: FaultyLab,
):
    to_come(lab, "network")
    before, operations = lab.effects(), lab.json("history")
    repository = Path(lab.contract["git"]["path"])
    away = repository.rename(repository.with_suffix(".away"))

    refused = lab.boot("--until", "network")
    away.rename(repository)

    assert refused.code == exits.REFUSED
    assert f"'{repository}' does not appear to be a git repository" in refused.said
    assert lab.effects() == before
    assert lab.json("history") == operations


def test_a5_a_repository_that_argo_cd_cannot_read_blocks_its_layer_with_argo_cds_words(
    lab: FaultyLab,
):
    to_come(lab, "network")
    lab.hurry(rollout=5)
    lab.fault("git-unreachable")

    failed = lab.boot("--until", "network")
    struck = lab.fired("git-unreachable")
    lab.heal()
    lab.hurry(rollout=PATIENT)
    done = lab.resume(failed.operation)

    assert struck > 0
    assert failed_at(failed, "argocd.app/cilium")
    # Every set meets the same wall; which one is shown depends on what stands already.
    shown = re.search(
        r"Application cilium does not exist yet; ApplicationSet (\w+): failed to list refs: (\S+): "
        r"dial tcp: connect: connection refused",
        failed.message,
    )
    assert shown is not None, failed.message
    assert shown[1] in LAYERS
    assert shown[2] == f"file://{lab.contract['git']['path']}"
    assert (done.code, done.state) == (exits.DONE, "done")


@pytest.mark.parametrize(
    ("fault", "layers", "app", "says"),
    [
        ("argocd-degraded", ("database",), "cnpg", "health is Degraded"),
        (
            "argocd-progressing-forever",
            ("monitoring", "storage"),
            "prometheus-stack",
            "health is Progressing",
        ),
    ],
)
def test_a2_an_application_that_is_synced_and_not_healthy_does_not_pass(
    lab: FaultyLab, fault: str, layers: tuple[str, ...], app: str, says: str
):
    to_come(lab, *layers)
    lab.hurry(rollout=5)
    lab.fault(fault, f"app={app}")

    failed = lab.boot("--until", layers[0])
    struck = lab.fired(fault)
    lab.heal()
    lab.hurry(rollout=PATIENT)
    done = lab.resume(failed.operation)

    assert struck > 0
    assert failed_at(failed, f"argocd.app/{app}")
    assert f"gave up waiting for argocd.app/{app}: {app}: {says}" in failed.message
    assert (done.code, done.state) == (exits.DONE, "done")


def test_a1_a_failed_sync_stops_its_layer_and_its_message_is_kept(lab: FaultyLab):
    to_come(lab, "auth", "storage")
    lab.hurry(rollout=60)
    lab.fault("argocd-sync-failed", "app=authelia", "message=the webhook said no")

    failed = lab.boot()

    assert lab.fired("argocd-sync-failed") > 0
    assert failed_at(failed, "argocd.app/authelia")
    assert "authelia: the sync ended as Failed: the webhook said no" in failed.message
    assert failed.steps["acceptance.namespace/windlass-acceptance"]["state"] == "pending"
