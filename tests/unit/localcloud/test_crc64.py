"""CRC-64/XZ: the known vector, and joining without the bytes."""

from hypothesis import given
from hypothesis import strategies as st
from syncd.localcloud.oss.crc64 import combine, crc64


def test_the_check_value_of_the_catalogue() -> None:
    assert crc64(b"123456789") == 0x995DC9BBDF1939FA
    assert str(crc64(b"123456789")) == "11051210869376104954"  # as it stands in OSS's header
    assert crc64(b"") == 0


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_joining_two_crcs_is_the_crc_of_the_joined_bytes(first: bytes, second: bytes) -> None:
    assert combine(crc64(first), crc64(second), len(second)) == crc64(first + second)
    assert crc64(second, crc64(first)) == crc64(first + second)


def test_sizes_of_many_gigabytes_are_joined() -> None:
    zeros = crc64(b"")
    piece = crc64(bytes(1 << 20))
    for _ in range(3):
        zeros = combine(zeros, piece, 1 << 20)
    assert zeros == crc64(bytes(3 << 20))
    # Joining is associative, whatever the sizes.
    big = 7 << 33
    assert combine(combine(1, 2, big), 3, 5) == combine(1, combine(2, 3, 5), big + 5)
