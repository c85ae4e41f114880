"""Objects through oss2, unmodified: put, get, head, append, copy, symlinks, tags, delete."""

import base64
import hashlib
import os
import time
from typing import Any

import oss2
import pytest
from fastcrc.crc64 import xz
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import OTHER
from tests.emulators.oss.conftest import Connect

AWKWARD = "models/é ü+%25&=?#/{a}\\'\"~!()*;:@,$ /模型.bin"


def test_what_is_put_is_got_with_every_checksum(bucket: Any) -> None:
    data = os.urandom(300_000)
    put = bucket.put_object("models/a.bin", data)
    assert put.etag == hashlib.md5(data).hexdigest().upper()
    assert put.crc == xz(data)
    got = bucket.get_object("models/a.bin")
    assert got.read() == data
    assert got.server_crc == got.client_crc == xz(data)
    assert got.headers["x-oss-object-type"] == "Normal"
    assert got.headers["Content-MD5"] == base64.b64encode(hashlib.md5(data).digest()).decode()


def test_awkward_keys_survive_signing_storing_and_listing(bucket: Any) -> None:
    bucket.put_object(AWKWARD, b"x")
    assert bucket.get_object(AWKWARD).read() == b"x"
    assert [entry.key for entry in oss2.ObjectIteratorV2(bucket)] == [AWKWARD]
    bucket.delete_object(AWKWARD)
    assert not bucket.object_exists(AWKWARD)


def test_metadata_and_content_headers_come_back(bucket: Any) -> None:
    headers = {
        "Content-Type": "model/safetensors",
        "Cache-Control": "no-cache",
        "Content-Disposition": "attachment",
        "x-oss-meta-sha256": "ab" * 32,
        "x-oss-storage-class": "IA",
    }
    bucket.put_object("k", b"1", headers=headers)
    head = bucket.head_object("k")
    assert {name: head.headers[name] for name in headers} == headers
    assert head.content_length == 1
    assert abs(head.last_modified - time.time()) < 60


def test_a_stream_of_unknown_length_goes_in_chunks(bucket: Any) -> None:
    data = os.urandom(1_000_000)
    bucket.put_object("stream", iter([data[:333_333], data[333_333:]]))
    assert bucket.get_object("stream").read() == data


def test_response_headers_can_be_overridden(bucket: Any) -> None:
    bucket.put_object("k", b"1")
    got = bucket.get_object("k", params={"response-content-type": "text/plain"})
    assert got.headers["Content-Type"] == "text/plain"
    got.read()


def test_a_wrong_content_md5_is_refused_and_nothing_is_visible(bucket: Any) -> None:
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    with pytest.raises(oss2.exceptions.InvalidDigest):
        bucket.put_object("k", b"data", headers={"Content-MD5": wrong})
    with pytest.raises(oss2.exceptions.InvalidDigest):
        bucket.put_object("k", b"data", headers={"Content-MD5": "not base64"})
    assert not bucket.object_exists("k")


def test_forbid_overwrite_protects_what_is_there(bucket: Any) -> None:
    headers = {"x-oss-forbid-overwrite": "true"}
    bucket.put_object("k", b"first", headers=headers)
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        bucket.put_object("k", b"second", headers=headers)
    assert (refusal.value.status, refusal.value.code) == (409, "FileAlreadyExists")
    assert bucket.get_object("k").read() == b"first"
    bucket.put_object("k", b"third")
    assert bucket.get_object("k").read() == b"third"


@pytest.mark.parametrize(
    ("span", "behavior", "status", "want"),
    [
        ((2, 4), "", 206, b"234"),
        ((7, None), "", 206, b"789"),
        ((None, 3), "", 206, b"789"),
        ((5, 50), "", 200, b"0123456789"),
        ((5, 50), "standard", 206, b"56789"),
        ((50, 60), "", 200, b"0123456789"),
        ((None, 50), "standard", 206, b"0123456789"),
    ],
)
def test_ranges_are_read_as_oss_reads_them(
    one_bucket: Any, span: tuple[int | None, int | None], behavior: str, status: int, want: bytes
) -> None:
    one_bucket.put_object("k", b"0123456789")
    headers = {"x-oss-range-behavior": behavior} if behavior else {}
    got = one_bucket.get_object("k", byte_range=span, headers=headers)
    assert (got.status, got.read()) == (status, want)
    assert ("x-oss-hash-crc64ecma" in got.headers) is (status == 200)


def test_a_range_past_the_end_is_416_in_standard_behaviour(one_bucket: Any) -> None:
    one_bucket.put_object("k", b"0123456789")
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        one_bucket.get_object("k", byte_range=(10, 20), headers={"x-oss-range-behavior": "standard"})
    assert (refusal.value.status, refusal.value.code) == (416, "InvalidRange")


