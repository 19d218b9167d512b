"""The Kubernetes client against the lab's API: objects in and out, and what readiness is read from."""

from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from tests.lab.kubernetes_fixture import LabKubernetes, serving
from windlass.clients.kubernetes import KubernetesClient, read_kubeconfig
from windlass.errors import BadInputError, NotReadyError, RefusedError
from windlass.models.plan import JsonObject
from windlass.waiting import Pace, wait_for

ADDRESS = "127.18.0.2"
LIMIT = timedelta(seconds=5)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabKubernetes]:
    with serving(tmp_path_factory.mktemp("lab"), ADDRESS) as lab:
        yield lab


@pytest.fixture
def kubeconfig(lab: LabKubernetes) -> Path:
    return lab.kubeconfig


@pytest.fixture
def kubernetes(kubeconfig: Path, request: pytest.FixtureRequest) -> Iterator[KubernetesClient]:
    """A client, and a namespace named after nobody else."""
    with open_client(kubeconfig) as client:
        client.apply(namespace(name_of(request)), "windlass")
        yield client


@pytest.fixture
def here(request: pytest.FixtureRequest) -> str:
    return name_of(request)


def name_of(request: pytest.FixtureRequest) -> str:
    return f"n{sha256(request.node.nodeid.encode()).hexdigest()[:12]}"


def open_client(kubeconfig: Path) -> KubernetesClient:
    return KubernetesClient(
        read_kubeconfig(kubeconfig),
        agent="windlass/0.1 (operation k8s; epoch 3)",
        probe=LIMIT,
        call=LIMIT,
    )


def namespace(name: str) -> JsonObject:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def config_map(where: str, name: str = "c", **data: Any) -> JsonObject:
    metadata: JsonObject = {"name": name, "namespace": where}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def test_the_api_tells_its_version(kubernetes: KubernetesClient):
    assert kubernetes.version().startswith("v1.34.")


def test_an_object_is_applied_twice_and_read_back(kubernetes: KubernetesClient, here: str):
    kubernetes.apply(config_map(here, x="1"), "windlass")
    kubernetes.apply(config_map(here, x="1"), "windlass")

    found = kubernetes.get("v1", "ConfigMap", here, "c")
    assert found is not None
    assert found["data"] == {"x": "1"}
    assert kubernetes.get("v1", "ConfigMap", here, "other") is None


def test_a_field_of_somebody_else_is_refused_and_only_force_takes_it(
    kubernetes: KubernetesClient, here: str
):
    kubernetes.apply(config_map(here, x="1"), "argocd")

    with pytest.raises(RefusedError, match=r'conflict with "argocd".*\.data\.x'):
        kubernetes.apply(config_map(here, x="2"), "windlass")
    taken = kubernetes.apply(config_map(here, x="2"), "windlass", force=True)

    assert taken["data"] == {"x": "2"}


def test_an_unknown_field_is_refused(kubernetes: KubernetesClient, here: str):
    with pytest.raises(RefusedError, match=r"unknown field|not declared in schema"):
        kubernetes.apply({**config_map(here), "dta": {}}, "windlass")


def test_a_second_create_is_refused_and_a_second_delete_is_not(
    kubernetes: KubernetesClient, here: str
):
    kubernetes.create(config_map(here))

    with pytest.raises(RefusedError, match="AlreadyExists"):
        kubernetes.create(config_map(here))
    kubernetes.delete("v1", "ConfigMap", here, "c")
    kubernetes.delete("v1", "ConfigMap", here, "c")

    assert kubernetes.get("v1", "ConfigMap", here, "c") is None


def test_a_patch_of_an_old_version_is_looked_at_again(kubernetes: KubernetesClient, here: str):
    old = kubernetes.apply(config_map(here, x="1"), "windlass")
    kubernetes.patch_merge("v1", "ConfigMap", here, "c", {"data": {"x": "2"}})
    version = old["metadata"]["resourceVersion"] if isinstance(old["metadata"], dict) else None

    with pytest.raises(NotReadyError, match="newer object"):
        kubernetes.patch_merge(
            "v1",
            "ConfigMap",
            here,
            "c",
            {"metadata": {"resourceVersion": version}, "data": {"x": "3"}},
        )


def test_a_list_is_whole_however_many_there_are(kubernetes: KubernetesClient, here: str):
    for number in range(520):
        kubernetes.create(config_map(here, f"c{number}"))

    assert len(kubernetes.list_objects("v1", "ConfigMap", here)) == 520
    assert kubernetes.list_objects("v1", "ConfigMap", here, "a=b") == ()


def test_an_object_without_a_name_is_bad_input(kubernetes: KubernetesClient):
    with pytest.raises(BadInputError, match="without a name"):
        kubernetes.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}, "windlass")


def test_applications_are_absent_before_argocd_is_there(kubernetes: KubernetesClient):
    assert kubernetes.application("infra", "argocd") is None
    assert not kubernetes.serves("argoproj.io/v1alpha1", "Application")


def test_a_kind_that_appears_later_is_found(kubernetes: KubernetesClient, here: str):
    kind = f"K{here}"
    group = f"{here}.test"
    schema: JsonObject = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names: JsonObject = {"kind": kind, "plural": kind.lower() + "s"}
    version: JsonObject = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    crd: JsonObject = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.lower()}s.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    one: JsonObject = {
        "apiVersion": f"{group}/v1",
        "kind": kind,
        "metadata": {"name": "one", "namespace": here},
    }

    with pytest.raises(NotReadyError, match="does not serve"):
        kubernetes.apply(one, "windlass")
    kubernetes.apply(crd, "windlass")
    wait_for(
        "the kind",
        lambda: kubernetes.apply(one, "windlass"),
        timeout=timedelta(seconds=20),
        pace=Pace(first=timedelta(seconds=0.1)),
        stop=Event(),
    )

    assert kubernetes.serves(f"{group}/v1", kind)
    assert kubernetes.get(f"{group}/v1", kind, here, "one") is not None


def test_effects_are_known_as_the_operations_own(
    lab: LabKubernetes, kubernetes: KubernetesClient, here: str
):
    kubernetes.apply(config_map(here), "windlass")

    oplog = (lab.world.folder / "oplog.jsonl").read_text().splitlines()
    assert any(f"{here}/c" in line and '"epoch":3' in line for line in oplog)


def test_a_stranger_is_refused(kubeconfig: Path, tmp_path: Path):
    document = yaml.safe_load(kubeconfig.read_text())
    stranger = tmp_path / "kubeconfig"
    document["users"][0]["user"] = {"token": "none"}
    stranger.write_text(yaml.safe_dump(document))

    with open_client(stranger) as client, pytest.raises(RefusedError, match="401"):
        client.nodes()
