"""Setting the one key in any file: exactly that changes, or nothing is done and the reason is given."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from qatprep.runtime.containerd import KEY, ConfigSet, File, Version, judge, uri_for
from qatprep.runtime.dump import unwanted
from qatprep.runtime.edit import set_key
from qatprep.runtime.refusal import Refused

_names = st.sampled_from(["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "x", "a b", "opt"])
_values: st.SearchStrategy[Any] = st.booleans() | st.integers(0, 9) | st.text("ab# =[]\"'", max_size=8)
_tables = st.recursive(
    st.dictionaries(_names, _values, max_size=3),
    lambda inner: st.dictionaries(_names, _values | inner, max_size=3),
    max_leaves=12,
)


@given(_tables, st.sampled_from([None, 1, 2, 3, 4]), st.booleans())
def test_exactly_one_key_changes(plugins: dict[str, Any], version: int | None, newline: bool) -> None:
    document: dict[str, Any] = {} if version is None else {"version": version}
    document |= {"root": "/srv", "plugins": plugins}
    text = "# kept\n" + tomlkit.dumps(document)
    text = text if newline else text.rstrip("\n")
    uri = uri_for(version or 1)
    try:
        after = set_key(text, "x", uri)
    except Refused as e:
        assert not isinstance(plugins.get(uri, {}), dict), e.message
        return
    document["plugins"] = {**plugins, uri: {**plugins.get(uri, {}), KEY: True}}
    assert tomllib.loads(after) == document
    assert after.startswith("# kept\n")


@given(st.text(max_size=200) | st.text("[]{}=\"'.#\n ab", max_size=80))
def test_any_text_is_edited_or_refused(text: str) -> None:
    try:
        after = set_key(text, "x", "cri")
    except Refused as e:
        assert e.message
        return
    assert tomllib.loads(after)["plugins"]["cri"][KEY] is True


@given(st.text(max_size=200), st.sampled_from([None, Version(1, 6), Version(1, 7), Version(2, 1), Version(2, 3)]))
def test_any_text_is_judged(text: str, version: Version | None) -> None:
    judge(ConfigSet(File("/m", text), (File("/d", text),)), version)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("a = 1\n", "a = 1\n[plugins.cri]\n" + KEY + " = true\n", ""),
        ("a = 1\n", "a = 2\n[plugins.cri]\n" + KEY + " = true\n", "a"),
        ("a = 1\n", "[plugins.cri]\n" + KEY + " = true\n", "a"),
        ("a = 1\n", "a = 1\n", KEY),
        ("a = 1\n", "a = 1\n[plugins.cri]\n" + KEY + " = false\n", KEY),
        ('imports = ["/m"]\n', 'imports = ["/trial"]\n[plugins.cri]\n' + KEY + " = true\n", ""),
        ('imports = ["/m", "/o"]\n', 'imports = ["/trial"]\n[plugins.cri]\n' + KEY + " = true\n", "imports: /o"),
    ],
)
def test_two_dumps_held_against_each_other(before: str, after: str, words: str) -> None:
    different = unwanted(before, after, paths=frozenset({"/m", "/trial"}))
    assert [d.path for d in different] == ([words] if words else [])


@pytest.mark.parametrize("text", ["not toml", "[" * 5000])
def test_a_dump_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a containerd dump"):
        unwanted(text, text)
