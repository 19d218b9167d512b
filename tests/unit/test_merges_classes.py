"""The classes one by one: what is known beyond a version, what only a person decides, and what has no effect."""

import pytest

from tests.unit.merges_samples import SAMPLES, commit, edit
from windlass.models.merges import FileChange, Hunk
from windlass.plans.merges import Classification, classify
from windlass.plans.merges_inert import may_be_inert, proves, why_inert
from windlass.plans.merges_request import consequence_of, request_of
from windlass.plans.merges_table import Class

CONFIG, IMAGE, NODES = (f"tofu/{name}.auto.tfvars" for name in ("config", "talos_image", "nodes"))
TARGET = '  update_version = "{}" # renovate: github-releases=siderolabs/talos'
SCHEMATIC = "tofu/talos/image/schematic.yaml.tftpl"
CONTROLLERS = "k8s/infrastructure/controllers"
NFD = f"{CONTROLLERS}/node-feature-discovery/kustomization.yaml"
WIRED = {f"{CONTROLLERS}/kustomization.yaml": "resources:\n- argocd\n- velero\n"}
KARAKEEP = "k8s/applications/ai/karakeep"
REPLACED = {
    f"{KARAKEEP}/kustomization.yaml": "replacements:\n- targets:\n  - fieldPaths: [spec.containers.0.image]\n"
}


def of(*files: FileChange, tree: dict[str, str] | None = None) -> Classification:
    return classify(commit(*files), tree or {})


def lines(path: str, removed: tuple[str, ...], added: tuple[str, ...]) -> FileChange:
    return FileChange(path, "100644", "100644", (Hunk(3, removed, added),))


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (CONFIG, '  talos      = "v1.12.5"', '  talos      = "v1.12.6"'),
        (CONFIG, TARGET.replace("update_version", "talos").format("v1.12.5"),
         TARGET.replace("update_version", "talos").format("v1.12.6")),
        (IMAGE, TARGET.replace("update_version", "version").format("v1.12.5"),
         TARGET.replace("update_version", "version").format("v1.12.6")),
    ],
)  # fmt: skip
def test_the_base_of_talos_is_known_and_a_persons(path: str, old: str, new: str):
    found = of(edit(path, old, new))

    assert found.classes == (Class.TALOS, Class.PERSON)
    assert "the base is a person's" in found.findings[1].why


def test_the_base_of_kubernetes_is_a_persons_too():
    found = of(edit(CONFIG, '  kubernetes = "1.35.2"', '  kubernetes = "1.35.3"'))

    assert found.classes == (Class.KUBERNETES, Class.PERSON)


@pytest.mark.parametrize("way", [("false", "true"), ("true", "false")])
def test_a_flag_of_a_node_is_upgrade_intent_and_a_persons(way: tuple[str, str]):
    found = of(edit(NODES, f"    upgrade       = {way[0]}", f"    upgrade       = {way[1]}"))

    assert found.classes == (Class.UPGRADE_INTENT, Class.PERSON)
    assert "all at once" in consequence_of(found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    upgrade = false", "    upgrade = true # later"),
        ("    upgrade = false", "    upgrade = null"),
        ('    ip = "192.0.2.1"', '    ip = "192.0.2.2"'),
        ("    # upgrade = false", "    upgrade = true"),
    ],
)
def test_another_line_of_a_node_is_unknown(old: str, new: str):
    assert of(edit(NODES, old, new)).classes == (Class.PERSON,)


def test_a_minor_version_of_a_machine_is_not_skipped():
    found = of(edit(CONFIG, TARGET.format("v1.11.5"), TARGET.format("v1.13.0")))

    assert found.classes == (Class.PERSON,)
    assert "a minor version is skipped" in found.findings[0].why


def test_a_comment_that_says_the_version_again_is_more_than_the_version():
    line = "    image: owner/notes:{0} # {0} is the newest"
    path = "k8s/applications/web/notes/deployment.yaml"

    assert of(edit(path, line.format("1.4.2"), line.format("1.5.0"))).classes == (Class.PERSON,)


