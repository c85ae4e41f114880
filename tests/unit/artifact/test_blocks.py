"""Block indexes are serialised in a format that every release reads."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.blocks import BLOCK_BYTES, Block, Run, pack, runs, unpack
from syncd.artifact.digest import Fingerprint, crc64
from syncd.errors import Corrupt

pieces = st.lists(st.binary(max_size=40), max_size=12)


def blocks_of(data: list[bytes]) -> list[Block]:
    offsets = accumulate(map(len, data), initial=0)
    return [Block(at, len(d), crc64(d), Fingerprint(d).digest()) for at, d in zip(offsets, data, strict=False)]


@given(pieces)
def test_blocks_come_back_as_they_were(data: list[bytes]) -> None:
    packed = pack(blocks_of(data))
    assert len(packed) == BLOCK_BYTES * len(data)
    assert unpack(packed) == blocks_of(data)


def test_the_form_is_the_one_that_was_written_before() -> None:
    packed = pack([Block(0, 3, 1 << 63, bytes(range(32)))])
    assert packed.hex() == "0000000000000000" + "0300000000000000" + "0000000000000080" + bytes(range(32)).hex()


def test_half_a_block_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="expected a multiple of 56 bytes of blocks, got 57"):
        unpack(bytes(57))


def test_blocks_with_a_hole_between_are_corrupt() -> None:
    with pytest.raises(Corrupt, match="expected a block at 3, where the previous one ends, got 9"):
        unpack(pack([Block(0, 3, 0, bytes(32)), Block(9, 3, 0, bytes(32))]))


@given(pieces, st.integers(1, 100))
def test_runs_are_the_whole_with_the_checksums_of_their_bytes(data: list[bytes], limit_bytes: int) -> None:
    whole, end = b"".join(data), 0
    for run in runs(blocks_of(data), limit_bytes):
        assert run.offset_bytes == end
        assert run.size_bytes <= max(limit_bytes, 40)
        end += run.size_bytes
        assert run.crc64 == crc64(whole[run.offset_bytes : end])
    assert end == len(whole)


def test_blocks_are_joined_up_to_the_limit() -> None:
    data = [b"12", b"34", b"5", b"6789"]
    found = [(run.offset_bytes, run.size_bytes) for run in runs(blocks_of(data), 5)]
    assert found == [(0, 5), (5, 4)]
    assert list(runs(blocks_of([b"123456"]), 5)) == [Run(0, 6, crc64(b"123456"))]


def test_a_fingerprint_is_of_the_bytes_alone() -> None:
    whole, pieces = Fingerprint(b"weights"), Fingerprint()
    for piece in (bytearray(b"wei"), memoryview(b"ghts")):
        pieces.update(piece)
    assert pieces.digest() == whole.digest() == Fingerprint(memoryview(b"weights")).digest()
    assert len(whole.digest()) == 32
    assert Fingerprint().digest().hex().startswith("af1349b9f5f9a1a6a0404dea36dcc949")
