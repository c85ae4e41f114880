"""Part layout: the same in every release, since incomplete uploads are resumed by it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.parts import MIB, PART_BYTES, PARTS_MAX, Part, cut

GOLDEN = Path(__file__).parents[2] / "golden" / "v1" / "parts.json"
TIB = 1 << 40


@given(st.integers(0, 4 * TIB), st.sampled_from([PART_BYTES, MIB, 64 * MIB]))
def test_parts_follow_one_another_and_are_the_whole(size_bytes: int, part_bytes: int) -> None:
    parts = cut(size_bytes, part_bytes)
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert len(parts) <= PARTS_MAX
    assert parts[0].offset_bytes == 0
    assert all(a.offset_bytes + a.size_bytes == b.offset_bytes for a, b in pairwise(parts))
    assert sum(part.size_bytes for part in parts) == size_bytes
    assert len({part.size_bytes for part in parts[:-1]}) <= 1
    assert parts[-1].size_bytes <= parts[0].size_bytes
    assert all(part.size_bytes >= part_bytes for part in parts[:-1])


@pytest.mark.parametrize(
    ("size_bytes", "count"),
    [(0, 1), (1, 1), (PART_BYTES - 1, 1), (PART_BYTES, 1), (PART_BYTES + 1, 2), (PART_BYTES * PARTS_MAX, PARTS_MAX)],
)
def test_a_file_is_cut_into_as_few_parts_as_hold_it(size_bytes: int, count: int) -> None:
    assert len(cut(size_bytes)) == count


def test_an_empty_file_is_one_part_of_no_bytes() -> None:
    assert cut(0) == (Part(1, 0, 0),)


def test_a_file_past_ten_thousand_parts_has_larger_ones() -> None:
    parts = cut(PART_BYTES * PARTS_MAX + 1)
    assert parts[0].size_bytes == 9 * MIB
    assert len(parts) <= PARTS_MAX


def test_the_cut_is_the_one_that_earlier_releases_made() -> None:
    for size_text, rows in json.loads(GOLDEN.read_text()).items():
        parts = cut(int(size_text))
        shown = [parts[0], parts[-1]]
        assert [len(parts), *([p.number, p.offset_bytes, p.size_bytes] for p in shown)] == rows
