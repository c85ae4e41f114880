"""The sink over HTTP, by clients that are not its own: oss2 for OSS, plain requests for what S3 clients send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import oss2
import pytest
import requests
from bench.sink import CONTROL, Sink
from syncd.localcloud.httpd import HttpServer
from syncd.localcloud.oss.crc64 import crc64

from tests.support.clouds import oss2_session


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = HttpServer(Sink(check_every=1).handle)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str) -> Any:
    return oss2.Bucket(oss2.Auth("key", "secret"), endpoint, "bucket-1", session=oss2_session())


def counts(endpoint: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(requests.get(endpoint + CONTROL, timeout=5).content)
    return found


def test_every_byte_of_every_body_is_counted_by_bucket(endpoint: str, bucket: Any) -> None:
    bucket.put_object("a", b"x" * 1000)
    requests.put(f"{endpoint}/bucket-2/b", data=b"y" * 70, timeout=5).raise_for_status()
    found = counts(endpoint)
    assert found["body_bytes"] == {"bucket-1": 1000, "bucket-2": 70}
    assert found["stored"]["bucket-1"] == {"objects": 1, "bytes": 1000}
    assert found["requests"] == {"PutObject": 2}
    assert found["head_bytes"] > 300


def test_an_object_has_its_size_and_crc_and_no_bytes(bucket: Any) -> None:
    answer = bucket.put_object("dir/name with space", b"some bytes")
    head = bucket.head_object("dir/name with space")
    assert (head.content_length, int(head.headers["x-oss-hash-crc64ecma"])) == (10, crc64(b"some bytes"))
    assert head.etag == answer.etag
    with pytest.raises(oss2.exceptions.ServerError) as refused:
        bucket.get_object("dir/name with space")
    assert refused.value.status == 501


def test_a_seal_is_kept_because_syncd_reads_it_back(bucket: Any) -> None:
    bucket.put_object("models/m/v/.syncd/manifest.json", b"{}")
    assert bucket.get_object("models/m/v/.syncd/manifest.json").read() == b"{}"


def test_parts_become_an_object_with_the_crc_of_the_whole(endpoint: str, bucket: Any) -> None:
    upload = bucket.init_multipart_upload("big").upload_id
    pieces = [b"a" * 100_000, b"b" * 5]
    parts = [
        oss2.models.PartInfo(n, bucket.upload_part("big", upload, n, piece).etag) for n, piece in enumerate(pieces, 1)
    ]
    assert [part.part_number for part in bucket.list_parts("big", upload).parts] == [1, 2]
    assert counts(endpoint)["uploads_open"] == 1
    answer = bucket.complete_multipart_upload("big", upload, parts)
    assert int(answer.headers["x-oss-hash-crc64ecma"]) == crc64(b"".join(pieces))
    assert counts(endpoint)["uploads_open"] == 0
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        bucket.abort_multipart_upload("big", upload)


def test_completing_with_a_tag_or_an_order_that_is_wrong_is_refused(endpoint: str, bucket: Any) -> None:
    upload = bucket.init_multipart_upload("big").upload_id
    tags = [bucket.upload_part("big", upload, n, b"x").etag for n in (1, 2)]
    for wrong in ([(1, tags[0]), (2, "ABC")], [(2, tags[1]), (1, tags[0])], [(3, tags[0])], []):
        nodes = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in wrong)
        body = f"<CompleteMultipartUpload>{nodes}</CompleteMultipartUpload>"
        answer = requests.post(f"{endpoint}/bucket-1/big?uploadId={upload}", data=body, timeout=5)
        assert (answer.status_code, "InvalidPart" in answer.text) == (400, True)
    bucket.abort_multipart_upload("big", upload)


def test_an_object_that_must_not_be_overwritten_stays(bucket: Any) -> None:
    bucket.put_object("a", b"1")
    with pytest.raises(oss2.exceptions.ServerError) as refused:
        bucket.put_object("a", b"22", headers={"x-oss-forbid-overwrite": "true"})
    assert (refused.value.status, refused.value.code) == (409, "FileAlreadyExists")
    assert bucket.head_object("a").content_length == 1


def test_listing_pages_through_all_keys_in_order_for_both_versions(bucket: Any) -> None:
    keys = [f"d/{n:03}" for n in range(25)]
    for key in keys:
        bucket.put_object(key, b"")
    bucket.put_object("other", b"")
    assert [found.key for found in oss2.ObjectIterator(bucket, prefix="d/", max_keys=10)] == keys
    assert [found.key for found in oss2.ObjectIteratorV2(bucket, prefix="d/", max_keys=10)] == keys
    assert [found.key for found in oss2.ObjectIterator(bucket, delimiter="/", max_keys=1)] == ["d/", "other"]
    bucket.delete_object("other")
    assert not bucket.object_exists("other")


def test_wrong_bytes_are_refused_and_remembered(endpoint: str) -> None:
    answer = requests.put(
        f"{endpoint}/bucket-1/k", data=b"abc", headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, timeout=5
    )
    assert answer.status_code == 400
    assert "BadDigest" in answer.text
    (refused,) = counts(endpoint)["refused"]
    assert "content-md5" in refused
    assert counts(endpoint)["stored"].get("bucket-1", {"objects": 0})["objects"] == 0


def test_what_the_sink_does_not_know_is_refused_and_remembered(endpoint: str) -> None:
    assert requests.post(f"{endpoint}/bucket-1/k", timeout=5).status_code == 501
    assert "POST of an object" in counts(endpoint)["refused"][0]


def test_clearing_forgets_objects_and_counts(endpoint: str, bucket: Any) -> None:
    bucket.put_object("a", b"1")
    requests.delete(endpoint + CONTROL, timeout=5)
    assert counts(endpoint)["requests"] == {}
    assert not bucket.object_exists("a")
