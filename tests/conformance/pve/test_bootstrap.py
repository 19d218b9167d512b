"""What Windlass asks for while it makes a site, and what the lab answers, judged by the published contract."""

import json
from typing import Any

from tests.conformance.pve.verdict import answer_faults, request_faults
from tests.labs import RunningLab


def requests(lab: RunningLab) -> list[dict[str, Any]]:
    text = (lab.folder / "proxmox-requests.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_request_that_windlass_sends_is_valid(bootstrapped: RunningLab):
    sent = [one for one in requests(bootstrapped) if one["agent"].startswith("windlass/")]

    assert len(sent) > 50
    assert request_faults(sent) == set()


def test_every_answer_of_the_lab_is_as_the_contract_has_it(bootstrapped: RunningLab):
    answered = requests(bootstrapped)

    assert len(answered) > 50
    assert answer_faults(answered) == set()


def test_what_is_refused_in_the_middle_is_refused_as_proxmox_does_it(bootstrapped: RunningLab):
    """The site's token has been deleted: a plan that cannot even look."""
    before = len(requests(bootstrapped))
    bootstrapped.fault("pve-token-revoked")
    try:
        done = bootstrapped.windlass("bootstrap", str(bootstrapped.site_file))
    finally:
        bootstrapped.heal()

    asked = requests(bootstrapped)[before:]
    assert done.returncode != 0
    assert {one["status"] for one in asked} == {401}
    assert answer_faults(asked) == set()
