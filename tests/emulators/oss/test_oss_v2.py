"""The vendor's second SDK, sync and async, path style with V4 and with V1."""

import asyncio
import io
import os
from collections.abc import Awaitable, Callable
from typing import Any

import alibabacloud_oss_v2 as oss
import pytest
from alibabacloud_oss_v2 import aio
from fastcrc.crc64 import xz
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import BUCKET, OTHER, REGION, Clock

MIN = 100 * 1024
AWKWARD = "models/é ü+%25&=?#/{a}'\"~!()*;:@,$/模型.bin"


def _config(cloud: LocalCloud, version: str = "v4", **changes: Any) -> Any:
    config = oss.config.load_default()
    secret = changes.pop("secret", cloud.access_key_secret)
    key_id = changes.pop("key_id", cloud.access_key_id)
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(key_id, secret)
    config.region = REGION
    config.endpoint = cloud.endpoint(REGION)
    config.use_path_style = True
    config.signature_version = version
    config.retry_max_attempts = 1
    for name, value in changes.items():
        setattr(config, name, value)
    return config


@pytest.fixture(params=["v4", "v1"])
def client(cloud: LocalCloud, request: pytest.FixtureRequest) -> Any:
    made = oss.Client(_config(cloud, request.param))
    made.put_bucket(oss.PutBucketRequest(bucket=BUCKET))
    return made


def _code(call: Callable[[Any], Any], request: Any) -> tuple[int, str]:
    with pytest.raises(oss.exceptions.OperationError) as refusal:
        call(request)
    cause: Any = refusal.value.unwrap()
    return cause.status_code, cause.code


def test_an_object_goes_round(client: Any) -> None:
    data = os.urandom(300_000)
    put = client.put_object(
        oss.PutObjectRequest(bucket=BUCKET, key=AWKWARD, body=data, metadata={"sha256": "ab"}, tagging="a=1")
    )
    assert int(put.hash_crc64) == xz(data)
    got = client.get_object(oss.GetObjectRequest(bucket=BUCKET, key=AWKWARD))
    assert got.body.read() == data
    head = client.head_object(oss.HeadObjectRequest(bucket=BUCKET, key=AWKWARD))
    assert (head.metadata, head.content_length, head.tagging_count) == ({"sha256": "ab"}, 300_000, 1)
    part = client.get_object(
        oss.GetObjectRequest(bucket=BUCKET, key=AWKWARD, range_header="bytes=5-9", range_behavior="standard")
    )
    assert part.body.read() == data[5:10]
    copied = client.copy_object(oss.CopyObjectRequest(bucket=BUCKET, key="copy", source_key=AWKWARD))
    assert int(copied.hash_crc64) == xz(data)
    tags = client.get_object_tagging(oss.GetObjectTaggingRequest(bucket=BUCKET, key="copy"))
    assert [(tag.key, tag.value) for tag in tags.tag_set.tags] == [("a", "1")]
    gone = client.delete_multiple_objects(
        oss.DeleteMultipleObjectsRequest(
            bucket=BUCKET, objects=[oss.DeleteObject(key="copy"), oss.DeleteObject(key=AWKWARD)]
        )
    )
    assert {entry.key for entry in gone.deleted_objects} == {"copy", AWKWARD}


def test_listings_page_through(client: Any) -> None:
    keys = [f"p/{n} é" for n in range(5)]
    for key in keys:
        client.put_object(oss.PutObjectRequest(bucket=BUCKET, key=key, body=b""))
    for paginator, request in (
        (client.list_objects_v2_paginator(limit=2), oss.ListObjectsV2Request(bucket=BUCKET)),
        (client.list_objects_paginator(limit=2), oss.ListObjectsRequest(bucket=BUCKET)),
    ):
        pages = list(paginator.iter_page(request))
        assert [entry.key for page in pages for entry in page.contents] == keys
        assert len(pages) == 3
    grouped = client.list_objects_v2(oss.ListObjectsV2Request(bucket=BUCKET, delimiter="/"))
    assert [prefix.prefix for prefix in grouped.common_prefixes] == ["p/"]
    assert [b.name for b in client.list_buckets(oss.ListBucketsRequest()).buckets] == [BUCKET]
    info = client.get_bucket_info(oss.GetBucketInfoRequest(bucket=BUCKET)).bucket_info
    assert (info.name, info.location) == (BUCKET, f"oss-{REGION}")


