"""Rare requests, sent as raw HTTP or through an SDK's internal call."""

import dataclasses
import http.client
import tempfile
import threading
from pathlib import Path
from typing import Any

import oss2
import pytest
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import BUCKET, REGION
from tests.emulators.oss.conftest import Connect


def _refusal(call: Any, *args: Any, **options: Any) -> tuple[int, str]:
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        call(*args, **options)
    return refusal.value.status, refusal.value.code


def _raw(cloud: LocalCloud, bucket: Any, key: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """A presigned PUT with exactly these headers, and no body."""
    url = bucket.sign_url("PUT", key, 60, slash_safe=True)
    host, _, target = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.putrequest("PUT", f"/{target}")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_put_needs_a_length_and_has_a_limit(one_bucket: Any, cloud: LocalCloud) -> None:
    status, body = _raw(cloud, one_bucket, "k", {})
    assert (status, b"MissingContentLength" in body) == (411, True)
    huge = {"Content-Length": str(6 * 1024**3), "Expect": "100-continue"}
    status, body = _raw(cloud, one_bucket, "k", huge)
    assert (status, b"EntityTooLarge" in body) == (400, True)


def test_a_client_that_leaves_mid_upload_leaves_nothing(one_bucket: Any, cloud: LocalCloud) -> None:
    url = one_bucket.sign_url("PUT", "k", 60)
    host, _, target = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.putrequest("PUT", f"/{target}")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b"x" * 1000)
    connection.close()
    while cloud.counters.statuses("PutObject") != {0: 1}:
        assert not one_bucket.object_exists("k")
    assert not list((cloud.root / REGION / "oss" / "data").glob("*/*"))


def test_a_disk_that_fails_is_an_internal_error(one_bucket: Any, cloud: LocalCloud) -> None:
    data = cloud.root / REGION / "oss" / "data"
    data.rename(data.with_name("away"))
    data.touch()
    assert _refusal(one_bucket.put_object, "k", b"1") == (500, "InternalError")
    data.unlink()
    data.with_name("away").rename(data)
    one_bucket.put_object("k", b"1")


def test_xml_is_checked_before_it_is_believed(one_bucket: Any) -> None:
    def delete(body: bytes, headers: dict[str, str] | None = None) -> Any:
        return one_bucket._do("POST", BUCKET, "", params={"delete": ""}, data=body, headers=headers)

    assert _refusal(delete, b"<Delete/>") == (400, "MalformedXML")
    assert _refusal(delete, b"<Other/>") == (400, "MalformedXML")
    assert _refusal(delete, b"x" * (5 * 1024**2 + 1)) == (400, "EntityTooLarge")
    wrong = {"Content-MD5": oss2.utils.content_md5(b"other")}
    assert _refusal(delete, b"<Delete/>", wrong) == (400, "InvalidDigest")
    one_bucket.put_object("k", b"1")
    delete(b"<Delete xmlns='http://ns'><Quiet>true</Quiet><Object><Key>k</Key></Object></Delete>")
    assert not one_bucket.object_exists("k")


def test_an_append_that_lost_a_race_changes_nothing(one_bucket: Any, connect: Connect) -> None:
    began, going_on = threading.Event(), threading.Event()

    def slowly() -> Any:
        yield b"slow"
        began.set()
        going_on.wait()
        yield b"slow"

    outcome: list[tuple[int, str]] = []
    slow = connect()
    racer = threading.Thread(target=lambda: outcome.append(_refusal(slow.append_object, "log", 0, slowly())))
    racer.start()
    began.wait()
    one_bucket.append_object("log", 0, b"fast")
    going_on.set()
    racer.join()
    assert outcome == [(409, "PositionNotEqualToLength")]
    assert one_bucket.get_object("log").read() == b"fast"
    assert _refusal(one_bucket.append_object, "log", "x", b"1") == (400, "InvalidArgument")


def test_a_part_of_an_upload_aborted_meanwhile_is_dropped(one_bucket: Any, connect: Connect, cloud: LocalCloud) -> None:
    upload_id = one_bucket.init_multipart_upload("k").upload_id

    def body() -> Any:
        yield b"1"
        one_bucket.abort_multipart_upload("k", upload_id)
        yield b"2"

    assert _refusal(connect().upload_part, "k", upload_id, 1, body()) == (404, "NoSuchUpload")
    assert not list((cloud.root / REGION / "oss" / "data").glob("*/*"))


def test_a_copied_symlink_is_the_link_and_its_own_tags(one_bucket: Any) -> None:
    one_bucket.put_object("target", b"1")
    one_bucket.put_symlink("target", "link")
    tagged = {"x-oss-tagging-directive": "REPLACE", "x-oss-tagging": "a=1"}
    one_bucket.copy_object(BUCKET, "link", "link2", headers=tagged)
    assert one_bucket.get_symlink("link2").target_key == "target"
    assert one_bucket.get_object_tagging("link2").tag_set.tagging_rule == {"a": "1"}
    nothing = {"x-oss-symlink-target": ""}
    put = one_bucket._do
    assert _refusal(put, "PUT", BUCKET, "l", params={"symlink": ""}, headers=nothing) == (400, "InvalidArgument")


