"""A lab that several tests share because none of them may change anything in it."""

from collections.abc import Generator

import pytest

from tests.lab.faulty import FaultyLab, faulty_lab

NETWORK = "127.70.0.0/16"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Generator[FaultyLab]:
    """For what must not get as far as making anything: each test finds it as empty as it was."""
    with faulty_lab(tmp_path_factory.mktemp("empty"), NETWORK) as found:
        yield found


@pytest.fixture
def untouched(empty: FaultyLab) -> Generator[FaultyLab]:
    site = empty.document
    yield empty
    empty.heal()
    empty.rewrite(site)
    assert empty.oplog() == []
    assert empty.requests() == []
