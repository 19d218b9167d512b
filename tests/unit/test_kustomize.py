"""What a folder of a checkout renders to, and what is refused by name. No network."""

from pathlib import Path

import pytest

from windlass.clients.kustomize import render
from windlass.errors import BadInputError, RefusedError, WindlassError

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {}\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return tmp_path


def write(checkout: Path, **files: str) -> None:
    """Write files; `__` in a name stands for a slash, and all end in .yaml."""
    for name, text in files.items():
        path = checkout / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_kustomization_is_rendered_with_its_local_bases(checkout: Path):
    write(
        checkout,
        base__kustomization="resources: [cm.yaml]\n",
        base__cm=CONFIG_MAP.format("one"),
        root__kustomization="resources: [../base]\nnamePrefix: x-\nnamespace: there\n",
    )

    (one,) = render(checkout, "root")

    assert one["metadata"] == {"name": "x-one", "namespace": "there"}


def test_a_plain_folder_is_its_files_in_order_of_name(checkout: Path):
    two = CONFIG_MAP.format("b1") + "---\n" + CONFIG_MAP.format("b2") + "---\n"
    write(checkout, root__b=two, root__a=CONFIG_MAP.format("a"))
    (checkout / "root" / "README.md").write_text("no manifest")

    assert [one["metadata"] for one in render(checkout, "root")] == [
        {"name": "a"},
        {"name": "b1"},
        {"name": "b2"},
    ]


def test_a_file_is_its_own_objects_and_a_list_is_its_items(checkout: Path):
    items = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n"
    write(checkout, one=items)

    assert [one["kind"] for one in render(checkout, "one.yaml")] == ["Secret"]


@pytest.mark.parametrize(
    ("kustomization", "error", "text"),
    [
        ("helmCharts: [{name: cilium, repo: x}]\n", RefusedError, "helmCharts"),
        ("generators: [plugin.yaml]\n", RefusedError, "generators"),
        ("resources: ['https://github.com/a/b?ref=v1']\n", RefusedError, "is remote"),
        ("resources: ['git@github.com:a/b']\n", RefusedError, "is remote"),
        ("resources: [absent.yaml]\n", BadInputError, "absent.yaml"),
        ("resources: [../../away]\n", RefusedError, "out of the repository"),
        ("resources: [\n", BadInputError, "broken"),
        ("[1]\n", BadInputError, "no kustomization"),
    ],
)
def test_what_cannot_be_rendered_names_the_root_and_why(
    checkout: Path, kustomization: str, error: type[WindlassError], text: str
):
    write(checkout, root__kustomization=kustomization)

    with pytest.raises(error, match=text) as raised:
        render(checkout, "root")

    assert str(raised.value).startswith("root: ")
    assert str(checkout) not in str(raised.value)


def test_a_base_that_needs_helm_is_found_below(checkout: Path):
    write(
        checkout,
        base__kustomization="helmCharts: [{name: x}]\n",
        root__kustomization="resources: [../base]\n",
    )

    with pytest.raises(RefusedError, match=r"base/kustomization\.yaml: helmCharts"):
        render(checkout, "root")


@pytest.mark.parametrize(
    ("text", "why"),
    [("a: [", "broken"), ("just: a mapping", "no object"), ("- list", "no object")],
)
def test_a_file_that_is_no_manifest_is_named(checkout: Path, text: str, why: str):
    write(checkout, root__one=text)

    with pytest.raises(BadInputError, match=why) as raised:
        render(checkout, "root")

    assert "root/one.yaml" in str(raised.value)


def test_an_absent_or_empty_root_is_bad_input(checkout: Path):
    (checkout / "empty").mkdir()

    for root in ("absent", "empty"):
        with pytest.raises(BadInputError, match=root):
            render(checkout, root)


def test_no_root_leads_out_of_the_checkout(checkout: Path):
    inside = checkout / "inside"
    write(inside, root__one=CONFIG_MAP.format("x"))
    write(checkout, secret=CONFIG_MAP.format("secret"))
    (inside / "root" / "link.yaml").symlink_to(checkout / "secret.yaml")
    (inside / "away").symlink_to(checkout)

    for root in ("..", "../secret.yaml", "away", "/etc/hostname", "root"):
        with pytest.raises(RefusedError, match="out of the repository"):
            render(inside, root)
