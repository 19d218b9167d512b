"""A line that is known stays known only while nothing but its version moves, and forward within its major."""

import re
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.unit.merges_samples import DIGEST, OTHER_DIGEST, SAMPLES, Sample, commit, edit
from windlass.models.merges import FileChange, Hunk
from windlass.plans.merges import classify
from windlass.plans.merges_inert import why_inert
from windlass.plans.merges_table import Class, rows_of

SOME = settings(max_examples=300, deadline=None)
# Only lines whose every path is one of the table's; docs and CI are known by their path alone.
samples = st.sampled_from(SAMPLES)
images = st.sampled_from([one for one in SAMPLES if "image: " in one.line or "FROM" in one.line])
hostile = st.sampled_from(
    ["evil/", "x", ".", "-", "@", ":", "/", " ", "\t", '"', "'", "#", " # ", "\r", "\0", "v", "0", "&a ", "*a",
     "{{ x }}", "${x}", "\u202e", "\udcff", "https://", "sha256:", "\u0661", "9" * 5000]
)  # fmt: skip


def classes(*files: FileChange) -> tuple[Class, ...]:
    return classify(commit(*files), {}).classes


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda one: f"{one.cls}: {one.line.strip()}")
def test_a_version_that_goes_forward_is_of_its_class(sample: Sample):
    assert classes(sample.edit()) == (sample.cls,)


@SOME
@given(
    sample=samples,
    at=st.integers(0, 200),
    cut=st.integers(0, 12),
    put=st.one_of(hostile, st.text(max_size=6)),
)
def test_a_line_that_differs_beside_its_version_is_never_of_its_class(
    sample: Sample, at: int, cut: int, put: str
):
    head, hole, tail = sample.line.partition("{}")
    assume(hole)
    frame = head + "\0" + tail
    damaged = frame[: min(at, len(frame))] + put + frame[min(at, len(frame)) + cut :]
    assume("\0" in damaged and damaged != frame and damaged.count("\0") == 1)
    new = damaged.replace("\0", sample.after)
    # Damage right at the version makes another version, and is the subject of the tests below.
    before, _, after = damaged.partition("\0")
    assume(before == head or not before[-1:].isalnum())
    assume(after == tail or not re.match(r"[\w.+-]", after))
    assume((before.removesuffix("v"), after) != (head.removesuffix("v"), tail))

    found = classes(edit(sample.path, sample.line.format(sample.before), new))

    assert found == (Class.PERSON,)


@SOME
@given(
    sample=samples,
    before=st.lists(st.integers(0, 40), min_size=3, max_size=3),
    after=st.lists(st.integers(0, 40), min_size=3, max_size=3),
)
def test_only_forward_and_within_the_major(sample: Sample, before: list[int], after: list[int]):
    old, new = (".".join(map(str, one)) for one in (before, after))
    machine = sample.cls in (Class.TALOS, Class.KUBERNETES)
    forward = (
        after > before and after[0] == before[0] and not (machine and after[1] > before[1] + 1)
    )

    found = classes(edit(sample.path, sample.line.format(old), sample.line.format(new)))

    assert found == ((sample.cls,) if forward else (Class.PERSON,))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda one: f"{one.cls}: {one.line.strip()}")
@pytest.mark.parametrize("variant", ["-rc.1", "-alpine", "rc1", "+build", ".x", "_1"])
def test_another_variant_is_never_of_the_class(sample: Sample, variant: str):
    for old, new in (("", variant), (variant, ""), (variant, f"{variant}2")):
        before, after = sample.before + old, sample.after + new

        assert classes(
            edit(sample.path, sample.line.format(before), sample.line.format(after))
        ) == (Class.PERSON,)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda one: f"{one.cls}: {one.line.strip()}")
def test_only_a_tag_of_an_image_may_change_how_it_is_spelled(sample: Sample):
    is_tag = any(word in sample.line for word in ("image: ", "tag: ", "newTag: ", "FROM "))
    line = sample.line.replace("v{", "{")

    for old, new in (("v", ""), ("", "v")):
        found = classes(
            edit(sample.path, line.format(old + sample.before), line.format(new + sample.after))
        )
        assert found == ((sample.cls,) if is_tag else (Class.PERSON,))


@SOME
@given(sample=images, name=st.text("abcdefghijklmnop0123456789./-_:", min_size=1, max_size=30))
def test_another_image_or_registry_is_never_of_the_class(sample: Sample, name: str):
    was = sample.line.split("image: ")[-1].split("FROM ")[-1].strip("'").split(":{}")[0]
    assume(name != was)
    moved = replace(sample, line=sample.line.replace(was, name))

    found = classes(
        edit(sample.path, sample.line.format(sample.before), moved.line.format(sample.after))
    )

    assert found == (Class.PERSON,)


@pytest.mark.parametrize(
    "sample", [one for one in SAMPLES if "image: " in one.line], ids=lambda one: one.line
)
@pytest.mark.parametrize(
    ("old", "new", "known"),
    [
        (DIGEST, OTHER_DIGEST, True),
        (DIGEST, "", False),
        ("", DIGEST, False),
        (DIGEST, DIGEST, False),
        (DIGEST, OTHER_DIGEST[:-1], False),
        (DIGEST, OTHER_DIGEST.replace("sha256", "md5"), False),
    ],
)
def test_a_digest_stays_and_moves_with_its_version(sample: Sample, old: str, new: str, known: bool):
    variant = "-slim" if "-slim" in sample.line else ""
    lines = [
        sample.line.replace("{}" + variant, version + variant + digest)
        for version, digest in ((sample.before, old), (sample.after, new))
    ]

    assert classes(edit(sample.path, *lines)) == ((sample.cls,) if known else (Class.PERSON,))


paths = st.one_of(
    st.text(min_size=1, max_size=30),
    st.sampled_from(["renovate.json", "tofu/main.tf", "K8s/applications/web/notes/x.yaml", ".gitmodules", "docs/x",
                     "k8s/apps/dev/x/deployment.yaml", "k8s/kustomization.yaml", "website", "images/Dockerfile",
                     "website/\nk8s", "k8s/applications/project.yaml", "tofu/nodes.auto.tfvars.bak"]),
)  # fmt: skip


@SOME
@given(known=st.lists(samples, max_size=4), path=paths, line=st.text(max_size=20))
def test_an_unknown_file_needs_a_person_whatever_is_beside_it(
    known: list[Sample], path: str, line: str
):
    assume(not rows_of(path) and why_inert(path, {}) is None)
    files = [one.edit() for one in known]

    found = classify(commit(*files, edit(path, line, line + "1")), {})

    assert found.needs_person
    assert {one.cls for one in known} <= {*found.classes}


@SOME
@given(
    sample=samples,
    removed=st.lists(st.text(max_size=12), max_size=3),
    added=st.lists(st.text(max_size=12), max_size=3),
)
def test_an_unknown_line_needs_a_person_whatever_is_beside_it(
    sample: Sample, removed: list[str], added: list[str]
):
    assume(removed or added)
    known = sample.edit()
    odd = replace(known, hunks=(*known.hunks, Hunk(90, tuple(removed), tuple(added))))

    found = classify(commit(odd), {})

    assert found.needs_person
    assert found.classes == (sample.cls, Class.PERSON)
