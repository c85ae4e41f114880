"""Tensor-aligned part layout: a tensor is cut alike at any offset, and the parts cover the file."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact import parts
from syncd.artifact.layout import FIRST_BYTES, cut
from syncd.artifact.parts import MIB, PART_BYTES, PARTS_MAX

KIB = 1 << 10
SMALLEST_OSS_TAKES = 100 * KIB
tensor_sizes = st.lists(
    st.one_of(st.integers(1, FIRST_BYTES), st.integers(1, 40 * MIB), st.sampled_from([FIRST_BYTES, 2 * FIRST_BYTES])),
    min_size=1,
    max_size=40,
)
headers = st.one_of(st.integers(8, 100_000), st.integers(8, 30 * MIB))


def starts_of(header_bytes: int, sizes: list[int]) -> tuple[int, tuple[int, ...]]:
    """The size of the file, and where its tensors begin."""
    *starts, size_bytes = accumulate(sizes, initial=header_bytes)
    return size_bytes, tuple(starts)


def blocks(header_bytes: int, sizes: list[int], of: int, part_bytes: int = PART_BYTES) -> list[tuple[int, int]]:
    """The parts that lie within tensor `of`, as (offset in it, size)."""
    size_bytes, starts = starts_of(header_bytes, sizes)
    start, end = starts[of], starts[of] + sizes[of]
    found = cut(size_bytes, starts, part_bytes)
    return [(p.offset_bytes - start, p.size_bytes) for p in found if start < p.offset_bytes < end]


@given(headers, tensor_sizes, st.sampled_from([PART_BYTES, MIB, 400 * KIB]))
def test_parts_follow_one_another_and_are_the_whole(header_bytes: int, sizes: list[int], part_bytes: int) -> None:
    size_bytes, starts = starts_of(header_bytes, sizes)
    found = cut(size_bytes, starts, part_bytes)
    assert [part.number for part in found] == list(range(1, len(found) + 1))
    assert found[0].offset_bytes == 0
    assert all(a.offset_bytes + a.size_bytes == b.offset_bytes for a, b in pairwise(found))
    assert sum(part.size_bytes for part in found) == size_bytes
    assert all(part.size_bytes >= SMALLEST_OSS_TAKES for part in found[:-1])
    assert all(0 < part.size_bytes <= part_bytes for part in found)
    assert found == cut(size_bytes, starts, part_bytes)


@given(headers, headers, tensor_sizes, tensor_sizes, st.integers(4 * FIRST_BYTES, 40 * MIB))
def test_a_large_tensor_is_cut_alike_at_any_offset(
    header: int, other_header: int, before: list[int], after: list[int], size_bytes: int
) -> None:
    alone = blocks(header, [50 * MIB, size_bytes], of=1)
    assert blocks(other_header, [*before, size_bytes, *after, 9 * MIB], of=len(before)) == alone
    assert alone[0][0] == FIRST_BYTES
    assert size_bytes - FIRST_BYTES <= sum(size for _, size in alone)


@given(headers, headers, tensor_sizes)
def test_a_header_that_grows_changes_the_first_part_that_has_a_tensor_and_none_after(
    header: int, grown: int, sizes: list[int]
) -> None:
    rests = []
    for header_bytes in (header, grown):
        size_bytes, starts = starts_of(header_bytes, sizes)
        edges = {size_bytes, *(part.offset_bytes for part in cut(size_bytes, starts))}
        rests.append({edge - header_bytes for edge in edges if edge > header_bytes})
    small, large = sorted(rests, key=len)
    # A file that is one part with the smaller header is cut with the larger one.
    assert small == large or starts_of(min(header, grown), sizes)[0] <= PART_BYTES


def test_blocks_of_a_tensor_are_a_small_one_and_then_full_ones() -> None:
    size_bytes = 3 * PART_BYTES + MIB
    whole, starts = starts_of(1000, [size_bytes, MIB])
    sizes = [part.size_bytes for part in cut(whole, starts)]
    assert sizes == [
        1000 + FIRST_BYTES,
        PART_BYTES - FIRST_BYTES,
        PART_BYTES,
        PART_BYTES,
        MIB,
        FIRST_BYTES,
        MIB - FIRST_BYTES,
    ]


def test_a_tail_that_is_too_small_takes_from_the_block_before() -> None:
    whole, starts = starts_of(1000, [2 * PART_BYTES + 5])
    sizes = [part.size_bytes for part in cut(whole, starts)]
    assert sizes == [1000 + FIRST_BYTES, PART_BYTES - FIRST_BYTES, PART_BYTES + 5 - FIRST_BYTES, FIRST_BYTES]


def test_small_tensors_are_gathered_and_a_few_of_them_go_with_the_next_large_one() -> None:
    small = FIRST_BYTES // 2
    whole, starts = starts_of(1000, [small] * 3 + [16 * MIB] + [small, 10])
    sizes = [part.size_bytes for part in cut(whole, starts)]
    assert sizes[:2] == [1000 + 2 * small, small + FIRST_BYTES]
    assert sizes[-1] == small + 10


def test_a_long_header_is_cut_so_that_no_part_is_too_large() -> None:
    whole, starts = starts_of(20 * MIB, [16 * MIB])
    found = cut(whole, starts)
    assert max(part.size_bytes for part in found) <= PART_BYTES
    assert any(part.offset_bytes == 20 * MIB + FIRST_BYTES for part in found)


@pytest.mark.parametrize("size_bytes", [0, 1, PART_BYTES])
def test_a_file_that_fits_into_one_part_is_one(size_bytes: int) -> None:
    assert cut(size_bytes, (100, 1000, MIB)) == parts.cut(size_bytes)


def test_a_file_without_tensors_is_cut_as_ever() -> None:
    assert cut(100 * MIB, ()) == parts.cut(100 * MIB)


def test_past_ten_thousand_parts_the_small_blocks_grow_first() -> None:
    size_bytes, starts = starts_of(1000, [600 * KIB] * 9000)
    found = cut(size_bytes, starts)
    assert len(found) <= PARTS_MAX
    assert max(part.size_bytes for part in found) <= PART_BYTES
    size_bytes, starts = starts_of(1000, [200 << 30])
    found = cut(size_bytes, starts)
    assert len(found) <= PARTS_MAX
    assert max(part.size_bytes for part in found) == 32 * MIB
