"""SHA-256 digests, CRC-64/XZ checksums, and BLAKE3 fingerprints.

CRC-64/XZ is what OSS reports as `x-oss-hash-crc64ecma`: reflected polynomial 0x42F0E1EBA9EA3693, all ones in and
out; the check value of "123456789" is 0x995DC9BBDF1939FA.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from blake3 import blake3
from fastcrc import crc64 as _crc64

from syncd.errors import Invalid

_HEX64: Final = re.compile(r"[0-9a-f]{64}")
_POLY_REFLECTED: Final = 0xC96C5795D7870F42
_ONE: Final = 1 << 63
_ALL_BITS: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256, as 64 lower-case hex digits."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX64.fullmatch(self.hex):
            raise Invalid(f"expected a sha256 of 64 lower-case hex digits, got {self.hex[:80]!r}")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Parse a digest, with or without a `sha256:` prefix, in either case.

        Raises:
            Invalid: It is not a digest.
        """
        if _HEX64.fullmatch(text):
            return cls(text)  # the same text: a listing has a hundred thousand of them
        return cls(text.strip().lower().removeprefix("sha256:"))

    @property
    def short(self) -> str:
        """The first twelve digits: enough to distinguish versions of one model in a path."""
        return self.hex[:12]

    def __str__(self) -> str:
        return self.hex


class Fingerprint:
    """Collision-resistant hash of 32 bytes, unlike a CRC.

    BLAKE3, which takes a quarter of the time of a SHA-256; see docs/adr/0013. Not thread-safe.
    """

    def __init__(self, data: bytes | bytearray | memoryview = b"") -> None:
        self._hasher = blake3(data)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add `data`, which must not change meanwhile."""
        self._hasher.update(data)

    def digest(self) -> bytes:
        """The fingerprint of all data so far."""
        return self._hasher.digest()


def crc64(data: bytes | bytearray | memoryview, initial: int = 0) -> int:
    """Continue the CRC-64/XZ `initial` (0 at the start) over `data`, which must not change meanwhile."""
    return _crc64.xz(data, initial)


def crc64_combine(first: int, second: int, second_size_bytes: int) -> int:
    """The CRC of two consecutive runs of bytes, from the CRC of each and the size of the second."""
    if first == 0 or second_size_bytes == 0:  # the CRC of nothing is 0
        return first ^ second
    return _product(first, _zeros(second_size_bytes)) ^ second


def _product(left: int, right: int) -> int:
    """The product of two polynomials modulo the CRC's; reflected, so the highest bit is x^0."""
    total = 0
    while left:
        if left & _ONE:
            total ^= right
        left = (left << 1) & _ALL_BITS
        right = (right >> 1) ^ _POLY_REFLECTED if right & 1 else right >> 1
    return total


@lru_cache(maxsize=1024)
def _zeros(size_bytes: int) -> int:
    """x^(8 * size_bytes): the factor of a CRC when that many zero bytes are appended.

    Part sizes repeat, so the cache makes this a lookup for all parts of a file but the last.
    """
    result, index = _ONE, 0
    while size_bytes:
        if size_bytes & 1:
            result = _product(result, _square(index))
        size_bytes >>= 1
        index += 1
    return result


@lru_cache(maxsize=64)
def _square(index: int) -> int:
    """x^8, squared `index` times."""
    if index == 0:
        return _ONE >> 8
    root = _square(index - 1)
    return _product(root, root)
