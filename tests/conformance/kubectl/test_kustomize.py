"""A kustomization through kubectl's own kustomize, rendered and applied."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conformance.kubectl.manifests import config_path, web
from tests.conformance.kubectl_peer import Kubectl


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """A kustomization on top of another: a prefix, labels, a patch, an image, and a config map made up here."""
    files: dict[str, Any] = {
        "base/web.yaml": web(),
        "base/kustomization.yaml": {"resources": ["web.yaml"]},
        "overlay/kustomization.yaml": {
            "resources": ["../base"],
            "namePrefix": "lab-",
            "labels": [{"pairs": {"tier": "front"}}],
            "images": [{"name": "nginx", "newTag": "1.29"}],
            "patches": [{
                "target": {"kind": "Deployment", "name": "web"},
                "patch": '[{"op": "replace", "path": "/spec/replicas", "value": 3}]',
            }],
            "configMapGenerator": [{"name": "site", "literals": ["color=red"]}],
        },
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(yaml.safe_dump(content))
    return tmp_path / "overlay"


def test_kustomize_renders_an_overlay(kubectl: Kubectl, overlay: Path):
    said = kubectl.run("kustomize", str(overlay))

    rendered = {one["kind"]: one for one in yaml.safe_load_all(said)}
    deployment, site = rendered["Deployment"], rendered["ConfigMap"]
    assert set(rendered) == {"ConfigMap", "Deployment"}
    assert deployment["metadata"] == {"name": "lab-web", "labels": {"tier": "front"}}
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["selector"] == {"matchLabels": {"app": "web"}}
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1.29"
    assert re.fullmatch(r"lab-site-[a-z0-9]{10}", site["metadata"]["name"])
    assert site["data"] == {"color": "red"}


def test_apply_takes_a_kustomization(kubectl: Kubectl, space: str, overlay: Path):
    made = kubectl.run("apply", "-n", space, "-k", str(overlay))
    again = kubectl.run("apply", "-n", space, "-k", str(overlay))
    listed = kubectl.run("get", "-n", space, "-k", str(overlay), "-o", "name")

    names = listed.split()
    assert [re.sub("-[a-z0-9]{10}$", "", one) for one in names] == [
        "configmap/lab-site",
        "deployment.apps/lab-web",
    ]
    assert made.splitlines() == [f"{one} created" for one in names]
    assert again.splitlines() == [f"{one} unchanged" for one in names]
    found = kubectl.plane.get(f"/apis/apps/v1/namespaces/{space}/deployments/lab-web").ok()
    assert found["metadata"]["labels"] == {"tier": "front"}
    assert found["spec"]["replicas"] == 3
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1.29"
    site = names[0].removeprefix("configmap/")
    assert kubectl.plane.get(config_path(space, site)).ok()["data"] == {"color": "red"}


def test_delete_takes_a_kustomization(kubectl: Kubectl, space: str, overlay: Path):
    kubectl.run("apply", "-n", space, "-k", str(overlay))

    kubectl.run("delete", "-n", space, "-k", str(overlay))

    assert kubectl.run("get", "-n", space, "-k", str(overlay), "--ignore-not-found") == ""
