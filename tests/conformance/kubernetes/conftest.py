"""One suite for two API servers: a case counts because it passed on the real one first."""

from collections.abc import Iterator

import pytest

from tests.conformance.kubernetes_peers import Plane, lab_plane, real_plane


# Of the session: each server starts once for the whole folder, and all that asks the real one goes first.
@pytest.fixture(scope="session", params=["realplane", "lab"])
def plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "realplane":
        with real_plane(folder, "127.26.0.2") as real:
            yield real
    else:
        with lab_plane(folder, "127.16.0.2") as lab:
            yield lab


@pytest.fixture
def maps(plane: Plane) -> str:
    """The path of the config maps of a new namespace."""
    return f"/api/v1/namespaces/{plane.space()}/configmaps"


@pytest.fixture
def deployments(plane: Plane) -> str:
    return f"/apis/apps/v1/namespaces/{plane.space()}/deployments"
