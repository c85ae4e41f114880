from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from bench.checks import WrongBytesError, take
from syncd.localcloud.httpd.messages import Body, HeaderFields
from syncd.localcloud.oss.crc64 import crc64

DATA = bytes(range(256)) * 5000
CLAIMS = {
    "content-md5": base64.b64encode(hashlib.md5(DATA).digest()).decode(),
    "x-amz-content-sha256": hashlib.sha256(DATA).hexdigest(),
    "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(DATA).digest()).decode(),
    "x-amz-checksum-sha1": base64.b64encode(hashlib.sha1(DATA).digest()).decode(),
    "x-amz-checksum-crc32": base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode(),
}


def test_a_body_is_counted_and_its_crc64_made_without_any_claim() -> None:
    taken = take(Body.of(DATA), HeaderFields(), thorough=False)
    assert (taken.size_bytes, taken.crc64, taken.kept) == (len(DATA), crc64(DATA), b"")


def test_bytes_are_kept_only_when_asked_for() -> None:
    assert take(Body.of(DATA), HeaderFields(), thorough=False, keep=True).kept == DATA


@pytest.mark.parametrize("name", CLAIMS)
def test_a_true_claim_passes_and_a_false_one_is_refused_by_name(name: str) -> None:
    headers = HeaderFields([(name, CLAIMS[name])])
    assert take(Body.of(DATA), headers, thorough=True).size_bytes == len(DATA)
    damaged = Body.of(DATA)
    damaged.corrupt(1_100_000)
    with pytest.raises(WrongBytesError, match=name):
        take(damaged, headers, thorough=True)


def test_the_check_value_of_crc32c_is_right() -> None:
    claim = base64.b64encode(0xE3069283.to_bytes(4, "big")).decode()
    assert take(Body.of(b"123456789"), HeaderFields([("x-amz-checksum-crc32c", claim)]), thorough=False).size_bytes == 9


def test_dear_checksums_are_left_out_when_not_thorough_and_cheap_ones_never() -> None:
    damaged = Body.of(DATA)
    damaged.corrupt(0)
    take(damaged, HeaderFields([("content-md5", CLAIMS["content-md5"])]), thorough=False)
    damaged = Body.of(DATA)
    damaged.corrupt(0)
    with pytest.raises(WrongBytesError, match="crc32"):
        take(damaged, HeaderFields([("x-amz-checksum-crc32", CLAIMS["x-amz-checksum-crc32"])]), thorough=False)


def test_an_unsigned_payload_claims_nothing() -> None:
    headers = HeaderFields([("x-amz-content-sha256", "UNSIGNED-PAYLOAD")])
    assert take(Body.of(DATA), headers, thorough=True).size_bytes == len(DATA)


def test_chunks_of_s3_are_unwrapped_and_counted_by_what_is_in_them() -> None:
    wire = b"5;chunk-signature=aa\r\nhello\r\n6;chunk-signature=bb\r\n world\r\n0;chunk-signature=cc\r\nx-t: 1\r\n\r\n"
    streaming = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    headers = HeaderFields([streaming, ("x-amz-decoded-content-length", "11")])
    assert take(Body.of(wire), headers, thorough=True, keep=True).kept == b"hello world"
    with pytest.raises(WrongBytesError, match="11 bytes came, 12 were announced"):
        take(Body.of(wire), HeaderFields([streaming, ("x-amz-decoded-content-length", "12")]), thorough=True)
