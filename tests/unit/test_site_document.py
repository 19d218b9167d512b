"""What a site file may look like and still be read: aliases, durations, line ends, a thousand nodes."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.site_text import BASE, changed
from windlass.models.load import load_site
from windlass.models.site import Site


def loaded(folder: Path, text: str) -> Site:
    path = folder / "site.yaml"
    path.write_text(text, newline="")
    return load_site(path).site


def test_an_alias_stands_for_what_it_names(tmp_path: Path):
    text = changed("    mac: ", "    labels: &rack {rack: a}\n    mac: ").replace(
        "    disk: 60", "    disk: 60\n    labels: *rack"
    )

    site = loaded(tmp_path, text)

    assert site.node("cp-1").labels == site.node("w-1").labels == {"rack": "a"}


def test_windows_line_ends_are_read(tmp_path: Path):
    assert loaded(tmp_path, BASE.replace("\n", "\r\n")) == loaded(tmp_path, BASE)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("PT5M", timedelta(minutes=5)),
        ("0.25", timedelta(milliseconds=250)),
    ],
)
def test_durations_are_written_with_units_or_in_seconds(
    tmp_path: Path, written: str, meant: timedelta
):
    assert loaded(tmp_path, BASE + f"approvals: {{wait: {written}}}\n").approvals.wait == meant


@pytest.mark.parametrize("word", ["yes", "no", "on", "1e3", "0x10", "08"])
def test_a_word_that_other_readers_misread_is_the_text_it_looks_like(tmp_path: Path, word: str):
    text = changed("    disk: 60", f"    labels: {{word: {word}}}")

    assert loaded(tmp_path, text).node("w-1").labels == {"word": word}


def test_a_thousand_nodes_are_read(tmp_path: Path):
    head = BASE.split("nodes:")[0].replace("192.0.2.0/24", "192.0.0.0/16")
    nodes = "".join(
        f"  - {{name: n-{i}, role: {'worker' if i else 'controlplane'}, host: pve1, cpu: 2, memory: 2048,\n"
        f"     address: 192.0.{10 + i // 200}.{i % 200 + 1}, vmid: {1000 + i},\n"
        f'     mac: "bc:24:11:00:{i // 256:02x}:{i % 256:02x}"}}\n'
        for i in range(1000)
    )

    assert len(loaded(tmp_path, f"{head}nodes:\n{nodes}").nodes) == 1000
