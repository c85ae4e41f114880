"""What OSS and the way to it can do to us: lost answers, flipped bits, throttling, wrong keys."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from syncd.artifact.digest import crc64
from syncd.artifact.parts import cut
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, Refused, Unavailable
from syncd.localcloud.faults import Action, FlipBit, Reset, Respond, Truncate
from syncd.localcloud.server import LocalCloud
from syncd.secret import Secret
from syncd.store.base import PutMode
from syncd.store.oss.store import Credentials, OssStore
from syncd.store.oss.upload import OssUpload
from tests.support.clouds import KEY_ID, KEY_SECRET, REGION, RawBucket

DATA = bytes(n % 253 for n in range(300_000))
PARTS = cut(len(DATA), 128 << 10)
CRC = crc64(DATA)
HTML = Respond(502, body="<html><body>Bad Gateway</body></html>")
WRONG_CRC = Respond(200, headers={"x-oss-hash-crc64ecma": "1", "ETag": '"E"'}, body="")


@pytest.fixture
def store(bucket: RawBucket) -> OssStore:
    return bucket.store()


def sent(store: OssStore, key: str = "d/k") -> OssUpload:
    upload = store.upload(key, PARTS)
    for part in PARTS:
        piece = DATA[part.offset_bytes : part.offset_bytes + part.size_bytes]
        upload.send(part, piece, crc64(piece))
    return upload


# lost answers


@pytest.mark.parametrize("action", [Reset(), HTML, Respond(500)], ids=["reset", "html", "500"])
def test_a_lost_answer_to_complete_is_settled_by_looking(
    store: OssStore, bucket: RawBucket, fault: Callable[..., None], action: Action
) -> None:
    upload = sent(store)
    fault("CompleteMultipartUpload", action, when="after")
    assert upload.complete(CRC).crc64 == CRC
    assert bucket.read("d/k") == DATA
    assert bucket.uploads() == set()


@pytest.mark.parametrize("action", [Reset(), HTML, Respond(503, "SlowDown")], ids=["reset", "html", "503"])
def test_a_complete_that_was_not_carried_out_can_be_asked_for_again(
    store: OssStore, bucket: RawBucket, fault: Callable[..., None], action: Action
) -> None:
    upload = sent(store)
    fault("CompleteMultipartUpload", action)
    with pytest.raises(Unavailable):
        upload.complete(CRC)
    assert bucket.all_keys() == set()
    assert upload.complete(CRC).size_bytes == len(DATA)


def test_when_looking_fails_too_nothing_is_assumed(store: OssStore, fault: Callable[..., None]) -> None:
    upload = sent(store)
    fault("CompleteMultipartUpload", Reset(), when="after")
    fault("HeadObject", Reset())
    with pytest.raises(Unavailable):
        upload.complete(CRC)
    assert upload.complete(CRC).crc64 == CRC


def test_a_lost_answer_with_another_object_there_is_a_conflict(
    store: OssStore, bucket: RawBucket, fault: Callable[..., None]
) -> None:
    upload = sent(store)
    bucket.write("d/k", b"theirs")
    fault("CompleteMultipartUpload", Reset())
    with pytest.raises(Conflict, match="6 bytes"):
        upload.complete(CRC)


@pytest.mark.parametrize("mode", list(PutMode))
def test_a_lost_answer_to_put_is_success_the_second_time(
    store: OssStore, fault: Callable[..., None], mode: PutMode
) -> None:
    fault("PutObject", Reset(), when="after")
    with pytest.raises(Unavailable):
        store.put("k", b"1", mode)
    assert store.put("k", b"1", mode).crc64 == crc64(b"1")


def test_a_lost_answer_to_a_part_is_harmless(store: OssStore, bucket: RawBucket, fault: Callable[..., None]) -> None:
    upload = store.upload("k", PARTS)
    part, piece = PARTS[0], DATA[: PARTS[0].size_bytes]
    fault("UploadPart", Reset(), when="after")
    with pytest.raises(Unavailable):
        upload.send(part, piece, crc64(piece))
    assert bucket.store().upload("k", PARTS, resume=upload.token).has(part, crc64(piece))
    upload.send(part, piece, crc64(piece))


# flipped bits


def test_a_bit_flipped_on_the_wire_of_a_part_is_caught(
    store: OssStore, bucket: RawBucket, fault: Callable[..., None]
) -> None:
    upload = store.upload("k", PARTS)
    part, piece = PARTS[0], DATA[: PARTS[0].size_bytes]
    fault("UploadPart", FlipBit(1000))
    with pytest.raises(Corrupt, match=rf"part 1: OSS holds {part.size_bytes} bytes with crc64 [0-9a-f]{{16}}"):
        upload.send(part, piece, crc64(piece))
    assert not bucket.store().upload("k", PARTS, resume=upload.token).has(part, crc64(piece))
    assert bucket.all_keys() == set()


@pytest.mark.parametrize("mode", list(PutMode))
def test_a_bit_flipped_on_the_wire_of_a_put_is_caught_and_taken_back(
    store: OssStore, bucket: RawBucket, fault: Callable[..., None], mode: PutMode
) -> None:
    fault("PutObject", FlipBit(0))
    with pytest.raises(Corrupt, match="deleted again"):
        store.put("k", b"12345", mode)
    assert bucket.all_keys() == set()


def test_a_wrong_crc_from_the_server_for_a_part_is_caught(store: OssStore, fault: Callable[..., None]) -> None:
    fault("UploadPart", WRONG_CRC, when="after")
    with pytest.raises(Corrupt, match="0000000000000001"):
        sent(store)


@pytest.mark.parametrize("answer", [WRONG_CRC, replace(WRONG_CRC, headers={"ETag": '"E"'})], ids=["wrong", "none"])
def test_a_wrong_crc_of_the_whole_is_caught_and_taken_back(
    store: OssStore, bucket: RawBucket, fault: Callable[..., None], answer: Respond
) -> None:
    upload = sent(store)
    fault("CompleteMultipartUpload", answer, when="after")
    with pytest.raises(Corrupt, match=r"of the whole.*deleted again"):
        upload.complete(CRC)
    assert bucket.all_keys() == set()


def test_a_put_without_a_crc_in_its_answer_is_not_believed(
    store: OssStore, bucket: RawBucket, fault: Callable[..., None]
) -> None:
    fault("PutObject", Respond(200, body=""), when="after")
    with pytest.raises(Corrupt, match="crc64 none"):
        store.put("k", b"1", PutMode.CREATE)
    assert bucket.all_keys() == set()


def test_an_answer_that_breaks_off_is_unavailable(
    store: OssStore, bucket: RawBucket, fault: Callable[..., None]
) -> None:
    bucket.write("k", DATA)
    fault("GetObject", Truncate(1000))
    with store.open("k") as stream, pytest.raises(Unavailable, match="/k"):
        while stream.readinto(memoryview(bytearray(600))):
            pass


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("ListObjectsV2", lambda store: list(store.list(""))),
        ("ListMultipartUploads", lambda store: list(store.pending(""))),
        ("InitiateMultipartUpload", lambda store: store.upload("k", PARTS)),
    ],
)
@pytest.mark.parametrize("body", ["<html>", "", "<Result/>"])
def test_an_answer_that_cannot_be_read_is_unavailable(
    store: OssStore, fault: Callable[..., None], operation: str, call: Callable[[OssStore], Any], body: str
) -> None:
    fault(operation, Respond(200, body=body), when="after")
    with pytest.raises(Unavailable):
        call(store)


def test_a_list_of_parts_that_cannot_be_read_is_unavailable(store: OssStore, fault: Callable[..., None]) -> None:
    token = store.upload("k", PARTS).token
    fault("ListParts", HTML)
    with pytest.raises(Unavailable):
        store.upload("k", PARTS, resume=token)


def test_a_range_that_is_ignored_is_not_taken_for_the_rest(
    store: OssStore, bucket: RawBucket, fault: Callable[..., None]
) -> None:
    bucket.write("k", DATA)
    fault("GetObject", Respond(200, body="all of it"))
    with pytest.raises(Unavailable, match="range was ignored"):
        store.open("k", 100)


# looks that fail are never absence


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Respond(404, "NoSuchBucket"), Invalid),
        (Respond(403, "AccessDenied"), Refused),
        (Respond(503, "SlowDown", headers={"Retry-After": "3"}), Unavailable),
    ],
    ids=["no bucket", "denied", "busy"],
)
def test_a_look_that_failed_is_never_absence(
    store: OssStore, fault: Callable[..., None], answer: Respond, kind: type[Exception]
) -> None:
    for operation, call in (("HeadObject", store.stat), ("GetObject", store.open), ("DeleteObject", store.delete)):
        fault(operation, answer)
        with pytest.raises(kind):
            call("k")


def test_a_missing_bucket_is_a_matter_of_settings(cloud: LocalCloud) -> None:
    store = RawBucket(cloud.endpoint(REGION), "never-made").store()
    for call in (lambda: store.stat("k"), lambda: list(store.list("")), lambda: store.upload("k", PARTS)):
        with pytest.raises(Invalid, match="never-made") as caught:
            call()
        assert "bucket" in caught.value.hint


def test_a_bucket_of_another_region_is_refused(cloud: LocalCloud, bucket: RawBucket) -> None:
    elsewhere = RawBucket(cloud.endpoint("cn-shanghai"), bucket.name, region="cn-shanghai").store()
    with pytest.raises(Refused):
        elsewhere.put("k", b"1", PutMode.CREATE)


def test_nobody_listening_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = RawBucket(f"http://127.0.0.1:{unused.getsockname()[1]}", "some-bucket").store()
        with pytest.raises(Unavailable) as caught:
            store.stat("k")
    assert "endpoint" in caught.value.hint


# credentials and secrets


def test_wrong_keys_are_refused_and_never_printed(bucket: RawBucket, caplog: pytest.LogCaptureFixture) -> None:
    secret = "not-the-right-secret"
    credentials = Credentials(KEY_ID, Secret(secret), Secret("and-a-token"))
    settings = bucket.settings(credentials=lambda: credentials)
    store = OssStore(settings)
    with caplog.at_level(logging.DEBUG), pytest.raises(Refused) as caught:
        store.put("k", b"1", PutMode.CREATE)
    said = f"{caught.value!s} {caught.value.hint} {store!r} {settings!r} {credentials!r} {caplog.text}"
    assert secret not in said
    assert "and-a-token" not in said
    assert "credentials" in caught.value.hint


def test_credentials_are_asked_for_each_time_so_that_they_can_rotate(bucket: RawBucket) -> None:
    known = [Credentials("gone", Secret("gone")), Credentials(KEY_ID, Secret(KEY_SECRET))]
    store = bucket.store(credentials=lambda: known[0])
    with pytest.raises(Refused):
        store.put("k", b"1", PutMode.CREATE)
    known.pop(0)
    store.put("k", b"1", PutMode.CREATE)


# requests as they go out


def test_large_bodies_go_out_uncopied_and_whole(store: OssStore, bucket: RawBucket) -> None:
    buffer = bytearray(5 << 20)
    buffer[-1] = 7
    view = memoryview(buffer)[1:]
    upload = store.upload("k", cut(len(view)))
    upload.send(cut(len(view))[0], view, crc64(view))
    upload.complete(crc64(view))
    assert bucket.read("k") == bytes(view)


def test_parts_past_a_page_are_found_again(bucket: RawBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.store.oss.bucket.PAGE", 4)
    parts = cut(12 * (100 << 10), 100 << 10)
    piece = bytes(100 << 10)
    first = bucket.store().upload("k", parts)
    for part in (*parts[:9], parts[10]):
        first.send(part, piece, crc64(piece))
    again = bucket.store().upload("k", parts, resume=first.token)
    assert [again.has(part, crc64(piece)) for part in parts] == [True] * 9 + [False, True, False]


def test_uploads_past_a_page_are_listed(bucket: RawBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.store.oss.store.PAGE", 4)
    tokens = {bucket.client.init_multipart_upload(f"m/{n % 7}").upload_id for n in range(13)}
    assert {pending.token for pending in bucket.store().pending("m/")} == tokens


def test_an_upload_can_be_completed_from_what_the_store_lists_alone(store: OssStore, bucket: RawBucket) -> None:
    token = sent(store).token
    assert bucket.store().upload("d/k", PARTS, resume=token).complete(CRC).crc64 == CRC


@pytest.mark.parametrize("endpoint", ["http://", "ftp://127.0.0.1", "http://not a host"])
def test_an_endpoint_that_cannot_be_is_invalid(bucket: RawBucket, endpoint: str) -> None:
    with pytest.raises(Invalid):
        bucket.store(endpoint=endpoint)


def test_a_prefix_must_be_a_directory(bucket: RawBucket) -> None:
    with pytest.raises(Invalid):
        bucket.store(prefix="team")


def test_an_absent_upload_says_so(store: OssStore) -> None:
    upload = sent(store)
    upload.abort()
    with pytest.raises(NotFound, match="nothing is at the key"):
        upload.complete(CRC)
