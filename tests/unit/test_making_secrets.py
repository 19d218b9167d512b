"""The secrets bundle is the cluster's identity: it is made once, whoever comes late."""

from pathlib import Path

import pytest

from tasks.connections import Connections
from tasks.registry import Context
from tasks.talos import MakeSecrets, write_private
from tests.unit.observing import site_of
from tests.unit.talosconfig_examples import bundle
from windlass.errors import NotReadyError, RefusedError
from windlass.models.load import LoadedSite
from windlass.models.plan import Risk, Step
from windlass.talosconfig.secrets import SecretsBundle

STEP = Step("talos.secrets/harbour", "talos.secrets", "harbour", "machines", Risk.SAFE)


@pytest.fixture
def making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSecrets:
    made = bundle()

    def generate(_entropy: object, _now: object) -> SecretsBundle:
        return made

    monkeypatch.setattr(SecretsBundle, "generate", generate)
    loaded = LoadedSite(site=site_of(), path=tmp_path / "site.yaml")
    return MakeSecrets(Context(loaded, STEP, Connections(loaded, "test"), lambda _key: {}))


def test_a_bundle_is_made_where_there_is_none_and_nothing_lies_beside_it(making: MakeSecrets):
    with pytest.raises(NotReadyError, match="does not exist"):
        making.goal()

    making.effect()

    path = making.connect.secrets_path
    assert making.goal()["cluster_id"] == bundle().cluster_id
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_who_comes_late_leaves_the_bundle_of_another_as_it_is(
    making: MakeSecrets, monkeypatch: pytest.MonkeyPatch
):
    """Stopped while it made its own, taken over, and woken."""
    path, made = making.connect.secrets_path, bundle()

    def generate(_entropy: object, _now: object) -> SecretsBundle:
        write_private(path, "the bundle of who took over")
        return made

    monkeypatch.setattr(SecretsBundle, "generate", generate)

    with pytest.raises(RefusedError, match="left as it is"):
        making.effect()

    assert path.read_text() == "the bundle of who took over"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