def test_multipart_uploads_go_through_the_managers(client: Any, tmp_path: Any) -> None:
    data = os.urandom(5 * MIN + 1)
    uploader = client.uploader(part_size=MIN, parallel_num=2)
    uploader.upload_from(oss.PutObjectRequest(bucket=BUCKET, key="big"), io.BytesIO(data))
    head = client.head_object(oss.HeadObjectRequest(bucket=BUCKET, key="big"))
    assert (int(head.hash_crc64), head.object_type) == (xz(data), "Multipart")
    target = tmp_path / "big"
    downloader = client.downloader(part_size=MIN)
    assert downloader.download_file(oss.GetObjectRequest(bucket=BUCKET, key="big"), str(target)).written == len(data)
    assert target.read_bytes() == data
    copier = client.copier(part_size=MIN, multipart_copy_threshold=MIN, disable_shallow_copy=True)
    copier.copy(oss.CopyObjectRequest(bucket=BUCKET, key="big2", source_bucket=BUCKET, source_key="big"))
    assert int(client.head_object(oss.HeadObjectRequest(bucket=BUCKET, key="big2")).hash_crc64) == xz(data)


def test_multipart_calls_one_by_one(client: Any) -> None:
    begun = client.initiate_multipart_upload(oss.InitiateMultipartUploadRequest(bucket=BUCKET, key="k é"))
    part = client.upload_part(
        oss.UploadPartRequest(bucket=BUCKET, key="k é", upload_id=begun.upload_id, part_number=1, body=b"x" * MIN)
    )
    client.put_object(oss.PutObjectRequest(bucket=BUCKET, key="source", body=b"0123456789"))
    copied = client.upload_part_copy(
        oss.UploadPartCopyRequest(
            bucket=BUCKET,
            key="k é",
            upload_id=begun.upload_id,
            part_number=2,
            source_key="source",
            source_range="bytes=2-4",
        )
    )
    listed = client.list_parts(oss.ListPartsRequest(bucket=BUCKET, key="k é", upload_id=begun.upload_id))
    assert [(p.part_number, p.size, p.hash_crc64) for p in listed.parts] == [
        (1, MIN, str(xz(b"x" * MIN))),
        (2, 3, str(xz(b"234"))),
    ]
    uploads = client.list_multipart_uploads(oss.ListMultipartUploadsRequest(bucket=BUCKET)).uploads
    assert [(u.key, u.upload_id) for u in uploads] == [("k é", begun.upload_id)]
    parts = [oss.UploadPart(part_number=1, etag=part.etag), oss.UploadPart(part_number=2, etag=copied.etag)]
    done = client.complete_multipart_upload(
        oss.CompleteMultipartUploadRequest(
            bucket=BUCKET,
            key="k é",
            upload_id=begun.upload_id,
            complete_multipart_upload=oss.CompleteMultipartUpload(parts=parts),
        )
    )
    assert int(done.hash_crc64) == xz(b"x" * MIN + b"234")
    abort = oss.AbortMultipartUploadRequest(bucket=BUCKET, key="k é", upload_id=begun.upload_id)
    assert _code(client.abort_multipart_upload, abort) == (404, "NoSuchUpload")


def test_appends_symlinks_acls_and_metas(client: Any) -> None:
    first = client.append_object(oss.AppendObjectRequest(bucket=BUCKET, key="log", position=0, body=b"ab"))
    assert first.next_position == 2
    client.put_symlink(oss.PutSymlinkRequest(bucket=BUCKET, key="link", target="log"))
    assert client.get_symlink(oss.GetSymlinkRequest(bucket=BUCKET, key="link")).target == "log"
    client.put_object_acl(oss.PutObjectAclRequest(bucket=BUCKET, key="log", acl="public-read"))
    assert client.get_object_acl(oss.GetObjectAclRequest(bucket=BUCKET, key="log")).acl == "public-read"
    assert client.get_object_meta(oss.GetObjectMetaRequest(bucket=BUCKET, key="log")).content_length == 2


