"""A container's log in the lab is what was asked for of it."""

import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.lab.kubernetes_fixture import LabKubernetes, serving
from windlass.lab.controllers.logs import Log
from windlass.lab.kubernetes.logs import LogOptions, stream

POD = "/api/v1/namespaces/default/pods/p"


class Writer:
    """A pod on a node whose container has been restarted once."""

    def __init__(self, lab: LabKubernetes) -> None:
        self._lab = lab
        self.now, self.before = Log(), Log()
        self.is_there = True
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(lab.ca)
        self.session.cert = (str(lab.admin.certificate), str(lab.admin.key))
        lab.api.pod_logs = self.log_of

    def log_of(self, _space: str, _name: str, options: LogOptions) -> AsyncIterator[bytes] | None:
        log = self.before if options.previous else self.now
        return stream(log, options, lambda: self.is_there) if log.written else None

    def write(self, log: Log, text: str, *, seconds_ago: float = 0) -> None:
        when = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        line = f"{when.strftime('%Y-%m-%dT%H:%M:%S.%fZ')} {text}"
        self._lab.run(lambda: log.write(line))

    def end(self) -> None:
        self._lab.run(lambda: setattr(self.now, "has_ended", True))

    def get(self, **query: Any) -> requests.Response:
        return self.session.get(f"{self._lab.url}{POD}/log", params=query, timeout=10)

    def lines(self, **query: Any) -> list[str]:
        answer = self.get(**query)
        assert answer.status_code == 200, answer.text
        return answer.text.splitlines()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    with serving(tmp_path, "127.18.0.11") as lab:
        writer = Writer(lab)
        spec = {"nodeName": "n", "containers": [{"name": "c", "image": "nginx:1"}]}
        pods = f"{lab.url}/api/v1/namespaces/default/pods"
        made = writer.session.post(pods, json={"metadata": {"name": "p"}, "spec": spec}, timeout=10)
        assert made.status_code == 201, made.text
        yield writer
        writer.session.close()


def test_the_last_lines(writer: Writer):
    for text in "abc":
        writer.write(writer.now, text)

    assert writer.lines() == ["a", "b", "c"]
    assert writer.lines(tailLines=2) == ["b", "c"]
    assert writer.lines(tailLines=0) == []
    assert writer.lines(tailLines=9) == ["a", "b", "c"]


def test_lines_since_a_time(writer: Writer):
    writer.write(writer.now, "old", seconds_ago=100)
    writer.write(writer.now, "young", seconds_ago=10)
    then = (datetime.now(UTC) - timedelta(seconds=50)).strftime("%Y-%m-%dT%H:%M:%SZ")

    assert writer.lines(sinceSeconds=50) == ["young"]
    assert writer.lines(sinceTime=then) == ["young"]
    assert writer.lines(sinceSeconds=500) == ["old", "young"]


def test_lines_have_their_time_only_when_asked_for(writer: Writer):
    writer.write(writer.now, "a line")

    (stamped,) = writer.lines(timestamps="true")

    time_, _, text = stamped.partition(" ")
    assert text == "a line"
    assert abs(datetime.fromisoformat(time_) - datetime.now(UTC)) < timedelta(minutes=1)
    assert writer.lines(timestamps="false") == ["a line"]


def test_no_more_bytes_than_asked_for(writer: Writer):
    writer.write(writer.now, "first")
    writer.write(writer.now, "second")

    assert writer.get(limitBytes=8).text == "first\nse"


def test_the_run_before(writer: Writer):
    writer.write(writer.now, "now")
    none = writer.get(previous="true")
    writer.write(writer.before, "before")

    assert none.status_code == 400
    assert none.json()["message"] == 'previous terminated container "c" in pod "p" not found'
    assert writer.lines(previous="true") == ["before"]
    assert writer.lines() == ["now"]


def test_a_container_that_waits_has_no_log(writer: Writer):
    waiting = {"name": "c", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    writer.session.patch(
        f"{writer.get().url.removesuffix('/log')}/status",
        json={"status": {"containerStatuses": [waiting]}}, timeout=10,
        headers={"Content-Type": "application/merge-patch+json"},
    )  # fmt: skip

    answer = writer.get()

    said = 'container "c" in pod "p" is waiting to start: trying and failing to pull image'
    assert (answer.status_code, answer.json()["message"]) == (400, said)


@pytest.mark.parametrize("end", ["the run ends", "the node is gone"])
def test_a_log_is_followed_until_its_end(writer: Writer, end: str):
    writer.write(writer.now, "first")
    writer.write(writer.now, "second")
    seen: list[str] = []

    def follow() -> None:
        query = {"follow": "true", "tailLines": 1}
        url = writer.get().url
        with writer.session.get(url, params=query, stream=True, timeout=10) as answer:
            seen.extend(line.decode() for line in answer.iter_lines(chunk_size=1))

    thread = threading.Thread(target=follow)
    thread.start()
    threading.Event().wait(0.3)
    writer.write(writer.now, "third")
    threading.Event().wait(0.3)
    still_open = thread.is_alive()
    if end == "the run ends":
        writer.end()
    else:
        writer.is_there = False
    thread.join(5)

    assert still_open
    assert not thread.is_alive()
    assert seen == ["second", "third"]
