"""Order of semantic version names, and the contents of ranges."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.errors import Invalid
from syncd.registry.rules.semver import parse_range, semver

# The order that semver.org gives as its example, and what comes before and after it.
ORDERED = (
    "0.9.10",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "v1.2",
    "1.10.0+build.5",
    "7",
)


@pytest.mark.parametrize(("before", "after"), list(pairwise(ORDERED)))
def test_versions_have_the_precedence_that_semver_gives_them(before: str, after: str) -> None:
    one, other = semver(before), semver(after)
    assert one is not None
    assert other is not None
    assert one < other
    assert not other < one


@pytest.mark.parametrize("name", ["v1", "1.0", "1.0.0+b", "v1.0.0"])
def test_missing_numbers_are_zero_and_build_metadata_does_not_count(name: str) -> None:
    assert semver(name) == semver("1")


@pytest.mark.parametrize("name", ["", "v", "champion", "1.2.3.4", "1.2-", "1..2", "x1", "1.0.0-a..b", "-1", "1 "])
def test_other_names_have_no_precedence(name: str) -> None:
    assert semver(name) is None


@given(st.text(max_size=200))
def test_any_text_is_read_or_is_not(text: str) -> None:
    semver(text)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (">=1.2,<2", ["1.2", "v1.2.0", "1.99.1"], ["1.1.9", "2", "2.0.0-rc.1", "1.3.0-beta"]),
        (">1, <= 1.5", ["1.0.1", "1.5"], ["1.0.0", "1.5.1"]),
        ("=1.2", ["1.2.0", "1.2.0+b"], ["1.2.1", "1.2.0-rc"]),
        (">=2.0.0-rc.1", ["2.0.0-rc.2", "2.0.0", "2.1.0-alpha"], ["2.0.0-beta"]),
        (">=3", ["3", "12"], ["2"]),
    ],
)
def test_a_range_contains_versions_within_all_bounds(bounds: str, inside: list[str], outside: list[str]) -> None:
    wanted = parse_range(bounds)
    for name in (*inside, *outside):
        version = semver(name)
        assert version is not None
        assert wanted.has(version) is (name in inside), name


@pytest.mark.parametrize("text", ["", "1.2", ">=", ">=1.2,", ">= new", "~1", "^1", "!=1", ">=1 <2"])
def test_an_invalid_range_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not a range"):
        parse_range(text)
