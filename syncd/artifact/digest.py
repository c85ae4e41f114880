"""SHA-256 digests and CRC-64/XZ checksums.

CRC-64/XZ is what OSS reports as `x-oss-hash-crc64ecma`: reflected polynomial 0x42F0E1EBA9EA3693, all ones in and
out; the check value of "123456789" is 0x995DC9BBDF1939FA.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fastcrc import crc64 as _crc64

from syncd.errors import Invalid

_HEX64: Final = re.compile(r"[0-9a-f]{64}")
_POLY_REFLECTED: Final = 0xC96C5795D7870F42


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256, as 64 lower-case hex digits."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX64.fullmatch(self.hex):
            raise Invalid(f"{self.hex[:80]!r} is not a sha256: 64 lower-case hex digits are wanted")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read a digest, with or without `sha256:` in front, in either case.

        Raises:
            Invalid: It is something else.
        """
        return cls(text.strip().lower().removeprefix("sha256:"))

    @property
    def short(self) -> str:
        """The first twelve digits: enough to tell versions of one model apart in a path."""
        return self.hex[:12]

    def __str__(self) -> str:
        return self.hex


def crc64(data: bytes | bytearray | memoryview, initial: int = 0) -> int:
    """Continue the CRC-64/XZ `initial` (0 to begin) over `data`. The buffer must not change meanwhile."""
    return _crc64.xz(data, initial)


def crc64_combine(first: int, second: int, second_size_bytes: int) -> int:
    """The CRC of two runs of bytes after one another, from the CRC of each and the size of the second."""
    if second_size_bytes == 0:
        return first
    return _times(_zeros_operator(second_size_bytes), first) ^ second


def _times(matrix: tuple[int, ...], vector: int) -> int:
    total = 0
    index = 0
    while vector:
        if vector & 1:
            total ^= matrix[index]
        vector >>= 1
        index += 1
    return total


def _compose(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_times(left, column) for column in right)


@lru_cache(maxsize=256)
def _zeros_operator(size_bytes: int) -> tuple[int, ...]:
    """The GF(2) matrix that appending `size_bytes` zero bytes applies to a CRC.

    Squaring doubles the number of zeros (the method of zlib's crc32_combine). Part sizes repeat, so the
    cache makes this a lookup for all parts of a file but the last.
    """
    one_bit = (_POLY_REFLECTED, *(1 << n for n in range(63)))
    power = _compose(one_bit, one_bit)
    power = _compose(power, power)
    power = _compose(power, power)  # eight zero bits: one zero byte
    result = tuple(1 << n for n in range(64))
    while size_bytes:
        if size_bytes & 1:
            result = _compose(power, result)
        size_bytes >>= 1
        if size_bytes:
            power = _compose(power, power)
    return result
