"""SHA-256 digests and CRC-64/XZ checksums."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.digest import Digest, crc64, crc64_combine
from syncd.errors import Invalid

HEX = hashlib.sha256(b"").hexdigest()


def slow_crc64(data: bytes) -> int:
    """CRC-64/XZ bit by bit, from its definition."""
    crc = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xC96C5795D7870F42 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFFFFFFFFFF


@pytest.mark.parametrize("text", [HEX, HEX.upper(), f"sha256:{HEX}", f"SHA256:{HEX.upper()}", f" {HEX}\n"])
def test_a_digest_is_read_in_either_case_with_or_without_its_algorithm(text: str) -> None:
    assert Digest.parse(text) == Digest(HEX)
    assert str(Digest.parse(text)) == HEX
    assert Digest.parse(text).short == HEX[:12]


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "g" * 64, HEX.upper(), f"sha256:{HEX}", f"{HEX}\n", "é" * 64])
def test_what_is_no_digest_is_refused_with_what_was_found(text: str) -> None:
    with pytest.raises(Invalid, match="expected a sha256 of 64 lower-case hex digits, got"):
        Digest(text)


@pytest.mark.parametrize("text", ["", "md5:" + HEX, "sha256:sha256:" + HEX, "a" * 40])
def test_parsing_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Digest.parse(text)


def test_a_long_text_is_cut_short_in_the_message() -> None:
    with pytest.raises(Invalid) as refusal:
        Digest("x" * 5000)
    assert len(refusal.value.message) < 200


def test_digests_are_ordered_by_their_digits() -> None:
    assert sorted([Digest("b" * 64), Digest("a" * 64)]) == [Digest("a" * 64), Digest("b" * 64)]


def test_the_crc_is_the_one_that_oss_reports() -> None:
    assert crc64(b"123456789") == 0x995DC9BBDF1939FA
    assert crc64(b"") == 0


@given(st.binary(max_size=64))
def test_the_crc_agrees_with_its_definition(data: bytes) -> None:
    assert crc64(data) == slow_crc64(data)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_crc_is_taken_of_every_kind_of_buffer(kind: type[bytes | bytearray | memoryview]) -> None:
    assert crc64(kind(b"123456789")) == 0x995DC9BBDF1939FA


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_a_crc_is_continued_and_combined_to_the_same_value(first: bytes, second: bytes) -> None:
    whole = crc64(first + second)
    assert crc64(second, crc64(first)) == whole
    assert crc64_combine(crc64(first), crc64(second), len(second)) == whole


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_the_crcs_of_parts_combine_to_that_of_the_whole(parts: list[bytes]) -> None:
    crc = 0
    for part in parts:
        crc = crc64_combine(crc, crc64(part), len(part))
    assert crc == crc64(b"".join(parts))


def test_a_crc_is_combined_over_more_bytes_than_fit_in_memory() -> None:
    """Appending 2^40 zero bytes is appending 2^39 of them twice."""
    first, half = crc64(b"weights"), 1 << 39
    zeros = 0
    block = crc64(bytes(1))
    for doubled in range(40):
        zeros = block
        block = crc64_combine(zeros, zeros, 1 << doubled)
    once = crc64_combine(first, block, 1 << 40)
    twice = crc64_combine(crc64_combine(first, zeros, half), zeros, half)
    assert once == twice
