"""Block index of a file: offsets, sizes, CRCs and fingerprints, to find the same bytes in other files."""

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
COPY_BYTES_MIN: Final = 100 << 10  # a smaller file is sent: the three requests of a copy cost more than its bytes


@dataclass(frozen=True, slots=True)
class Block:
    """A run of bytes of one file. The fingerprint identifies them; the CRC checks what a store reports."""

    offset_bytes: int
    size_bytes: int
    crc64: int
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive blocks as one."""

    offset_bytes: int
    size_bytes: int
    crc64: int


def pack(blocks: Iterable[Block]) -> bytes:
    """Serialise blocks: `BLOCK_BYTES` each, little endian, in order."""
    return b"".join(_FORM.pack(b.offset_bytes, b.size_bytes, b.crc64, b.fingerprint) for b in blocks)


def unpack(data: bytes) -> list[Block]:
    """Parse the output of `pack`, of this or any earlier release of syncd.

    Raises:
        Corrupt: The blocks are not consecutive, or one is incomplete.
    """
    if len(data) % BLOCK_BYTES:
        raise Corrupt(f"expected a multiple of {BLOCK_BYTES} bytes of blocks, got {len(data)}")
    found = list(starmap(Block, _FORM.iter_unpack(data)))
    end = 0
    for block in found:
        if block.offset_bytes != end:
            raise Corrupt(f"expected a block at {end}, where the previous one ends, got {block.offset_bytes}")
        end += block.size_bytes
    return found


def runs(blocks: Iterable[Block], limit_bytes: int) -> Iterator[Run]:
    """Join consecutive blocks into runs of at most `limit_bytes`; a larger block is a run by itself."""
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