def test_conditions_hold_for_get_and_head(bucket: Any) -> None:
    etag = bucket.put_object("k", b"1").etag
    old, new = oss2.http_date(1_000_000_000), oss2.http_date(int(time.time()) + 60)
    for read in (bucket.get_object, bucket.head_object):
        read("k", headers={"If-Match": etag})
        read("k", headers={"If-Modified-Since": old, "If-Unmodified-Since": new})
        for condition in ({"If-None-Match": f'"{etag}"'}, {"If-Modified-Since": new}):
            with pytest.raises(oss2.exceptions.NotModified):
                read("k", headers=condition)
        for condition in ({"If-Match": "0" * 32}, {"If-Unmodified-Since": old}):
            with pytest.raises(oss2.exceptions.PreconditionFailed):
                read("k", headers=condition)


def test_a_missing_key_is_reported_in_the_body_or_in_a_header(bucket: Any) -> None:
    with pytest.raises(oss2.exceptions.NoSuchKey) as refusal:
        bucket.get_object("none")
    assert refusal.value.details["Key"] == "none"
    assert refusal.value.request_id
    with pytest.raises(oss2.exceptions.NotFound) as in_header:
        bucket.head_object("none")
    assert in_header.value.code == "NoSuchKey"
    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.get_object_meta("none")


def test_meta_is_the_short_answer(bucket: Any) -> None:
    put = bucket.put_object("k", b"12345")
    meta = bucket.get_object_meta("k")
    assert (meta.content_length, meta.etag) == (5, put.etag)


def test_appending_grows_an_object_and_checks_the_position(bucket: Any) -> None:
    first = bucket.append_object("log", 0, b"one", init_crc=0)
    second = bucket.append_object("log", first.next_position, b"two", init_crc=first.crc)
    assert second.next_position == 6
    assert second.crc == xz(b"onetwo")
    assert bucket.get_object("log").read() == b"onetwo"
    assert bucket.head_object("log").object_type == "Appendable"
    with pytest.raises(oss2.exceptions.PositionNotEqualToLength):
        bucket.append_object("log", 0, b"again")
    bucket.put_object("plain", b"1")
    with pytest.raises(oss2.exceptions.ObjectNotAppendable):
        bucket.append_object("plain", 1, b"2")


def test_a_copy_keeps_or_replaces_metadata(bucket: Any) -> None:
    put = bucket.put_object("a b+é", b"bytes", headers={"x-oss-meta-v": "1", "x-oss-tagging": "t=1"})
    copied = bucket.copy_object(bucket.bucket_name, "a b+é", "copy")
    assert copied.etag == put.etag
    head = bucket.head_object("copy")
    assert (head.headers["x-oss-meta-v"], head.headers["x-oss-tagging-count"]) == ("1", "1")
    replace = {"x-oss-metadata-directive": "REPLACE", "x-oss-meta-v": "2"}
    bucket.copy_object(bucket.bucket_name, "a b+é", "copy", headers=replace)
    assert bucket.head_object("copy").headers["x-oss-meta-v"] == "2"
    assert bucket.get_object("copy").read() == b"bytes"


def test_a_copy_obeys_its_conditions(bucket: Any) -> None:
    etag = bucket.put_object("a", b"1").etag
    copy = (bucket.bucket_name, "a", "b")
    bucket.copy_object(*copy, headers={"x-oss-copy-source-if-match": etag})
    with pytest.raises(oss2.exceptions.PreconditionFailed):
        bucket.copy_object(*copy, headers={"x-oss-copy-source-if-match": "0" * 32})
    with pytest.raises(oss2.exceptions.NotModified):
        bucket.copy_object(*copy, headers={"x-oss-copy-source-if-none-match": etag})
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        bucket.copy_object(*copy, headers={"x-oss-forbid-overwrite": "true"})
    assert refusal.value.code == "FileAlreadyExists"


def test_a_copy_never_crosses_regions(bucket: Any, connect: Connect) -> None:
    bucket.put_object("a", b"1")
    far = connect("models-sg", region=OTHER)
    far.create_bucket()
    with pytest.raises(oss2.exceptions.AccessDenied) as refusal:
        far.copy_object(bucket.bucket_name, "a", "a")
    assert "same data center" in refusal.value.message
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        far.copy_object("nowhere-at-all", "a", "a")
    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.copy_object(bucket.bucket_name, "none", "a")


