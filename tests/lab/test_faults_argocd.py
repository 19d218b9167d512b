"""Argo CD and the repository on a bad day, by the fault's name. One cluster, a layer of its own for each fault."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.lab.faulty import SITE, FaultyLab, Outcome, faulty_lab
from windlass.cli import exits
from windlass.lab import homelab

NETWORK = "127.58.0.0/16"
LAYERS = [
    {"name": "network", "apply": ["k8s/infra/network"], "apps": ["cilium"]},
    {"name": "storage", "apply": ["k8s/infra/storage"], "apps": ["proxmox-csi"]},
    {"name": "monitoring", "apply": ["k8s/infra/monitoring"], "apps": ["prometheus-stack"]},
    {"name": "auth", "apply": ["k8s/infra/auth"], "apps": ["authelia"]},
]
GITOPS_SITE = {
    **SITE,
    "cluster": {**SITE["cluster"], "cni": "none"},
    "gitops": {
        "repo": "https://git.example.org/homelab", "revision": "main", "cni": homelab.CNI,
        "argocd": homelab.ARGOCD, "layers": LAYERS,
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
    cluster.hurry(rollout=5)
    yield cluster
    cluster.heal()


def failed_at(outcome: Outcome, gate: str) -> bool:
    return (outcome.code, outcome.state) == (exits.FAILED, "failed") and (
        outcome.steps[gate]["state"] == "failed"
    )


def test_a5_a_repository_that_is_gone_before_the_plan_stops_it_and_touches_nothing(
    lab: FaultyLab,
):
    before = len(lab.effects())
    repository = Path(lab.contract["git"]["path"])
    away = repository.rename(repository.with_suffix(".away"))

    failed = lab.boot("--until", "network")
    away.rename(repository)

    assert failed.code != exits.DONE
    assert "homelab" in failed.said
    assert len(lab.effects()) == before


def test_a5_a_repository_that_argo_cd_cannot_read_blocks_its_layer_with_argo_cds_words(
    lab: FaultyLab,
):
    lab.fault("git-unreachable")

    failed = lab.boot("--until", "network")
    lab.heal()
    lab.hurry(rollout=120)
    done = lab.resume(failed.operation)

    assert failed_at(failed, "argocd.app/cilium")
    assert "Application cilium does not exist yet; ApplicationSet network: " in failed.message
    assert (done.code, done.state) == (exits.DONE, "done")


@pytest.mark.parametrize(
    ("fault", "layer", "app", "says"),
    [
        ("argocd-degraded", "storage", "proxmox-csi", "health is Degraded"),
        ("argocd-progressing-forever", "monitoring", "prometheus-stack", "health is Progressing"),
    ],
)
def test_a2_an_application_that_is_synced_and_not_healthy_does_not_pass(
    lab: FaultyLab, fault: str, layer: str, app: str, says: str
):
    lab.fault(fault, f"app={app}")

    failed = lab.boot("--until", layer)

    assert failed_at(failed, f"argocd.app/{app}")
    assert f"gave up waiting for argocd.app/{app}: {app}: {says}" in failed.message


def test_a1_a_failed_sync_stops_its_layer_and_its_message_is_kept(lab: FaultyLab):
    lab.hurry(rollout=60)
    lab.fault("argocd-sync-failed", "app=authelia", "message=the webhook said no")

    failed = lab.boot()

    assert failed_at(failed, "argocd.app/authelia")
    assert "authelia: the sync ended as Failed: the webhook said no" in failed.message
    assert failed.steps["acceptance.namespace/windlass-acceptance"]["state"] == "pending"
