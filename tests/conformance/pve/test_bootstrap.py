"""What Windlass asks for while it makes a site, and what the lab answers, judged by the published contract."""

import json
from collections.abc import Generator
from typing import Any

import pytest

from tests.conformance.pve.verdict import answer_faults, request_faults
from tests.labs import RunningLab, running_lab

NETWORK = "127.64.0.0/16"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningLab]:
    """A lab in which Windlass has made and started every VM of the default site."""
    with running_lab(tmp_path_factory.mktemp("contract"), network=NETWORK) as lab:
        done = lab.bootstrap("--until", "vms")
        assert done.returncode == 0, done.stdout + done.stderr
        yield lab


def requests(lab: RunningLab) -> list[dict[str, Any]]:
    text = (lab.folder / "proxmox-requests.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_request_that_windlass_sends_is_valid(lab: RunningLab):
    sent = [one for one in requests(lab) if one["agent"].startswith("windlass/")]

    assert len(sent) > 50
    assert request_faults(sent) == set()


def test_every_answer_of_the_lab_is_as_the_contract_has_it(lab: RunningLab):
    answered = requests(lab)

    assert len(answered) > 50
    assert answer_faults(answered) == set()


def test_what_is_refused_in_the_middle_is_refused_as_proxmox_does_it(lab: RunningLab):
    """Another token than the site's: a plan that cannot even look."""
    before = len(requests(lab))
    lab.fault("pve-token-revoked")
    done = lab.windlass("bootstrap", str(lab.site_file))
    lab.heal()

    asked = requests(lab)[before:]
    assert done.returncode != 0
    assert {one["status"] for one in asked} == {401}
    assert answer_faults(asked) == set()