@pytest.mark.parametrize(
    ("new", "known"),
    [("one>=26,<26.3", True), ("one>=26.1,<26.2", False), ("one>=26,<26.2", False), ("one>=26,<26.1", False),
     ("one>=26,<27.1", False), ("one>=26,!=26.3", False), ("one>=26", False), ("two>=26,<26.3", False)],
)  # fmt: skip
def test_one_end_of_a_range_may_stay(new: str, known: bool):
    found = of(edit("k8s/applications/ai/chat/requirements.txt", "one>=26,<26.2", new))

    assert found.classes == ((Class.APP,) if known else (Class.PERSON,))


def test_two_targets_of_talos_agree_or_need_a_person():
    one = edit(CONFIG, TARGET.format("v1.12.5"), TARGET.format("v1.12.6"))

    assert of(one, edit(IMAGE, TARGET.format("v1.12.4"), TARGET.format("v1.12.6"))).classes == (
        Class.TALOS,
    )
    assert of(one, edit(IMAGE, TARGET.format("v1.12.5"), TARGET.format("v1.12.7"))).needs_person


def test_an_extension_that_comes_is_known_and_one_that_goes_is_a_persons():
    came = of(lines(SCHEMATIC, (), ("      - siderolabs/iscsi-tools",)))
    gone = of(lines(SCHEMATIC, ("      - siderolabs/iscsi-tools",), ()))
    other = of(lines(SCHEMATIC, (), ("  extraKernelArgs: [quiet]",)))

    assert came.classes == (Class.SCHEMATIC,)
    assert gone.classes == (Class.SCHEMATIC, Class.PERSON)
    assert other.classes == (Class.PERSON,)


def test_docs_and_ci_are_known_by_their_path():
    new = FileChange("website/static/logo.png", "000000", "100644", binary=True)

    assert of(new, edit(".nvmrc", "22.1.0", "24.0.0")).classes == (Class.DOCS,)
    assert of(lines(".github/workflows/lint.yaml", (), ("on: push",))).classes == (Class.CI,)


def test_a_folder_that_nothing_reads_is_inert_only_with_that_proof():
    file = edit(NFD, "    version: 0.17.3", "    version: 0.17.4")
    named = {f"{CONTROLLERS}/kustomization.yaml": "resources:\n- ./node-feature-discovery/\n"}
    from_elsewhere = {
        **WIRED,
        "k8s/x/kustomization.yaml": "resources: [../y/node-feature-discovery]",
    }
    matched = {**WIRED, "k8s/sets/any.yaml": f"kind: ApplicationSet\n- path: {CONTROLLERS}/*\n"}
    mentioned = {**WIRED, "k8s/x/other.yaml": "kind: Namespace\nname: node-feature-discovery\n"}

    commented = {f"{CONTROLLERS}/kustomization.yaml": "resources:\n#- node-feature-discovery\n"}

    for tree in (WIRED, mentioned, commented):
        assert of(file, tree=tree).classes == (Class.INERT,)
    for tree in ({}, named, from_elsewhere, matched):
        assert of(file, tree=tree).classes == (Class.INFRA,)


def test_a_new_file_of_an_inert_folder_needs_a_person():
    new = FileChange(NFD, "000000", "100644", (Hunk(1, (), ("resources: []",)),))

    assert of(new, tree=WIRED).classes == (Class.PERSON,)


def test_a_recover_folder_is_inert():
    path = "k8s/applications/media/photos/recover/04-cluster.yaml"
    tree = {"k8s/applications/media/photos/kustomization.yaml": "resources: [server]\n"}

    assert of(lines(path, ("  a: 1",), ()), tree=tree).classes == (Class.INERT,)
    assert of(lines(path, ("  a: 1",), ())).classes == (Class.PERSON,)


def test_a_version_that_a_replacement_overrides_is_inert():
    image = "          image: ghcr.io/karakeep-app/karakeep:{}"
    file = edit(f"{KARAKEEP}/web-statefulset.yaml", image.format("0.29.0"), image.format("0.29.1"))
    other = edit(f"{KARAKEEP}/web-statefulset.yaml", "  image: x/y:0.29.0", "  image: x/y:0.29.1")

    assert of(file, tree=REPLACED).classes == (Class.INERT,)
    assert of(file).classes == of(other, tree=REPLACED).classes == (Class.APP,)


def test_values_that_a_chart_ignores_are_inert():
    path = f"{CONTROLLERS}/descheduler/values.yaml"
    file = edit(path, "    tag: v0.35.0", "    tag: v0.36.0")

    assert of(file, tree={path: "descheduler:\n  image:\n    tag: v0.36.0\n"}).classes == (
        Class.INERT,
    )
    assert of(file, tree={path: "image:\n    tag: v0.36.0\n"}).classes == (Class.INFRA,)


