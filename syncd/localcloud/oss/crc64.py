"""CRC-64/XZ, and the CRC of concatenated parts from the CRCs of the parts."""

from functools import lru_cache

from fastcrc.crc64 import xz

_POLYNOMIAL = 0xC96C5795D7870F42  # reflected
_ONE = 1 << 63  # x^0, reflected


def crc64(data: bytes | bytearray | memoryview, initial: int = 0) -> int:
    """CRC-64/XZ of `data`, continuing from the CRC of what came before it."""
    return xz(data, initial)


def combine(first: int, second: int, second_size_bytes: int) -> int:
    """CRC of A+B, given the CRC of A, the CRC of B and the size of B."""
    return _multiply(_power(second_size_bytes), first) ^ second


def _multiply(a: int, b: int) -> int:
    product = 0
    bit = _ONE
    while bit:
        if a & bit:
            product ^= b
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
        bit >>= 1
    return product


@lru_cache(maxsize=1024)  # the parts of an upload rarely have more than two sizes
def _power(size_bytes: int) -> int:
    """The polynomial x^(8 * size_bytes): the factor of appending that many zero bytes."""
    result, square = _ONE, _ONE >> 8
    while size_bytes:
        if size_bytes & 1:
            result = _multiply(square, result)
        square = _multiply(square, square)
        size_bytes >>= 1
    return result
