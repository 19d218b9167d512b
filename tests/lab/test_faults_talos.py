"""Talos machines on a bad day, by the fault's name: what Windlass sends them, and what it does not."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tasks.connections import Connections
from tests.lab.faulty import FaultyLab, faulty_lab
from tests.sweeping import three_planes
from windlass.cli import exits
from windlass.models.load import load_site

NETWORK = "127.57.0.0/16"
MACHINES = ("--until", "machines")
ETCD = ("--until", "etcd")


@pytest.fixture
def lab(tmp_path: Path) -> Generator[FaultyLab]:
    with faulty_lab(tmp_path, NETWORK) as found:
        yield found


def test_t11_a_config_that_the_machine_does_not_accept_is_never_applied(lab: FaultyLab):
    lab.fault("talos-apply-rejected", "node=plane", "reason=unknown keys found during decoding")

    refused = lab.boot(*MACHINES)

    assert lab.fired("talos-apply-rejected") == 1
    assert (refused.code, refused.state, refused.reason) == (exits.REFUSED, "refused", "REFUSED")
    assert "unknown keys found during decoding" in refused.message
    assert refused.steps["talos.apply-config/plane"]["state"] == "failed"
    assert lab.count("apply_config", "machine/plane") == 0


def test_t12_a_machine_with_another_uuid_at_the_address_is_sent_nothing(lab: FaultyLab):
    lab.fault("talos-other-machine", "node=plane")

    failed = lab.boot(*MACHINES)

    assert lab.fired("talos-other-machine") >= 1
    assert (failed.code, failed.state) == (exits.FAILED, "failed")
    assert "the machine at 10.56.0.11 is not VM 5611" in failed.message
    assert failed.steps["talos.apply-config/plane"]["state"] == "pending"
    assert [line for line in lab.effects("apply_config") if "plane" in line["target"]] == []


def test_t12_an_impostor_with_another_certificate_than_first_seen_is_sent_nothing(lab: FaultyLab):
    before = {"WINDLASS_FAILPOINT": "talos.apply-config/plane:pre_intent=term"}
    parked = lab.boot(*MACHINES, env=before)
    lab.fault("talos-impostor", "node=plane")

    refused = lab.resume(parked.operation)

    assert lab.fired("talos-impostor") >= 1
    assert (refused.code, refused.state) == (exits.REFUSED, "refused")
    assert "fingerprint" in refused.message
    assert [line for line in lab.effects("apply_config") if "plane" in line["target"]] == []


def test_t13_a_bootstrap_without_an_answer_is_found_and_never_sent_again(lab: FaultyLab):
    lab.fault("talos-bootstrap-after", "node=plane", times=1)

    done = lab.boot(*ETCD)

    assert lab.fired("talos-bootstrap-after") == 1
    assert (done.code, done.state) == (exits.DONE, "done")
    assert lab.count("bootstrap") == 1


def test_t13_a_cluster_that_somebody_bootstrapped_elsewhere_is_not_bootstrapped_again(
    tmp_path: Path,
):
    with faulty_lab(tmp_path, NETWORK, three_planes()) as lab:
        before = {"WINDLASS_FAILPOINT": "talos.bootstrap-etcd/cp-1:pre_intent=term"}
        parked = lab.boot(*ETCD, env=before)
        assert (parked.state, lab.count("bootstrap")) == ("parked", 0)
        lab.hurry(etcd=2, ready=2)
        loaded = load_site(lab.site_file)
        with Connections(loaded, "somebody").talos(loaded.site.node("cp-2")) as talos:
            talos.bootstrap()

        after = lab.resume(parked.operation)

        assert lab.count("bootstrap") == 1
        assert [line["run"] for line in lab.oplog() if line["verb"] == "bootstrap"] == ["somebody"]
        # Its etcd may have joined the other one meanwhile; then the goal holds, and nothing was sent either.
        assert after.state in ("refused", "done")