def test_a_symlink_reads_as_its_target(bucket: Any) -> None:
    bucket.put_symlink("dir/target é", "link")
    assert bucket.get_symlink("link").target_key == "dir/target é"
    with pytest.raises(oss2.exceptions.ServerError) as dangling:
        bucket.get_object("link")
    assert dangling.value.code == "SymlinkTargetNotExist"
    bucket.put_object("dir/target é", b"there")
    assert bucket.get_object("link").read() == b"there"
    bucket.put_symlink("link", "link2")
    with pytest.raises(oss2.exceptions.ServerError) as twice:
        bucket.get_object("link2")
    assert twice.value.code == "InvalidTargetType"
    with pytest.raises(oss2.exceptions.ServerError) as plain:
        bucket.get_symlink("dir/target é")
    assert plain.value.code == "NotSymlink"


def _tagging(tags: dict[str, str]) -> Any:
    rule = oss2.models.TaggingRule()
    for name, value in tags.items():
        rule.add(name, value)
    return oss2.models.Tagging(rule)


def test_tags_are_kept_within_their_limits(bucket: Any) -> None:
    bucket.put_object("k", b"1", headers={"x-oss-tagging": "a=1&b=two%20words"})
    assert bucket.get_object_tagging("k").tag_set.tagging_rule == {"a": "1", "b": "two words"}
    longest = {"k" * 128: "v" * 256} | {f"t{n}": "" for n in range(9)}
    bucket.put_object_tagging("k", _tagging(longest))
    assert bucket.get_object_tagging("k").tag_set.tagging_rule == longest
    too_many = "&".join(f"t{n}=" for n in range(11))
    for excess in (f"{'k' * 129}=", f"k={'v' * 257}", too_many, "k=%3C", "a=1&a=2"):
        with pytest.raises(oss2.exceptions.ServerError) as refusal:
            bucket.put_object("other", b"1", headers={"x-oss-tagging": excess})
        code = {too_many: "BadRequest", "a=1&a=2": "InvalidArgument"}.get(excess, "InvalidTag")
        assert (refusal.value.status, refusal.value.code) == (400, code)
    bucket.delete_object_tagging("k")
    assert bucket.get_object_tagging("k").tag_set.tagging_rule == {}


def test_an_object_has_an_acl_of_its_own(bucket: Any) -> None:
    bucket.put_object("k", b"1")
    assert bucket.get_object_acl("k").acl == "default"
    bucket.put_object_acl("k", oss2.OBJECT_ACL_PUBLIC_READ)
    assert bucket.get_object_acl("k").acl == "public-read"
    with pytest.raises(oss2.exceptions.InvalidArgument):
        bucket.put_object_acl("k", "everyone")


def test_many_are_deleted_at_once_and_deleting_again_is_success(bucket: Any) -> None:
    keys = [f"k {n}&<é>" for n in range(5)]
    for key in keys:
        bucket.put_object(key, b"1")
    assert bucket.batch_delete_objects([*keys, "never was"]).deleted_keys == [*keys, "never was"]
    assert list(oss2.ObjectIterator(bucket)) == []
    assert bucket.delete_object("never was").status == 204


def test_an_archived_object_must_be_restored_before_it_is_read(one_bucket: Any) -> None:
    one_bucket.put_object("k", b"1", headers={"x-oss-storage-class": "Archive"})
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        one_bucket.get_object("k")
    assert (refusal.value.status, refusal.value.code) == (403, "InvalidObjectState")


def test_presigned_urls_carry_their_permission(bucket: Any, connect: Connect, cloud: LocalCloud) -> None:
    anonymous = oss2.Session()
    try:
        url = bucket.sign_url("PUT", "a b", 60, headers={"Content-Type": "text/x"}, slash_safe=True)
        request = oss2.http.Request("PUT", url, data=b"signed", headers={"Content-Type": "text/x"})
        assert anonymous.do_request(request, 20).status == 200
        url = bucket.sign_url("GET", "a b", 60)
        assert anonymous.do_request(oss2.http.Request("GET", url), 20).read() == b"signed"
        other = oss2.http.Request("GET", url.replace("a%20b", "a%20c"))
        assert anonymous.do_request(other, 20).status == 403
    finally:
        anonymous.session.close()
    assert cloud.counters.statuses("GetObject") == {200: 1, 403: 1}


def test_unusable_names_are_refused(one_bucket: Any) -> None:
    for key in ("/leading", "k" * 1024):
        with pytest.raises(oss2.exceptions.ServerError) as refusal:
            one_bucket.put_object(key, b"1")
        assert refusal.value.code == "InvalidObjectName"
    with pytest.raises(oss2.exceptions.InvalidArgument):
        one_bucket.put_object("k", b"1", headers={"x-oss-storage-class": "Gold"})
    with pytest.raises(oss2.exceptions.InvalidArgument):
        one_bucket.put_object("k", b"1", headers={"x-oss-meta-big": "x" * 9000})
