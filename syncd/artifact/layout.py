"""The cut that follows tensors: a tensor is cut alike wherever it lies, so that what moved is known again.

Each tensor of some size begins a block of its own, and its blocks depend on nothing but its size. Only the first of
them, which is small, is shared with what stands before it: small tensors, and the header before the first. So a
header that grows, or a tensor that another shard holds now, changes small blocks and leaves the large ones alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from syncd.artifact import parts
from syncd.artifact.parts import PARTS_MAX, Part

FIRST_BYTES: Final = 256 << 10  # of a tensor's first block; OSS takes no part below 100 KiB but the last


def cut(size_bytes: int, starts: tuple[int, ...], part_bytes: int = parts.PART_BYTES) -> tuple[Part, ...]:
    """Cut a file whose tensors begin at `starts`, as `formats.tensors.starts` found them.

    No part is larger than `part_bytes` nor, but the last, smaller than the first block of a tensor; past 10 000 parts
    both grow. A file of one part, or without tensors, is cut as `parts.cut` does. The same arguments give the same
    cut for ever: half-done uploads are resumed by it, and what a target has is known again by it.
    """
    if not starts or size_bytes <= part_bytes:
        return parts.cut(size_bytes, part_bytes)
    first_bytes = min(FIRST_BYTES, part_bytes // 4)
    while len(edges := [0, *_edges(size_bytes, starts, first_bytes, part_bytes)]) > PARTS_MAX + 1:
        first_bytes *= 2
        part_bytes = max(part_bytes, 4 * first_bytes)
    return tuple(Part(n, begin, end - begin) for n, (begin, end) in enumerate(pairwise(edges), start=1))


def _edges(size_bytes: int, starts: tuple[int, ...], first_bytes: int, part_bytes: int) -> Iterator[int]:
    """Where parts end. A part holds at most three first blocks that are not of one tensor: the header makes room."""
    run = starts[0]  # where the small tensors begin that are in no part yet
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
