"""Part layout of a file: the same for every target, so that one read serves all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20
PART_BYTES: Final = 8 * MIB
PARTS_MAX: Final = 10_000  # OSS's limit for one multipart upload
_ROUND_BYTES: Final = MIB


@dataclass(frozen=True, slots=True)
class Part:
    """A run of bytes of one file. Numbers start at 1, as in OSS."""

    number: int
    offset_bytes: int
    size_bytes: int


def cut(size_bytes: int, part_bytes: int = PART_BYTES) -> tuple[Part, ...]:
    """Cut a file into parts of `part_bytes`, or larger ones if there would be more than 10 000.

    The last part may be smaller; an empty file is one part of no bytes. The same arguments give the same cut in every
    release of syncd: incomplete uploads are resumed by it.
    """
    if size_bytes > part_bytes * PARTS_MAX:
        part_bytes = -(-size_bytes // (PARTS_MAX * _ROUND_BYTES)) * _ROUND_BYTES
    count = max(1, -(-size_bytes // part_bytes))
    return tuple(Part(n + 1, n * part_bytes, min(part_bytes, size_bytes - n * part_bytes)) for n in range(count))
