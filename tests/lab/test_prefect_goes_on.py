"""An operation goes on after an approval from elsewhere, and after all that served it died."""

from collections import Counter
from collections.abc import Generator

import pytest

from tests.labs import running_lab
from tests.serving import Serving, serving
from tests.sweeping import small_site

NETWORK = "127.51.0.0/16"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Serving]:
    folder = tmp_path_factory.mktemp("goes-on")
    more = ["--site", str(small_site(folder))]
    with running_lab(folder, network=NETWORK, more=more) as lab, serving(lab) as served:
        yield served


def test_a_served_run_survives_a_foreign_approval_and_the_death_of_its_host(served: Serving):
    run = served.run(mode="apply", until="etcd")
    operation = served.waiting(run)

    said = served.lab.windlass("approve", operation.id, "--hash", operation.plan_hash)

    assert said.returncode == 0, said.stderr
    assert "its run goes on" in said.stdout
    served.until_done(operation.id, 3)
    assert [one.by for one in served.journal.approvals(operation.id)] != ["prefect-ui"]
    assert len(served.journal.approvals(operation.id)) == 1

    served.kill()
    served.start()

    assert served.journal.operation(operation.id).state.value == "parked"
    kind, _, message = served.api.state_of(run)
    assert (kind, message.split(":")[0]) == ("CRASHED", "ORPHANED")

    resumed = served.lab.windlass("resume", operation.id)

    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert served.journal.operation(operation.id).state.value == "done"
    once = Counter((e["verb"], e["target"]) for e in served.lab.effects("vm_create", "bootstrap"))
    assert once
    assert set(once.values()) == {1}