def test_a_copy_source_must_name_bucket_and_key(one_bucket: Any) -> None:
    for source in ("/", "/only-a-bucket", "%ff"):
        headers = {"x-oss-copy-source": source}
        assert _refusal(one_bucket.put_object, "k", b"", headers=headers) == (400, "InvalidArgument")


def test_a_bucket_is_made_as_it_is_asked_for_or_not_at_all(one_bucket: Any, connect: Connect) -> None:
    def put(name: str, inner: str) -> Any:
        body = f"<CreateBucketConfiguration>{inner}</CreateBucketConfiguration>"
        return one_bucket._do("PUT", name, "", data=body)

    elsewhere = "<LocationConstraint>oss-cn-beijing</LocationConstraint>"
    assert _refusal(put, "another", elsewhere) == (400, "InvalidLocationConstraint")
    put("another", f"<LocationConstraint>oss-{REGION}</LocationConstraint>")
    assert _refusal(put, BUCKET, "<StorageClass>IA</StorageClass>") == (409, "BucketAlreadyExists")
    assert one_bucket._do("HEAD", BUCKET, "").status == 200
    assert _refusal(connect("never-made")._do, "HEAD", "never-made", "") == (404, "NoSuchBucket")
    assert one_bucket.get_bucket_tagging().tag_set.tagging_rule == {}


@pytest.mark.parametrize("text", ["bytes=-", "bytes=5-2", "bytes=1-2,4-5", "pages=1-2"])
def test_an_invalid_range_is_ignored(one_bucket: Any, text: str) -> None:
    one_bucket.put_object("k", b"0123456789")
    got = one_bucket.get_object("k", headers={"Range": text, "x-oss-range-behavior": "standard"})
    assert (got.status, got.read()) == (200, b"0123456789")


def test_a_condition_with_an_invalid_date_is_ignored(one_bucket: Any) -> None:
    one_bucket.put_object("k", b"1")
    headers = {"If-Modified-Since": "soon", "If-Unmodified-Since": "later", "If-Match": "*"}
    assert one_bucket.get_object("k", headers=headers).read() == b"1"


def test_a_mount_on_another_file_system_is_a_copy(one_bucket: Any, cloud: LocalCloud) -> None:
    one_bucket.put_object("a", b"1")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        into = Path(elsewhere) / "mount"
        assert cloud.oss[REGION].materialize(BUCKET, "", into).files == 1
        assert (into / "a").read_bytes() == b"1"


def test_many_objects_are_mounted_however_many_there_are(one_bucket: Any, cloud: LocalCloud, tmp_path: Path) -> None:
    store = cloud.oss[REGION].store
    one_bucket.put_object("v/0", b"1")
    entry = store.object(BUCKET, "v/0")
    with store.db.transaction():
        for number in range(1, 1500):
            store.objects.put(dataclasses.replace(entry, key=f"v/{number}"))
    assert cloud.oss[REGION].materialize(BUCKET, "v", tmp_path / "m").files == 1500


def test_a_creator_that_is_overtaken_while_it_sends_is_refused(one_bucket: Any, connect: Connect) -> None:
    fast = connect()

    def body() -> Any:
        yield b"slow"
        fast.put_object("seal", b"fast")
        yield b"slow"

    headers = {"x-oss-forbid-overwrite": "true"}
    assert _refusal(one_bucket.put_object, "seal", body(), headers=headers) == (409, "FileAlreadyExists")
    assert fast.get_object("seal").read() == b"fast"


def test_an_object_deleted_while_it_is_read_is_read_to_its_end(one_bucket: Any, cloud: LocalCloud) -> None:
    one_bucket.put_object("k", b"x" * 20_000_000)  # more than the sockets between us hold
    got = one_bucket.get_object("k")
    one_bucket.delete_object("k")
    assert len(got.read()) == 20_000_000
    files = cloud.root / REGION / "oss" / "data"
    while list(files.glob("*/*")):
        pass  # the last reader has just left


def test_unusual_forms_of_calls_are_distinguished(one_bucket: Any) -> None:
    one_bucket.put_object("k", b"1")
    do = one_bucket._do
    meta = do("GET", BUCKET, "k", params={"objectMeta": ""})
    assert (meta.headers["ETag"], meta.read()) == (f'"{one_bucket.head_object("k").etag}"', b"")
    upload_id = one_bucket.init_multipart_upload("m").upload_id
    body = "<CompleteMultipartUpload><Part><PartNumber>one</PartNumber></Part></CompleteMultipartUpload>"
    params = {"uploadId": upload_id}
    assert _refusal(do, "POST", BUCKET, "m", params=params, data=body) == (400, "MalformedXML")
    copy = {"x-oss-copy-source": f"/{BUCKET}/k", "x-oss-copy-source-range": "bytes=1-"}
    part = params | {"partNumber": "1"}
    assert _refusal(do, "PUT", BUCKET, "m", params=part, headers=copy) == (400, "InvalidArgument")
    del copy["x-oss-copy-source-range"]
    assert do("PUT", BUCKET, "m", params=part, headers=copy).status == 200


def test_a_v4_signature_is_for_oss(cloud: LocalCloud, connect: Connect) -> None:
    bucket = connect(version="v4", cloudbox_id="box-1")
    assert _refusal(bucket.create_bucket) == (400, "InvalidArgument")
