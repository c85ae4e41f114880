"""Copies by OSS itself: what it costs, what it may answer, and what is believed of that."""

from __future__ import annotations

import pytest
from syncd.artifact.digest import crc64
from syncd.artifact.parts import cut
from syncd.errors import Corrupt, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.localcloud.faults import Action, FaultRule, Reset, Respond
from syncd.localcloud.httpd import Handler, ServerRequest, ServerResponse
from syncd.localcloud.server import LocalCloud
from syncd.store.base import PutMode
from syncd.values.source import Location
from tests.support.clouds import REGION, RawBucket
from tests.unit.store.test_oss_requests import answering

DATA = bytes(n % 253 for n in range(300_000))
PARTS = cut(len(DATA), 128 << 10)
FIRST = crc64(DATA[: PARTS[0].size_bytes])
LISTED = (
    "<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker><Part>"
    '<PartNumber>1</PartNumber><ETag>"E"</ETag><Size>{size}</Size>{crc}</Part></ListPartsResult>'
)


def test_bytes_that_are_copied_are_not_sent(cloud: LocalCloud, bucket: RawBucket) -> None:
    store = bucket.store(prefix="team/")
    store.put("old/k", DATA, PutMode.CREATE)
    upload = store.upload("new/k", PARTS)
    for part in PARTS:
        upload.copy(
            part,
            "old/k",
            part.offset_bytes,
            crc64(DATA[part.offset_bytes : part.offset_bytes + part.size_bytes]),
        )
    upload.complete(crc64(DATA))
    key = f"{bucket.name}/team/new/k"
    assert cloud.counters.bytes_copied("UploadPartCopy", key) == len(DATA)
    assert cloud.counters.bytes_in("UploadPartCopy", key) == 0
    assert cloud.counters.count("UploadPart", key) == 0


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (Respond(403, "AccessDenied", "no oss:GetObject"), Refused),
        (Respond(403, "InvalidObjectState", "archived"), Refused),
        (Respond(503, "SlowDown"), Unavailable),
        (Respond(400, "InvalidArgument", "too large"), Invalid),
        (Reset(), Unavailable),
    ],
    ids=["permission", "archived", "slow", "argument", "reset"],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_copy_that_fails_can_be_made_again(
    cloud: LocalCloud, bucket: RawBucket, action: Action, kind: type[SyncdError], when: str
) -> None:
    store = bucket.store()
    store.put("old/k", DATA, PutMode.CREATE)
    upload = store.upload("new/k", PARTS)
    cloud.faults.add(FaultRule("oss", action, "UploadPartCopy", times=1, when="after" if when == "after" else "before"))
    with pytest.raises(kind, match=r"new/k part 1 from oss://.*old/k"):
        upload.copy(PARTS[0], "old/k", 0, FIRST)
    assert upload.copy(PARTS[0], "old/k", 0, FIRST).crc64 == FIRST


def test_a_bucket_that_is_gone_is_not_an_object_that_is_gone(bucket: RawBucket) -> None:
    store = bucket.store()
    upload = store.upload("new/k", PARTS)
    upload.abort()
    bucket.client.delete_bucket()
    with pytest.raises(Invalid, match="NoSuchBucket"):
        upload.copy(PARTS[0], "old/k", 0, FIRST)


def test_a_part_is_copied_from_another_bucket_by_its_whole_key(cloud: LocalCloud, bucket: RawBucket) -> None:
    other = RawBucket(cloud.endpoint(REGION))
    other.write("raw/ü k+%", b"head" + DATA)
    upload = bucket.store(prefix="team/").upload("new/k", PARTS)
    for part in PARTS:
        there = Location(REGION, other.name, "raw/ü k+%")
        upload.copy(part, there, 4 + part.offset_bytes, crc64(DATA[part.offset_bytes :][: part.size_bytes]))
    upload.complete(crc64(DATA))
    assert bucket.read("team/new/k") == DATA


def test_a_bucket_that_is_said_to_be_here_and_is_not_is_refused(cloud: LocalCloud, bucket: RawBucket) -> None:
    other = RawBucket(cloud.endpoint("cn-shanghai"), region="cn-shanghai")
    other.write("k", DATA)
    upload = bucket.store().upload("new/k", PARTS)
    with pytest.raises(Refused, match="same data center"):
        upload.copy(PARTS[0], Location(REGION, other.name, "k"), 0, FIRST)


def copying(told: str, listed: str) -> tuple[list[str], Handler]:
    """An OSS that answers a copy with this CRC header and lists its parts like that."""
    seen: list[str] = []

    def answer(request: ServerRequest) -> ServerResponse:
        query = dict(request.query)
        if "uploads" in query:
            body = "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>U</UploadId>"
            return ServerResponse(200, [], f"{body}</InitiateMultipartUploadResult>".encode())
        seen.append(f"{request.method} {query.get('part-number-marker', '')}".strip())
        if request.method == "GET":
            return ServerResponse(200, [], listed.encode())
        headers = [("ETag", '"E"'), *([("x-oss-hash-crc64ecma", told)] if told else [])]
        return ServerResponse(200, headers, b"<CopyPartResult><ETag>E</ETag></CopyPartResult>")

    return seen, answer


def test_a_crc_in_the_answer_is_taken_and_the_parts_are_not_listed() -> None:
    seen, answer = copying(str(FIRST), "")
    with answering(answer) as store:
        assert store.upload("new/k", PARTS).copy(PARTS[0], "old/k", 0, FIRST).crc64 == FIRST
    assert seen == ["PUT"]


def test_without_a_crc_in_the_answer_this_part_is_listed() -> None:
    seen, answer = copying("", LISTED.format(size=PARTS[0].size_bytes, crc=f"<HashCrc64ecma>{FIRST}</HashCrc64ecma>"))
    with answering(answer) as store:
        assert store.upload("new/k", PARTS).copy(PARTS[0], "old/k", 0, FIRST).crc64 == FIRST
    assert seen == ["PUT", "GET 0"]


@pytest.mark.parametrize(
    ("told", "listed"),
    [
        ("1", ""),
        ("", LISTED.format(size=PARTS[0].size_bytes, crc="")),
        ("", LISTED.format(size=PARTS[0].size_bytes, crc="<HashCrc64ecma>1</HashCrc64ecma>")),
        ("", LISTED.format(size=len(DATA), crc=f"<HashCrc64ecma>{FIRST}</HashCrc64ecma>")),
        ("", LISTED.replace("<PartNumber>1<", "<PartNumber>2<").format(size=PARTS[0].size_bytes, crc="")),
    ],
    ids=["wrong in the answer", "none anywhere", "wrong in the list", "another size", "not listed"],
)
def test_a_copy_that_nothing_proves_is_corrupt(told: str, listed: str) -> None:
    _, answer = copying(told, listed)
    with answering(answer) as store, pytest.raises(Corrupt, match=r"new/k part 1"):
        store.upload("new/k", PARTS).copy(PARTS[0], "old/k", 0, FIRST)


def test_a_source_that_is_gone_and_an_upload_that_is_gone_are_named(bucket: RawBucket) -> None:
    store = bucket.store()
    upload = store.upload("new/k", PARTS)
    with pytest.raises(NotFound, match="NoSuchKey"):
        upload.copy(PARTS[0], "old/k", 0, FIRST)
    upload.abort()
    with pytest.raises(NotFound, match="NoSuchUpload"):
        upload.copy(PARTS[0], "old/k", 0, FIRST)
