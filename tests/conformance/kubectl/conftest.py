"""kubectl against two API servers: a case counts because it passed on the real one first."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.conformance.kubectl_peer import Kubectl, need_kubectl
from tests.conformance.kubernetes_peers import Plane, real_plane
from tests.lab.kubernetes_fixture import serving
from windlass.lab.kubernetes.logs import LogOptions


# No controllers on either side. Of the session: each server starts once, and all that asks the real one goes first.
@pytest.fixture(scope="session", params=["realplane", "lab"])
def kubectl(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kubectl]:
    need_kubectl()
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "realplane":
        with real_plane(folder, "127.26.0.3", "--no-controllers") as real:
            yield Kubectl(real, folder)
    else:
        with serving(folder, "127.16.0.3") as lab:
            lab.api.pod_logs = log_of
            yield Kubectl(Plane("lab", lab.kubeconfig, folder), folder)


async def log_of(_space: str, name: str, options: LogOptions) -> AsyncIterator[bytes]:
    yield f"{name} says hello from {options.container}\n".encode()


@pytest.fixture
def space(kubectl: Kubectl) -> str:
    return kubectl.plane.space()
