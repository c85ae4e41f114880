"""Multipart uploads through oss2, call by call."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

import oss2
import pytest
from fastcrc.crc64 import xz
from oss2.models import PartInfo
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import BUCKET, REGION
from tests.emulators.oss.conftest import Connect

MIN = 100 * 1024


def _upload(bucket: Any, key: str, parts: Sequence[bytes], **initiate: Any) -> tuple[str, list[Any]]:
    upload_id = bucket.init_multipart_upload(key, **initiate).upload_id
    done = [
        PartInfo(number, bucket.upload_part(key, upload_id, number, part).etag) for number, part in enumerate(parts, 1)
    ]
    return upload_id, done


def _refusal(call: Any, *args: Any, **options: Any) -> tuple[int, str]:
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        call(*args, **options)
    return refusal.value.status, refusal.value.code


def test_parts_become_one_object_with_the_crc_of_all_its_bytes(bucket: Any) -> None:
    parts = [os.urandom(MIN), os.urandom(MIN + 7), os.urandom(3)]
    upload_id, done = _upload(bucket, "big é", parts, headers={"x-oss-meta-v": "1"})
    assert not bucket.object_exists("big é")
    result = bucket.complete_multipart_upload("big é", upload_id, done)
    data = b"".join(parts)
    digests = "".join(hashlib.md5(part).hexdigest().upper() for part in parts).encode()
    assert result.etag == f"{hashlib.md5(digests).hexdigest().upper()}-3"
    assert result.crc == xz(data)
    got = bucket.get_object("big é")
    assert got.read() == data
    assert (got.headers["x-oss-object-type"], got.headers["x-oss-meta-v"]) == ("Multipart", "1")
    assert bucket.head_object("big é").headers["x-oss-hash-crc64ecma"] == str(xz(data))


def test_a_range_may_span_parts(one_bucket: Any) -> None:
    parts = [os.urandom(MIN), os.urandom(MIN), os.urandom(MIN)]
    upload_id, done = _upload(one_bucket, "k", parts)
    one_bucket.complete_multipart_upload("k", upload_id, done)
    data = b"".join(parts)
    for start, end in ((MIN - 2, MIN + 1), (10, 2 * MIN + 10), (MIN, 2 * MIN - 1)):
        assert one_bucket.get_object("k", byte_range=(start, end)).read() == data[start : end + 1]


def test_a_part_sent_again_replaces_the_first(one_bucket: Any, cloud: LocalCloud) -> None:
    upload_id, done = _upload(one_bucket, "k", [b"a" * MIN])
    again = PartInfo(1, one_bucket.upload_part("k", upload_id, 1, b"b").etag)
    assert _refusal(one_bucket.complete_multipart_upload, "k", upload_id, done) == (400, "InvalidPart")
    one_bucket.complete_multipart_upload("k", upload_id, [again])
    assert one_bucket.get_object("k").read() == b"b"
    assert _data_files(cloud) == 1


def _data_files(cloud: LocalCloud) -> int:
    return len(list((cloud.root / REGION / "oss" / "data").glob("*/*")))


def test_completion_checks_parts_order_and_sizes(bucket: Any) -> None:
    upload_id, done = _upload(bucket, "k", [b"a" * MIN, b"b" * (MIN - 1), b"c" * MIN])
    complete = bucket.complete_multipart_upload
    assert _refusal(complete, "k", upload_id, [*done, PartInfo(9, "0" * 32)]) == (400, "InvalidPart")
    assert _refusal(complete, "k", upload_id, [PartInfo(1, "0" * 32)]) == (400, "InvalidPart")
    too_small = (400, "EntityTooSmall")
    assert _refusal(complete, "k", upload_id, done) == too_small
    assert _refusal(complete, "k", upload_id, []) == (400, "MalformedXML")
    # oss2 sorts the parts it is given, so the wrong order has to be written by hand.
    body = "".join(f"<Part><PartNumber>{p.part_number}</PartNumber><ETag>{p.etag}</ETag></Part>" for p in done[::-1])
    wrong = f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>"
    assert _refusal(_post, bucket, "k", upload_id, wrong) == (400, "InvalidPartOrder")
    assert _refusal(_post, bucket, "k", upload_id, "<nonsense") == (400, "MalformedXML")
    complete("k", upload_id, [done[0], done[2]])
    assert bucket.get_object("k").read() == b"a" * MIN + b"c" * MIN


def _post(bucket: Any, key: str, upload_id: str, body: str, headers: dict[str, str] | None = None) -> Any:
    return bucket._do("POST", bucket.bucket_name, key, params={"uploadId": upload_id}, data=body, headers=headers)


def test_complete_all_takes_every_part_and_no_list(one_bucket: Any) -> None:
    upload_id, done = _upload(one_bucket, "k", [b"a" * MIN, b"b"])
    everything = {"x-oss-complete-all": "yes"}
    listed = "<CompleteMultipartUpload/>"
    assert _refusal(_post, one_bucket, "k", upload_id, listed, everything) == (400, "InvalidArgument")
    one_bucket.complete_multipart_upload("k", upload_id, None, headers=everything)
    assert one_bucket.head_object("k").content_length == MIN + 1
    assert len(done) == 2


def test_part_numbers_have_limits(one_bucket: Any) -> None:
    upload_id = one_bucket.init_multipart_upload("k").upload_id
    for number in (0, 10_001, "x"):
        assert _refusal(one_bucket.upload_part, "k", upload_id, number, b"1") == (400, "InvalidArgument")
    one_bucket.upload_part("k", upload_id, 10_000, b"1")


def test_an_unknown_upload_is_no_such_upload_everywhere(bucket: Any) -> None:
    upload_id, done = _upload(bucket, "k", [b"a"])
    bucket.complete_multipart_upload("k", upload_id, done)
    gone = (404, "NoSuchUpload")
    assert _refusal(bucket.complete_multipart_upload, "k", upload_id, done) == gone
    assert _refusal(bucket.upload_part, "k", upload_id, 1, b"1") == gone
    assert _refusal(bucket.abort_multipart_upload, "k", upload_id) == gone
    assert _refusal(bucket.list_parts, "k", upload_id) == gone
    other = bucket.init_multipart_upload("other").upload_id
    assert _refusal(bucket.upload_part, "k", other, 1, b"1") == gone


def test_an_abort_leaves_nothing(bucket: Any, cloud: LocalCloud) -> None:
    upload_id, _ = _upload(bucket, "k", [b"a" * MIN, b"b"])
    assert _data_files(cloud) == 2
    assert bucket.abort_multipart_upload("k", upload_id).status == 204
    assert list(oss2.MultipartUploadIterator(bucket)) == []
    assert _data_files(cloud) == 0


def test_forbid_overwrite_counts_on_initiate_and_on_complete_apart(bucket: Any) -> None:
    forbid = {"x-oss-forbid-overwrite": "true"}
    first, first_done = _upload(bucket, "k", [b"1"], headers=forbid)
    second, second_done = _upload(bucket, "k", [b"2"], headers=forbid)
    bucket.complete_multipart_upload("k", first, first_done)
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        bucket.complete_multipart_upload("k", second, second_done, headers=forbid)
    error = refusal.value
    assert (error.status, error.code, error.ec) == (409, "FileAlreadyExists", "0042-00000214")
    assert _refusal(bucket.init_multipart_upload, "k", headers=forbid) == (409, "FileAlreadyExists")
    # Asked for on Initiate only, it does not protect: the refused upload is still there and replaces.
    bucket.complete_multipart_upload("k", second, second_done)
    assert bucket.get_object("k").read() == b"2"


def test_parts_are_listed_in_pages_with_their_crc(bucket: Any) -> None:
    parts = [b"a", b"b", b"c"]
    upload_id, _ = _upload(bucket, "k é", parts)
    assert [part.size for part in oss2.PartIterator(bucket, "k é", upload_id, max_parts=2)] == [1, 1, 1]
    page = bucket.list_parts("k é", upload_id, max_parts=2)
    assert (page.is_truncated, page.next_marker) == (True, "2")
    last = bucket.list_parts("k é", upload_id, marker="2")
    assert (last.is_truncated, last.next_marker) == (False, "3")
    raw = bucket._do("GET", bucket.bucket_name, "k é", params={"uploadId": upload_id}).read()
    crcs = [int(node.text or "") for node in ET.fromstring(raw).iter("HashCrc64ecma")]
    assert crcs == [xz(part) for part in parts]
    empty = bucket.init_multipart_upload("none").upload_id
    assert bucket.list_parts("none", empty).next_marker == "0"


def test_uploads_are_listed_in_pages_by_key_and_id(bucket: Any) -> None:
    made = sorted((key, bucket.init_multipart_upload(key).upload_id) for key in ("a", "b/1", "b/1", "b/2", "c é"))
    found = [(u.key, u.upload_id) for u in oss2.MultipartUploadIterator(bucket, max_uploads=2)]
    assert found == made
    grouped = bucket.list_multipart_uploads(delimiter="/")
    assert [upload.key for upload in grouped.upload_list] == ["a", "c é"]
    assert grouped.prefix_list == ["b/"]
    of_key = [u.upload_id for u in oss2.ObjectUploadIterator(bucket, "b/1", max_uploads=1)]
    assert of_key == [upload_id for key, upload_id in made if key == "b/1"]
    after = bucket.list_multipart_uploads(prefix="b", key_marker="b/1")
    assert [upload.key for upload in after.upload_list] == ["b/2"]


def test_a_part_can_be_copied_from_an_object_already_there(bucket: Any) -> None:
    data = os.urandom(2 * MIN + 50)
    bucket.put_object("v1 é", data)
    upload_id = bucket.init_multipart_upload("v2").upload_id
    first = bucket.upload_part_copy(bucket.bucket_name, "v1 é", (0, MIN - 1), "v2", upload_id, 1)
    assert first.etag == hashlib.md5(data[:MIN]).hexdigest().upper()
    assert "x-oss-hash-crc64ecma" not in first.headers  # ListParts tells it
    listed = bucket._do("GET", bucket.bucket_name, "v2", params={"uploadId": upload_id}).read()
    assert ET.fromstring(listed).findtext("Part/HashCrc64ecma") == str(xz(data[:MIN]))
    second = bucket.upload_part("v2", upload_id, 2, b"changed")
    done = [PartInfo(1, first.etag), PartInfo(2, second.etag)]
    assert bucket.complete_multipart_upload("v2", upload_id, done).crc == xz(data[:MIN] + b"changed")
    assert bucket.get_object("v2").read() == data[:MIN] + b"changed"


def test_a_part_copy_refuses_bad_ranges_and_sources(bucket: Any) -> None:
    bucket.put_object("v1", b"0123456789")
    upload_id = bucket.init_multipart_upload("v2").upload_id
    copy = bucket.upload_part_copy
    for span in ((5, 10), (10, 12), (8, 2)):
        assert _refusal(copy, BUCKET, "v1", span, "v2", upload_id, 1) == (400, "InvalidArgument")
    assert _refusal(copy, BUCKET, "none", (0, 1), "v2", upload_id, 1) == (404, "NoSuchKey")
    assert _refusal(copy, BUCKET, "v1", (0, 1), "v2", "0" * 32, 1) == (404, "NoSuchUpload")
    wrong = {"x-oss-copy-source-if-match": "0" * 32}
    status = _refusal(copy, BUCKET, "v1", (0, 1), "v2", upload_id, 1, headers=wrong)
    assert status == (412, "PreconditionFailed")


def test_the_sdks_own_uploader_and_downloader_work(one_bucket: Any, tmp_path: Any) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(5 * MIN + 1))
    store = oss2.ResumableStore(root=str(tmp_path))
    options = {"multipart_threshold": MIN, "part_size": MIN, "num_threads": 2, "store": store}
    oss2.resumable_upload(one_bucket, "k", str(source), **options)
    options["store"] = oss2.ResumableDownloadStore(root=str(tmp_path))
    options["multiget_threshold"] = options.pop("multipart_threshold")
    oss2.resumable_download(one_bucket, "k", str(target), **options)
    assert target.read_bytes() == source.read_bytes()


def test_an_upload_to_a_missing_bucket_says_so(connect: Connect) -> None:
    missing = connect("never-made")
    assert _refusal(missing.init_multipart_upload, "k") == (404, "NoSuchBucket")
    assert _refusal(missing.upload_part, "k", "0" * 32, 1, b"1") == (404, "NoSuchBucket")
