"""The service, its buckets and their listings through oss2."""

from typing import Any

import oss2
import pytest
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import BUCKET, OTHER, REGION
from tests.emulators.oss.conftest import Connect

KEYS = ["a", "b/1", "b/2", "b/c/3", "b0", "d/", "é/1"]


@pytest.fixture
def filled(bucket: Any) -> Any:
    for key in KEYS:
        bucket.put_object(key, key.encode())
    return bucket


def test_a_bucket_is_created_described_and_deleted(bucket: Any) -> None:
    bucket.create_bucket()  # again is success
    info = bucket.get_bucket_info()
    assert (info.name, info.location, info.storage_class) == (BUCKET, f"oss-{REGION}", "Standard")
    assert info.acl.grant == "private"
    assert bucket.get_bucket_location().location == f"oss-{REGION}"
    bucket.put_object("k", b"12345")
    stat = bucket.get_bucket_stat()
    assert (stat.object_count, stat.storage_size_in_bytes) == (1, 5)
    with pytest.raises(oss2.exceptions.BucketNotEmpty):
        bucket.delete_bucket()
    bucket.delete_object("k")
    upload_id = bucket.init_multipart_upload("k").upload_id
    with pytest.raises(oss2.exceptions.BucketNotEmpty):
        bucket.delete_bucket()
    bucket.abort_multipart_upload("k", upload_id)
    assert bucket.delete_bucket().status == 204
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        bucket.get_bucket_info()


def test_bucket_names_are_unique_over_regions(bucket: Any, connect: Connect) -> None:
    far = connect(region=OTHER)
    with pytest.raises(oss2.exceptions.ServerError) as taken:
        far.create_bucket()
    assert (taken.value.status, taken.value.code) == (409, "BucketAlreadyExists")
    with pytest.raises(oss2.exceptions.AccessDenied) as elsewhere:
        far.put_object("k", b"1")
    assert elsewhere.value.details["Endpoint"].startswith(f"oss-{REGION}.")
    for name in ("ab", "No-Capitals", "no_underscores", "-leading"):
        with pytest.raises(oss2.exceptions.ServerError) as invalid:
            _put_bucket(bucket, name)
        assert invalid.value.code == "InvalidBucketName"


def _put_bucket(bucket: Any, name: str) -> Any:
    return bucket._do("PUT", name, "")


def test_a_bucket_has_an_acl(bucket: Any) -> None:
    bucket.put_bucket_acl("public-read")
    assert bucket.get_bucket_acl().acl == "public-read"
    with pytest.raises(oss2.exceptions.InvalidArgument):
        bucket.put_bucket_acl("everyone")
    bucket.create_bucket("private")
    assert bucket.get_bucket_acl().acl == "private"


def test_a_storage_class_is_set_when_a_bucket_is_made(connect: Connect) -> None:
    made = connect("cold-models")
    made.create_bucket(input=oss2.models.BucketCreateConfig("IA"))
    made.put_object("k", b"1")
    assert made.head_object("k").headers["x-oss-storage-class"] == "IA"
    with pytest.raises(oss2.exceptions.InvalidArgument):
        connect("other-models").create_bucket(input=oss2.models.BucketCreateConfig("Gold"))


def test_a_setting_that_a_bucket_does_not_have_is_reported_by_name(bucket: Any) -> None:
    with pytest.raises(oss2.exceptions.NoSuchLifecycle):
        bucket.get_bucket_lifecycle()
    with pytest.raises(oss2.exceptions.NoSuchCors):
        bucket.get_bucket_cors()
    with pytest.raises(oss2.exceptions.NoSuchWebsite):
        bucket.get_bucket_website()
    assert bucket.get_bucket_versioning().status is None
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        bucket.put_bucket_versioning(oss2.models.BucketVersioningConfig("Enabled"))
    assert refusal.value.status == 501
    with pytest.raises(oss2.exceptions.ServerError) as restore:
        bucket.restore_object("k")
    assert restore.value.code == "NotImplemented"


