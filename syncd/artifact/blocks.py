"""What the parts of one file were: kept with its content, so that the same bytes are known again elsewhere."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import starmap
from typing import Final

from syncd.artifact.digest import crc64_combine
from syncd.errors import Corrupt

_FORM: Final = struct.Struct("<QQQ32s")
BLOCK_BYTES: Final = _FORM.size
COPY_BYTES_MIN: Final = 100 << 10  # a smaller file is sent: a copy's three requests cost more than its bytes


@dataclass(frozen=True, slots=True)
class Block:
    """A run of bytes of one file. The fingerprint says what they are, the CRC proves what a store says it has."""

    offset_bytes: int
    size_bytes: int
    crc64: int
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Run:
    """Blocks that follow one another, as one."""

    offset_bytes: int
    size_bytes: int
    crc64: int


def pack(blocks: Iterable[Block]) -> bytes:
    """`BLOCK_BYTES` for each, little endian, in order."""
    return b"".join(_FORM.pack(b.offset_bytes, b.size_bytes, b.crc64, b.fingerprint) for b in blocks)


def unpack(data: bytes) -> list[Block]:
    """What `pack` made, by any earlier release of syncd.

    Raises:
        Corrupt: It made something else: blocks that do not follow one another, or a piece of one.
    """
    if len(data) % BLOCK_BYTES:
        raise Corrupt(f"{len(data)} bytes are not a whole number of blocks of {BLOCK_BYTES}")
    found = list(starmap(Block, _FORM.iter_unpack(data)))
    end = 0
    for block in found:
        if block.offset_bytes != end:
            raise Corrupt(f"a block begins at {block.offset_bytes}, the one before ends at {end}")
        end += block.size_bytes
    return found


def runs(blocks: Iterable[Block], limit_bytes: int) -> Iterator[Run]:
    """Join blocks as long as a run has no more than `limit_bytes`; a larger block is a run by itself."""
    run: Run | None = None
    for block in blocks:
        if run is None or run.size_bytes + block.size_bytes > limit_bytes:
            if run is not None:
                yield run
            run = Run(block.offset_bytes, block.size_bytes, block.crc64)
        else:
            crc64 = crc64_combine(run.crc64, block.crc64, block.size_bytes)
            run = Run(run.offset_bytes, run.size_bytes + block.size_bytes, crc64)
    if run is not None:
        yield run
