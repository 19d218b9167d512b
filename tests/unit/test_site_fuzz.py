"""Whatever bytes a site file holds, loading it ends in a site or in one error for a person."""

import json
import re
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.site_text import BASE
from windlass.errors import BadInputError
from windlass.models.load import load_site

LINES = BASE.splitlines()
FRAGMENTS = st.sampled_from(
    ["&a ", "*a", "<<: ", "!!int ", "? ", "- ", "[", "]", "{", "}", "|\n", ">\n", "---\n", "...\n", "%YAML 1.1\n",
     '"', "'", "#", ":", "\t", "\0", "~", "1e3", "0x1f", "08", ".nan", "yes", "\u202e", "\ud83d", "9" * 5000, "{{ x }}"]
)  # fmt: skip
SOME = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def loads_or_says_why(path: Path) -> None:
    try:
        load_site(path)
    except BadInputError as error:
        assert re.match(rf"{re.escape(str(path))}( has|:\d+:| )", str(error))  # noqa: PT017 - either end is fine


@SOME
@given(body=st.binary(max_size=300))
def test_any_bytes(tmp_path: Path, body: bytes):
    path = tmp_path / "site.yaml"
    path.write_bytes(body)

    loads_or_says_why(path)


@SOME
@given(
    at=st.integers(0, len(BASE)),
    cut=st.integers(0, 30),
    put=st.one_of(FRAGMENTS, st.text(max_size=20), st.sampled_from(LINES)),
)
def test_any_damage_to_a_good_file(tmp_path: Path, at: int, cut: int, put: str):
    path = tmp_path / "site.yaml"
    path.write_bytes((BASE[:at] + put + BASE[at + cut :]).encode(errors="surrogatepass"))

    loads_or_says_why(path)


@SOME
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    line=st.sampled_from([line for line in LINES if ": " in line]),
)
def test_any_value_for_any_key(tmp_path: Path, value: object, line: str):
    path = tmp_path / "site.yaml"
    key = line[: line.index(": ") + 2]
    path.write_text(BASE.replace(line, key + json.dumps(value), 1))

    loads_or_says_why(path)