def test_the_tree_is_read_only_where_it_can_prove_something():
    assert may_be_inert([NFD])
    assert not may_be_inert([one.path for one in SAMPLES])
    assert all(
        proves(path) for path in (*WIRED, *REPLACED, f"{CONTROLLERS}/descheduler/values.yaml")
    )
    assert not proves("website/kustomization.yaml")
    assert why_inert("k8s/applications/web/notes/deployment.yaml", WIRED) is None


def version(path: str) -> FileChange:
    return edit(path, "    version: 1.4.2", "    version: 1.5.0")


def test_many_classes_are_one_request_in_the_order_of_a_plan():
    found = of(
        version("k8s/applications/automation/house/kustomization.yaml"),
        version("k8s/applications/network/unlisted/kustomization.yaml"),
        version("k8s/applications/web/notes/kustomization.yaml"),
        version("k8s/infrastructure/deployment/checks/kustomization.yaml"),
        version(f"{CONTROLLERS}/descheduler/kustomization.yaml"),
        version(f"{CONTROLLERS}/velero/kustomization.yaml"),
        version("k8s/infrastructure/network/cilium/kustomization.yaml"),
        edit("website/x.md", "a", "b"),
        *(one.edit() for one in SAMPLES if one.cls in (Class.TOFU_PROVIDER, Class.KUBERNETES, Class.CILIUM_BOOTSTRAP)),
        lines(SCHEMATIC, (), ("      - siderolabs/iscsi-tools",)),
        edit(CONFIG, TARGET.format("v1.12.5"), TARGET.format("v1.13.0")),
    )  # fmt: skip

    request = request_of(found)

    assert request is not None
    assert not request.needs_person
    assert [one.cls for one in request.stages] == [
        Class.TALOS, Class.SCHEMATIC, Class.KUBERNETES, Class.TOFU_PROVIDER, Class.INFRA, Class.APP,
    ]  # fmt: skip
    assert request.stages[-2].targets == (
        "infra-network/cilium", "infra-controllers/velero", "infra-controllers/descheduler",
        "infra-deployment/checks",
    )  # fmt: skip
    assert request.stages[-1].targets == (
        "apps-web/notes", "apps-automation/house", "apps-network/unlisted",
    )  # fmt: skip
    assert (request.talos, request.kubernetes) == (
        next(one.step for one in found.findings if one.cls is Class.TALOS),
        next(one.step for one in found.findings if one.cls is Class.KUBERNETES),
    )
    assert request.extensions == ("siderolabs/iscsi-tools",)
    assert request.left_alone == (Class.CILIUM_BOOTSTRAP, Class.DOCS)
    assert consequence_of(found).startswith("talos v1.12.5 to v1.13.0: every node is upgraded")


def test_a_doubtful_change_keeps_its_place_in_the_request():
    major = edit(
        "k8s/infrastructure/auth/login/kustomization.yaml", "  version: 1.4.2", "  version: 2.0.0"
    )
    found = of(major, version("k8s/applications/web/notes/kustomization.yaml"))

    request = request_of(found)

    assert request is not None
    assert request.needs_person
    assert [(one.cls, one.targets) for one in request.stages] == [
        (Class.INFRA, ("infra-auth/login",)),
        (Class.APP, ("apps-web/notes",)),
    ]
    assert consequence_of(found) == (
        "a person decides first, about 1 file; of what is known: "
        "applications restart with the merge: Argo CD syncs them by itself"
    )


@pytest.mark.parametrize(
    ("component", "said"),
    [
        ("database/cloudnative-pg", "every Postgres"),
        ("network/coredns", "name resolution"),
        ("security/falco", "Argo CD syncs"),
    ],
)
def test_the_worst_of_infrastructure_is_said(component: str, said: str):
    found = of(
        version(f"k8s/infrastructure/{component}/kustomization.yaml"),
        version("k8s/applications/web/notes/kustomization.yaml"),
    )

    assert said in consequence_of(found)


def test_nothing_and_docs_ask_for_no_plan():
    assert request_of(of()) is None
    assert consequence_of(of()) == "nothing changed against the first parent"
    assert request_of(of(edit("website/x.md", "a", "b"))) is None
