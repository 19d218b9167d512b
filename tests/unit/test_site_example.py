"""site.example.yaml is the manual of the site file: it loads, and it leaves nothing out."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from windlass.models.load import load_site
from windlass.models.site import Site

EXAMPLE = Path(__file__).parents[2] / "site.example.yaml"
# Cannot stand beside `kind: native`; the file shows it in a comment.
IN_COMMENTS = {"provisioner.folder"}


def keys_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for name, field in model.model_fields.items():
        keys.add(prefix + name)
        for inner in models_in(field.annotation):
            keys |= keys_of(inner, f"{prefix}{name}.")
    return keys


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in models_in(inner)]


def written_keys(value: Any, prefix: str = "") -> set[str]:
    if isinstance(value, list):
        return set[str]().union(*(written_keys(item, prefix) for item in value))  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return set()
    keys: set[str] = set()
    for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
        keys |= {f"{prefix}{key}"} | written_keys(inner, f"{prefix}{key}.")
    return keys


def test_the_example_loads():
    site = load_site(EXAMPLE).site

    assert len(site.control_planes) == 3
    assert site.gitops is not None


@pytest.mark.parametrize("key", sorted(keys_of(Site)))
def test_every_key_of_a_site_is_in_the_example(key: str):
    text = EXAMPLE.read_text()

    if key in IN_COMMENTS:
        assert re.search(rf"^#.*\b{key.rpartition('.')[2]}: ", text, re.MULTILINE)
    else:
        assert key in written_keys(yaml.safe_load(text))


def test_a_site_written_as_json_is_the_same_site(tmp_path: Path):
    site = load_site(EXAMPLE).site
    path = tmp_path / "site.yaml"

    path.write_text(site.model_dump_json())

    assert load_site(path).site == site
