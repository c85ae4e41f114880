"""Patterns of model names: their matches, and whether two of them overlap."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.values.patterns import overlap, selects

PATTERNS = st.text(alphabet="ab*/", max_size=6)
NAMES = ["".join(letters) for length in range(6) for letters in product("ab/", repeat=length)]


@pytest.mark.parametrize(
    ("pattern", "model", "selected"),
    [
        ("*", "sdxl", True),
        ("*", "team/sdxl", False),
        ("*/*", "team/sdxl", True),
        ("team/*", "team/sdxl", True),
        ("team/*", "other/sdxl", False),
        ("sd*", "sdxl", True),
        ("sd*", "lora", False),
        ("sdxl", "sdxl", True),
        ("sdxl", "sdxl-turbo", False),
    ],
)
def test_a_pattern_selects_names_of_its_own_depth(pattern: str, model: str, selected: bool) -> None:  # noqa: FBT001 - a table's column
    assert selects(pattern, model) is selected


@given(PATTERNS, st.sampled_from(NAMES))
def test_selecting_agrees_with_regular_expressions(pattern: str, name: str) -> None:
    expression = re.escape(pattern).replace(r"\*", "[^/]*")
    assert selects(pattern, name) is (re.fullmatch(expression, name) is not None)


@given(PATTERNS, PATTERNS)
def test_patterns_overlap_exactly_if_some_name_is_selected_by_both(one: str, other: str) -> None:
    short = [text for text in (one, other) if len(text) <= 3]
    common = any(selects(one, name) and selects(other, name) for name in NAMES)
    assert overlap(one, other) == overlap(other, one)
    if common or len(short) == 2:
        assert overlap(one, other) is common


def test_many_stars_do_not_take_for_ever() -> None:
    assert not overlap("*a" * 60 + "b", "*a" * 60 + "c")
