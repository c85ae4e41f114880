"""Tensor-aligned part layout: a tensor is cut alike at any offset, so that moved tensors are recognised.

Each large tensor starts a new block, and its blocks depend only on its size. Only its first block, which is small, is
shared with the bytes before it: small tensors, and the header before the first. So a header that grows, or a tensor
that moves to another shard, changes small blocks and keeps the large ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from syncd.artifact import parts
from syncd.artifact.parts import PARTS_MAX, Part

FIRST_BYTES: Final = 256 << 10  # of a tensor's first block; OSS refuses parts below 100 KiB, except the last


def cut(size_bytes: int, starts: tuple[int, ...], part_bytes: int = parts.PART_BYTES) -> tuple[Part, ...]:
    """Cut a file whose tensors begin at `starts`, as `formats.tensors.starts` reports them.

    No part is larger than `part_bytes` or, except the last, smaller than the first block of a tensor; past 10 000 parts
    both grow. A file of one part, or without tensors, is cut as by `parts.cut`. The same arguments give the same cut in
    every release of syncd: incomplete uploads are resumed by it, and existing bytes at a target are recognised by it.
    """
    if not starts or size_bytes <= part_bytes:
        return parts.cut(size_bytes, part_bytes)
    first_bytes = min(FIRST_BYTES, part_bytes // 4)
    while len(edges := [0, *_edges(size_bytes, starts, first_bytes, part_bytes)]) > PARTS_MAX + 1:
        first_bytes *= 2
        part_bytes = max(part_bytes, 4 * first_bytes)
    return tuple(Part(n, begin, end - begin) for n, (begin, end) in enumerate(pairwise(edges), start=1))


def _edges(size_bytes: int, starts: tuple[int, ...], first_bytes: int, part_bytes: int) -> Iterator[int]:
    """The ends of the parts. A part holds at most three first blocks of different tensors: the header leaves room."""
    run = starts[0]  # start of the small tensors that are in no part yet
    room = part_bytes - 3 * first_bytes
    yield from range(room, run, room)
    for start, end in pairwise((*starts, size_bytes)):
        if end - start >= 2 * first_bytes:
            yield start + first_bytes
            for edge in range(part_bytes, end - start, part_bytes):
                yield min(start + edge, end - first_bytes)  # a tail would be too small by itself
        elif end - run < first_bytes:
            continue
        yield end
        run = end
    if run != size_bytes:
        yield size_bytes
