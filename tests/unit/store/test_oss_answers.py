"""Lists are read as OSS writes them, with the CRCs of parts, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest
from syncd.store.base import PendingUpload, Stat
from syncd.store.oss.requests import crc64_in, time_in
from syncd.store.oss.responses import UploadedPart, hex_of, objects_in, parts_in, uploads_in

PARTS = """<ListPartsResult><Bucket>b</Bucket><Key>k</Key><UploadId>U</UploadId>
<NextPartNumberMarker>7</NextPartNumberMarker><MaxParts>2</MaxParts><IsTruncated>false</IsTruncated>
<Part><PartNumber>1</PartNumber><ETag>"AB"</ETag><Size>10</Size><HashCrc64ecma>11051210869376104954</HashCrc64ecma></Part>
<Part><PartNumber>7</PartNumber><ETag>"CD"</ETag><Size>20</Size></Part></ListPartsResult>"""
OBJECTS = """<ListBucketResult><Name>b</Name><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>
<NextContinuationToken>m%2Fz</NextContinuationToken><Contents><Key>m%2Fa%20%FC</Key><ETag>"AB"</ETag><Size>10</Size>
<LastModified>2026-10-21T07:28:00.000Z</LastModified></Contents></ListBucketResult>"""
UPLOADS = """<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>
<NextKeyMarker>m%2Fz</NextKeyMarker><NextUploadIdMarker>U2</NextUploadIdMarker><Upload><Key>m%2Fa+b</Key>
<UploadId>U1</UploadId><Initiated>2026-10-21T07:28:00.000Z</Initiated></Upload></ListMultipartUploadsResult>"""
AT = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
READERS = pytest.mark.parametrize(
    ("read", "page", "found", "marker", "no_marker"),
    [
        (parts_in, PARTS, {1: UploadedPart("AB", 10, 11051210869376104954), 7: UploadedPart("CD", 20, None)}, "7", ""),
        (objects_in, OBJECTS.replace("%FC", "%C3%BC"), [Stat("m/a ü", 10, None, AT, "AB")], "m/z", ""),
        (uploads_in, UPLOADS, [PendingUpload("m/a+b", "U1", AT)], ("m/z", "U2"), ("", "")),
    ],
    ids=["parts", "objects", "uploads"],
)


def truncated(page: str) -> str:
    return page.replace("<IsTruncated>false", "<IsTruncated>true")


@READERS
def test_a_page_gives_what_is_in_it_and_where_the_next_begins(
    read: object, page: str, found: object, marker: object, no_marker: object
) -> None:
    assert callable(read)
    assert read(ET.fromstring(page)) == (found, no_marker)
    assert read(ET.fromstring(truncated(page))) == (found, marker)


@READERS
def test_something_else_is_not_read_as_an_empty_page(
    read: object, page: str, found: object, marker: object, no_marker: object
) -> None:
    del found, marker, no_marker
    assert callable(read)
    wrong = [
        "<html/>",
        page.replace("<IsTruncated>false</IsTruncated>", ""),
        page.replace("<IsTruncated>false", "<IsTruncated>perhaps"),
        truncated(page).replace("Next", "Former"),
        page.replace("<Size>10", "<Size>ten").replace("<Initiated>2026", "<Initiated>then"),
    ]
    for body in wrong:
        with pytest.raises(ValueError, match=r"."):
            read(ET.fromstring(body))


def test_a_time_without_a_zone_is_oss_own() -> None:
    (found,), _ = objects_in(ET.fromstring(OBJECTS.replace("000Z", "000")))
    assert found.modified_at == AT


def test_a_name_that_is_not_encoded_is_taken_as_it_is() -> None:
    plain = OBJECTS.replace("<EncodingType>url</EncodingType>", "").replace("m%2Fa%20%FC", "m/a%20")
    (found,), _ = objects_in(ET.fromstring(plain))
    assert found.key == "m/a%20"


def test_headers_are_read() -> None:
    assert crc64_in({}) is None
    assert crc64_in({"x-oss-hash-crc64ecma": "0"}) == 0
    with pytest.raises(ValueError, match="none"):
        crc64_in({"x-oss-hash-crc64ecma": "none"})
    for zone in ("GMT", "-0000", ""):
        assert time_in({"date": f"Wed, 21 Oct 2026 07:28:00 {zone}"}, "date") == AT
    assert (hex_of(None), hex_of(255)) == ("none", "00000000000000ff")