def test_presigned_requests_are_good_for_anyone(client: Any) -> None:
    import requests

    put = client.presign(oss.PutObjectRequest(bucket=BUCKET, key="by url"))
    with requests.Session() as session:
        assert session.request(put.method, put.url, data=b"1", headers=put.signed_headers).status_code == 200
        got = client.presign(oss.GetObjectRequest(bucket=BUCKET, key="by url"))
        assert session.request(got.method, got.url).content == b"1"


@pytest.mark.parametrize("version", ["v4", "v1"])
def test_refusals_have_the_real_codes(cloud: LocalCloud, clock: Clock, version: str) -> None:
    request = oss.GetObjectRequest(bucket="never-made", key="k")
    assert _code(oss.Client(_config(cloud, version)).get_object, request) == (404, "NoSuchBucket")
    wrong = oss.Client(_config(cloud, version, secret="wrong"))
    assert _code(wrong.get_object, request) == (403, "SignatureDoesNotMatch")
    nobody = oss.Client(_config(cloud, version, key_id="nobody"))
    assert _code(nobody.get_object, request) == (403, "InvalidAccessKeyId")
    clock.offset_s = 3600
    skewed = oss.Client(_config(cloud, version))
    assert _code(skewed.get_object, request) == (403, "RequestTimeTooSkewed")
    clock.offset_s = 0
    if version == "v4":
        elsewhere = oss.Client(_config(cloud, version, region=OTHER))
        assert _code(elsewhere.get_object, request) == (400, "InvalidArgument")


def _async(cloud: LocalCloud, work: Callable[[Any], Awaitable[None]], **changes: Any) -> None:
    async def run() -> None:
        client = aio.AsyncClient(_config(cloud, **changes))
        try:
            await work(client)
        finally:
            await client.close()

    asyncio.run(run())


@pytest.mark.parametrize("version", ["v4", "v1"])
def test_the_async_client_goes_round(cloud: LocalCloud, version: str) -> None:
    data = os.urandom(300_000)

    async def work(client: Any) -> None:
        await client.put_bucket(oss.PutBucketRequest(bucket=BUCKET))
        await client.put_object(oss.PutObjectRequest(bucket=BUCKET, key=AWKWARD, body=data))
        got = await client.get_object(oss.GetObjectRequest(bucket=BUCKET, key=AWKWARD))
        assert await got.body.read() == data
        await got.body.close()
        begun = await client.initiate_multipart_upload(oss.InitiateMultipartUploadRequest(bucket=BUCKET, key="m"))
        await asyncio.gather(
            *(
                client.upload_part(
                    oss.UploadPartRequest(bucket=BUCKET, key="m", upload_id=begun.upload_id, part_number=n, body=data)
                )
                for n in (1, 2, 3)
            )
        )
        done = await client.complete_multipart_upload(
            oss.CompleteMultipartUploadRequest(bucket=BUCKET, key="m", upload_id=begun.upload_id, complete_all="yes")
        )
        assert int(done.hash_crc64) == xz(data * 3)
        await client.copy_object(oss.CopyObjectRequest(bucket=BUCKET, key="copy", source_key="m"))
        listed = await client.list_objects_v2(oss.ListObjectsV2Request(bucket=BUCKET))
        assert sorted(entry.key for entry in listed.contents) == sorted(["copy", "m", AWKWARD])
        await client.delete_object(oss.DeleteObjectRequest(bucket=BUCKET, key="m"))

    _async(cloud, work, version=version)


def test_the_async_client_is_refused_alike(cloud: LocalCloud) -> None:
    async def work(client: Any) -> None:
        with pytest.raises(oss.exceptions.OperationError) as refusal:
            await client.get_object(oss.GetObjectRequest(bucket="never-made", key="k"))
        cause: Any = refusal.value.unwrap()
        assert cause.code == "SignatureDoesNotMatch"

    _async(cloud, work, secret="wrong")
