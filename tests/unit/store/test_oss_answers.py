"""Lists of parts are read with their CRCs, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree.ElementTree import ParseError

import pytest
from syncd.store.oss_answers import HeldPart, crc64_in, hex_of, parts_in, time_in

PAGE = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListPartsResult><Bucket>b</Bucket><Key>k</Key><UploadId>U</UploadId>
<NextPartNumberMarker>7</NextPartNumberMarker><MaxParts>2</MaxParts><IsTruncated>%s</IsTruncated>
<Part><PartNumber>1</PartNumber><ETag>"AB"</ETag><Size>10</Size><HashCrc64ecma>11051210869376104954</HashCrc64ecma></Part>
<Part><PartNumber>7</PartNumber><ETag>"CD"</ETag><Size>20</Size></Part></ListPartsResult>"""


@pytest.mark.parametrize(("truncated", "marker"), [(b"true", "7"), (b"false", "")])
def test_a_page_gives_parts_and_the_next_marker(truncated: bytes, marker: str) -> None:
    held = {1: HeldPart("AB", 10, 11051210869376104954), 7: HeldPart("CD", 20, None)}
    assert parts_in(PAGE % truncated) == (held, marker)


@pytest.mark.parametrize("body", [b"", b"<html>", b"<html/>", PAGE.replace(b"<Size>10", b"<Size>ten") % b"false"])
def test_something_else_is_not_read_as_no_parts(body: bytes) -> None:
    with pytest.raises((ParseError, ValueError)):
        parts_in(body)


def test_headers_are_read() -> None:
    assert crc64_in({}) is None
    assert crc64_in({"x-oss-hash-crc64ecma": "0"}) == 0
    with pytest.raises(ValueError, match="none"):
        crc64_in({"x-oss-hash-crc64ecma": "none"})
    assert time_in({"date": "Wed, 21 Oct 2026 07:28:00 GMT"}, "date") == datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
    assert (hex_of(None), hex_of(255)) == ("none", "00000000000000ff")
