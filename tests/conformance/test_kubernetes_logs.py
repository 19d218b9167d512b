"""What a call for a container's log may ask for, on the real API server and on the lab's."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.kubernetes_peers import Plane, lab_plane, real_plane


@pytest.fixture(scope="module", params=["realplane", "lab"])
def plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "realplane":
        with real_plane(folder, "127.27.0.9", "--no-controllers") as real:
            yield real
    else:
        with lab_plane(folder, "127.18.0.10") as lab:
            yield lab


@pytest.fixture(scope="module")
def log(plane: Plane) -> str:
    """The path of the log of a pod that no node has."""
    path = f"/api/v1/namespaces/{plane.space()}/pods"
    containers = [{"name": "c", "image": "nginx:1"}]
    spec = {"automountServiceAccountToken": False, "containers": containers}
    plane.post(path, {"metadata": {"name": "p"}, "spec": spec}).ok()
    return f"{path}/p/log"


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        (
            {"tailLines": "-1"},
            422,
            'PodLogOptions "p" is invalid: '
            "tailLines: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            {"limitBytes": "0", "tailLines": "-1"},
            422,
            'PodLogOptions "p" is invalid: '
            "[tailLines: Invalid value: -1: must be greater than or equal to 0, "
            "limitBytes: Invalid value: 0: must be greater than 0]",
        ),
        (
            {"sinceSeconds": "0"},
            422,
            'PodLogOptions "p" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0',
        ),
        (
            {"sinceSeconds": "1", "sinceTime": "2026-01-01T00:00:00Z"},
            422,
            'PodLogOptions "p" is invalid: '
            "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
        (
            {"stream": "Stdout"},
            422,
            'PodLogOptions "p" is invalid: stream: Forbidden: may not be specified',
        ),
        ({"tailLines": "many"}, 400, 'strconv.ParseInt: parsing "many": invalid syntax'),
        (
            {"sinceTime": "yesterday"},
            400,
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": '
            'cannot parse "yesterday" as "2006"',
        ),
        ({"container": "x"}, 400, "container x is not valid for pod p"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    plane: Plane, log: str, query: dict[str, Any], code: int, says: str
):
    answer = plane.get(log, **query)

    assert (answer.code, answer.doc["message"]) == (code, says)


@pytest.mark.parametrize("query", [{}, {"follow": "1", "timestamps": "yes", "tailLines": "3"}])
def test_a_pod_without_a_node_has_no_log(plane: Plane, log: str, query: dict[str, Any]):
    assert plane.get(log, **query).code == 204
