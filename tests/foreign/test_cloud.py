"""The second cloud answers clients that nobody here wrote, and refuses what the documentation says is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import alibabacloud_oss_v2 as oss
import pytest
from alibabacloud_fc20230330 import models as fc
from alibabacloud_fc20230330.client import Client as FcClient
from alibabacloud_tea_openapi.models import Config

from tests.foreign.client import Client, Failed
from tests.foreign.cloud.__main__ import ACCESS_KEY_ID, ACCESS_KEY_SECRET
from tests.foreign.cloud.objects import crc64
from tests.foreign.cloud.signatures import Key, Refused, Request, oss_authorization, verify_oss
from tests.foreign.processes import Process, module

REGION = "cn-hangzhou"
BUCKET = "models-hz"
KEY = Key(ACCESS_KEY_ID, ACCESS_KEY_SECRET, REGION)
SCRIPT = Path(__file__).with_name("serving_function.py")
FUNCTION = {
    "functionName": "serve",
    "runtime": "custom-container",
    "handler": "index.handler",
    "memorySize": 512,
    "timeout": 20,
    "role": "acs:ram::1234567890123456:role/reader",
    "customContainerConfig": {"image": "registry/team/serve:1", "command": [sys.executable, "-I", str(SCRIPT)]},
    "vpcConfig": {"vpcId": "vpc-1", "vSwitchIds": ["vsw-1"], "securityGroupId": "sg-1"},
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("region")
    arguments = ("--region", REGION, "--root", str(root), "--bucket", BUCKET, "--bucket", "other-hz")
    process = Process(module("tests.foreign.cloud", *arguments), root / "log")
    try:
        yield Client(process.first_line()["url"], KEY)
    finally:
        process.stop(10)


def _code(answer: Any) -> tuple[int, str]:
    body = answer.body or base64.b64decode(answer.headers.get("x-oss-err", ""))
    text = body.decode()
    if text.startswith("{"):
        return answer.status, str(json.loads(text)["Code"])
    return answer.status, text.partition("<Code>")[2].partition("</Code>")[0]


def test_the_python_sdk_v2_uploads_lists_reads_and_deletes(client: Client) -> None:
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(KEY.id, KEY.secret)
    config.region, config.endpoint, config.use_path_style = REGION, client.url, True
    sdk = oss.Client(config)
    body = bytes(range(256)) * 1000
    put = sdk.put_object(oss.PutObjectRequest(bucket=BUCKET, key="sdk/a +%#中.bin", body=body))
    assert put.hash_crc64 == crc64(body)
    started = sdk.initiate_multipart_upload(oss.InitiateMultipartUploadRequest(bucket=BUCKET, key="sdk/parts"))
    upload = started.upload_id
    parts = []
    for number, piece in ((1, body), (2, b"end")):
        part = sdk.upload_part(
            oss.UploadPartRequest(bucket=BUCKET, key="sdk/parts", upload_id=upload, part_number=number, body=piece)
        )
        parts.append(oss.UploadPart(part_number=number, etag=part.etag))
    done = sdk.complete_multipart_upload(
        oss.CompleteMultipartUploadRequest(
            bucket=BUCKET,
            key="sdk/parts",
            upload_id=upload,
            complete_multipart_upload=oss.CompleteMultipartUpload(parts=parts),
        )
    )
    assert done.hash_crc64 == crc64(body + b"end")
    assert done.etag is not None
    assert done.etag.strip('"').endswith("-2")
    listed = sdk.list_objects_v2(oss.ListObjectsV2Request(bucket=BUCKET, prefix="sdk/", max_keys=1))
    assert [item.key for item in listed.contents or []] == ["sdk/a +%#中.bin"]
    assert listed.is_truncated
    read = sdk.get_object(oss.GetObjectRequest(bucket=BUCKET, key="sdk/parts", range_header="bytes=255998-"))
    assert read.body is not None
    assert read.body.content == body[-2:] + b"end"
    for key in ("sdk/parts", "sdk/a +%#中.bin"):
        assert sdk.delete_object(oss.DeleteObjectRequest(bucket=BUCKET, key=key)).status_code == 204


def test_the_sdk_of_function_compute_creates_publishes_and_invokes(client: Client) -> None:
    host = client.url.removeprefix("http://")
    config = Config(
        access_key_id=KEY.id, access_key_secret=KEY.secret, endpoint=host, protocol="http", region_id=REGION
    )
    sdk = FcClient(config)
    container = fc.CustomContainerConfig(image="registry/team/serve:1", command=[sys.executable, "-I", str(SCRIPT)])
    body = fc.CreateFunctionInput(
        function_name="by-sdk",
        runtime="custom-container",
        handler="index.handler",
        memory_size=512,
        timeout=20,
        custom_container_config=container,
    )
    assert sdk.create_function(fc.CreateFunctionRequest(body=body)).body.state == "Active"
    version = sdk.publish_function_version(
        "by-sdk", fc.PublishFunctionVersionRequest(body=fc.PublishVersionInput(description="first"))
    ).body
    assert version.version_id == "1"
    alias = fc.CreateAliasInput(alias_name="prod", version_id="1")
    sdk.create_alias("by-sdk", fc.CreateAliasRequest(body=alias))
    answer = sdk.invoke_function("by-sdk", fc.InvokeFunctionRequest(qualifier="prod", body=b"{}"))
    assert json.loads(answer.body.read()) == {"models": {}, "function_version": "1"}
    assert answer.headers["x-fc-invocation-function-version"] == "1"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "AccessDenied"),
        ({"authorization": "OSS id:signature"}, "NotImplemented"),
        ({"x-oss-date": "20200101T000000Z"}, "RequestTimeTooSkewed"),
        ({"x-oss-meta-added": "after signing"}, "SignatureDoesNotMatch"),
    ],
)
def test_a_signature_that_is_not_that_of_the_request_is_refused(headers: dict[str, str], code: str) -> None:
    now = datetime(2026, 11, 30, tzinfo=UTC)
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    request = Request("PUT", f"/{BUCKET}/key", [], {"x-oss-date": moment, "x-oss-content-sha256": "UNSIGNED-PAYLOAD"})
    signed = {**request.headers, "authorization": oss_authorization(KEY, request, moment)}
    verify_oss(KEY, replace(request, headers=signed), now + timedelta(minutes=14))
    changed = signed | headers if headers else dict(request.headers)
    with pytest.raises(Refused) as refused:
        verify_oss(KEY, replace(request, headers=changed), now)
    assert refused.value.code == code


def test_another_secret_and_another_region_are_refused(client: Client) -> None:
    for key in (replace(KEY, secret="other"), replace(KEY, region="cn-shanghai")):
        assert _code(replace(client, key=key).oss("GET", f"/{BUCKET}/")) == (403, "SignatureDoesNotMatch")
    assert _code(replace(client, key=replace(KEY, secret="other")).fc("GET", "/functions"))[0] == 403


def test_oss_refuses_what_is_documented(client: Client) -> None:
    path = f"/{BUCKET}/refuse/object"
    forbid = {"x-oss-forbid-overwrite": "true"}
    assert client.oss("PUT", path, body=b"one", headers=forbid).status == 200
    assert _code(client.oss("PUT", path, body=b"two", headers=forbid)) == (409, "FileAlreadyExists")
    assert _code(client.oss("POST", path, {"uploads": ""}, headers=forbid)) == (409, "FileAlreadyExists")
    wrong = {"content-md5": base64.b64encode(hashlib.md5(b"other").digest()).decode()}
    assert _code(client.oss("PUT", path, body=b"one", headers=wrong)) == (400, "InvalidDigest")
    assert _code(client.oss("GET", f"/{BUCKET}/absent")) == (404, "NoSuchKey")
    assert _code(client.oss("HEAD", f"/{BUCKET}/absent")) == (404, "NoSuchKey")
    assert _code(client.oss("GET", "/no-such-bucket/key")) == (404, "NoSuchBucket")
    assert _code(client.oss("PUT", path, {"tagging": ""})) == (501, "NotImplemented")
    assert _code(client.oss("GET", f"/{BUCKET}/", {"list-type": "2", "max-keys": "1001"})) == (400, "InvalidArgument")
    token = {"list-type": "2", "continuation-token": "no token"}
    assert _code(client.oss("GET", f"/{BUCKET}/", token)) == (400, "InvalidArgument")
    bad_range = {"range": "bytes=9-", "x-oss-range-behavior": "standard"}
    assert _code(client.oss("GET", path, headers=bad_range)) == (416, "InvalidRange")


def test_a_multipart_upload_is_checked_at_its_end(client: Client) -> None:
    path = f"/{BUCKET}/parts/object"
    answer = client.oss("POST", path, {"uploads": ""})
    upload = answer.body.decode().partition("<UploadId>")[2].partition("</UploadId>")[0]
    etags = {
        number: client.oss("PUT", path, {"partNumber": str(number), "uploadId": upload}, b"small").headers["etag"]
        for number in (1, 2)
    }

    def complete(*numbers: int, etag: str = "") -> tuple[int, str]:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag or etags[number]}</ETag></Part>" for number in numbers
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        return _code(client.oss("POST", path, {"uploadId": upload}, body))

    assert complete(2, 1) == (400, "InvalidPartOrder")
    assert complete(1, etag='"ABC"') == (400, "InvalidPart")
    assert complete(1, 2) == (400, "EntityTooSmall")
    assert complete(1)[0] == 200
    assert complete(1) == (404, "NoSuchUpload")


def test_function_compute_refuses_what_is_documented(client: Client) -> None:
    client.ask("POST", "/functions", body=FUNCTION)
    path = "/functions/serve"
    oss_mount = {"bucketName": BUCKET, "bucketPath": "/absent", "endpoint": client.url, "mountDir": "/mnt/m"}
    refused: list[tuple[str, str, dict[str, str] | None, Any, str]] = [
        ("POST", "/functions", None, FUNCTION, "FunctionAlreadyExists"),
        ("PUT", path, None, {"handler": ""}, "InvalidArgument"),
        ("PUT", path, None, {"memorySize": 129}, "InvalidArgument"),
        ("PUT", path, None, {"environmentVariables": {"FC_X": "1"}}, "InvalidArgument"),
        ("PUT", path, None, {"environmentVariables": {"X": "y" * 4096}}, "InvalidArgument"),
        ("PUT", path, None, {"ossMountConfig": {"mountPoints": [oss_mount] * 2}}, "InvalidArgument"),
        ("PUT", path, None, {"code": {"zipFile": ""}}, "InvalidArgument"),
        ("GET", path, {"qualifier": "7"}, None, "VersionNotFound"),
        ("GET", path + "/aliases/none", None, None, "AliasNotFound"),
        ("GET", "/functions/none", None, None, "FunctionNotFound"),
        ("POST", path + "/aliases", None, {"aliasName": "LATEST", "versionId": "1"}, "InvalidArgument"),
        ("GET", "/layers", None, None, "PathNotSupported"),
        ("PUT", path + "/scaling-config", {"qualifier": "1"}, {"minInstances": 1}, "InvalidArgument"),
    ]
    client.ask("POST", path + "/versions", body={"description": "first"})
    for method, place, query, body, code in refused:
        assert _code(client.fc(method, place, query, body))[1] == code, (method, place, body)
    assert _code(client.fc("POST", path + "/versions", body={}))[1] == "VersionPublishError"
    client.ask("POST", path + "/aliases", body={"aliasName": "prod", "versionId": "1"})
    share = {"additionalVersionWeight": {"1": 0.5}}
    assert _code(client.fc("PUT", path + "/aliases/prod", body=share))[1] == "AdditionalVersionContainsMajorVersion"
    assert _code(client.fc("PUT", path + "/aliases/prod", body={"versionId": "9"}))[1] == "VersionNotFound"
    client.ask("PUT", path, body={"ossMountConfig": {"mountPoints": [oss_mount]}})
    assert _code(client.fc("POST", path + "/versions", body={}))[1] == "ConcurrentUpdateError"


def test_a_deleted_version_leaves_an_alias_whose_calls_fail(client: Client) -> None:
    client.ask("POST", "/functions", body=FUNCTION | {"functionName": "dangling"})
    path = "/functions/dangling"
    client.ask("POST", path + "/versions", body={})
    client.ask("POST", path + "/aliases", body={"aliasName": "prod", "versionId": "1"})
    assert client.ask("POST", path + "/invocations", {"qualifier": "prod"}, b"{}")["function_version"] == "1"
    client.ask("DELETE", path + "/versions/1")
    assert client.ask("GET", path + "/aliases/prod")["versionId"] == "1"
    with pytest.raises(Failed, match="VersionNotFound"):
        client.ask("POST", path + "/invocations", {"qualifier": "prod"}, b"{}")