def test_all_buckets_are_listed_in_pages(connect: Connect, cloud: LocalCloud) -> None:
    for name, region in (("aa-1", REGION), ("aa-2", OTHER), ("bb-1", REGION)):
        connect(name, region=region).create_bucket()
    bucket = connect()
    service = oss2.Service(bucket.auth, cloud.endpoint(REGION), session=bucket.session, region=REGION)
    assert [b.name for b in oss2.BucketIterator(service, max_keys=2)] == ["aa-1", "aa-2", "bb-1"]
    found = service.list_buckets(prefix="aa").buckets
    assert [(b.name, b.location) for b in found] == [("aa-1", f"oss-{REGION}"), ("aa-2", f"oss-{OTHER}")]


def test_listing_returns_keys_in_byte_order_with_their_facts(filled: Any) -> None:
    listing = filled.list_objects_v2(fetch_owner=True).object_list
    assert [entry.key for entry in listing] == KEYS
    assert listing[1].size == 3
    assert (listing[1].type, listing[1].storage_class) == ("Normal", "Standard")
    assert listing[1].etag == filled.head_object("b/1").etag
    assert listing[1].owner.id


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_pages_of_any_size_give_the_same_listing(filled: Any, page: int) -> None:
    assert [e.key for e in oss2.ObjectIterator(filled, max_keys=page)] == KEYS
    assert [e.key for e in oss2.ObjectIteratorV2(filled, max_keys=page)] == KEYS
    rolled = ["a", "b/", "b0", "d/", "é/"]
    assert [e.key for e in oss2.ObjectIterator(filled, delimiter="/", max_keys=page)] == rolled
    assert [e.key for e in oss2.ObjectIteratorV2(filled, delimiter="/", max_keys=page)] == rolled
    below = [e.key for e in oss2.ObjectIteratorV2(filled, prefix="b/", delimiter="/", max_keys=page)]
    assert below == ["b/1", "b/2", "b/c/"]


def test_a_listing_starts_at_its_marker(filled: Any) -> None:
    assert [e.key for e in filled.list_objects_v2(start_after="b/2").object_list] == KEYS[3:]
    assert [e.key for e in filled.list_objects(prefix="b", marker="b/2").object_list] == ["b/c/3", "b0"]
    assert filled.list_objects(prefix="zz").object_list == []
    for refused in ({"max_keys": 0}, {"max_keys": 1001}):
        with pytest.raises(oss2.exceptions.InvalidArgument):
            filled.list_objects(**refused)
    with pytest.raises(oss2.exceptions.InvalidArgument):
        filled.list_objects_v2(continuation_token="not base64!")


def test_a_listing_has_a_hundred_keys_by_default(one_bucket: Any) -> None:
    for number in range(103):
        one_bucket.put_object(f"k{number:03}", b"")
    raw = one_bucket._do("GET", BUCKET, "").read().decode()
    assert raw.count("<Contents>") == 100
    assert "<IsTruncated>true</IsTruncated>" in raw
    assert "<NextMarker>k099</NextMarker>" in raw


def test_a_bucket_can_be_named_by_the_host(filled: Any, connect: Connect, cloud: LocalCloud) -> None:
    # Names under the cloud's domain resolve nowhere; the region itself serves as the proxy that knows them.
    proxies = {"http": cloud.endpoint(REGION)}
    for domain in ("oss.local", f"oss-{REGION}.oss.local", "localhost"):
        virtual = connect(version="v4", endpoint=f"http://{domain}", proxies=proxies)
        virtual.put_object("by host", b"1")
        assert virtual.get_object("b/1").read() == b"b/1"
        assert virtual.get_bucket_info().name == BUCKET
        assert [e.key for e in oss2.ObjectIteratorV2(virtual, prefix="b/")] == ["b/1", "b/2", "b/c/3"]
    service = oss2.Service(filled.auth, "http://oss.local", session=filled.session, proxies=proxies, region=REGION)
    assert [b.name for b in service.list_buckets().buckets] == [BUCKET]
