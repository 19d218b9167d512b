"""One site that Windlass made, for all who look at it with programs that nobody here wrote."""

from collections.abc import Iterator

import pytest

from tests.labs import RunningLab, running_lab


# Of the session: a bootstrap is the dearest thing there is, and nobody's test unmakes it.
@pytest.fixture(scope="session")
def bootstrapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """The default site of a lab, bootstrapped to its end."""
    with running_lab(tmp_path_factory.mktemp("bootstrapped"), network="127.64.0.0/16") as lab:
        done = lab.bootstrap()
        assert done.returncode == 0, done.stdout + done.stderr
        yield lab
