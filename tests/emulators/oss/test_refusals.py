"""Authentication errors through oss2: wrong keys, skewed clocks, wrong regions, anonymous requests."""

import http.client
import time
from typing import Any

import oss2
import pytest
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import BUCKET, OTHER, REGION, STS_KEY, STS_SECRET, STS_TOKEN, Clock
from tests.emulators.oss.conftest import Connect

VERSIONS = pytest.mark.parametrize("version", ["v1", "v4"])


def _refusal(call: Any, *args: Any, **options: Any) -> oss2.exceptions.ServerError:
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        call(*args, **options)
    error: oss2.exceptions.ServerError = refusal.value
    return error


@VERSIONS
def test_an_unknown_key_id_is_refused_by_name(connect: Connect, version: str) -> None:
    error = _refusal(connect(version=version, key_id="nobody").create_bucket)
    assert (error.status, error.code) == (403, "InvalidAccessKeyId")
    assert error.details["OSSAccessKeyId"] == "nobody"


@VERSIONS
def test_a_wrong_secret_does_not_match_and_the_answer_shows_what_was_signed(connect: Connect, version: str) -> None:
    error = _refusal(connect(version=version, secret="wrong").put_object, "k", b"1")
    assert (error.status, error.code) == (403, "SignatureDoesNotMatch")
    string_to_sign = error.details["StringToSign"]
    assert string_to_sign.startswith("OSS4-HMAC-SHA256\n" if version == "v4" else "PUT\n")
    head = _refusal(connect(version=version, secret="wrong").head_object, "k")
    assert head.code == "SignatureDoesNotMatch"


@VERSIONS
@pytest.mark.parametrize("offset_s", [-16 * 60, 16 * 60])
def test_a_clock_more_than_fifteen_minutes_off_is_refused(
    connect: Connect, clock: Clock, version: str, offset_s: int
) -> None:
    clock.offset_s = offset_s
    error = _refusal(connect(version=version).create_bucket)
    assert (error.status, error.code) == (403, "RequestTimeTooSkewed")
    assert error.details["MaxAllowedSkewMilliseconds"] == "900000"
    clock.offset_s = offset_s / 16 * 14
    connect(version=version).create_bucket()


@VERSIONS
def test_a_missing_bucket_is_reported_after_the_signature_check(connect: Connect, version: str) -> None:
    missing = connect("never-made", version=version)
    for call in (missing.get_object, missing.head_object, missing.delete_object, missing.get_object_acl):
        assert (_refusal(call, "k").status, _refusal(call, "k").code) == (404, "NoSuchBucket")
    assert _refusal(missing.put_object, "k", b"1").details["BucketName"] == "never-made"
    assert _refusal(missing.list_objects_v2).code == "NoSuchBucket"
    assert _refusal(connect("never-made", version=version, secret="x").get_object, "k").status == 403


def test_a_v4_signature_is_for_one_region(connect: Connect, cloud: LocalCloud) -> None:
    error = _refusal(connect(version="v4", region=OTHER, endpoint=cloud.endpoint(REGION)).create_bucket)
    assert (error.status, error.code) == (400, "InvalidArgument")
    assert error.message == "Invalid signing region in Authorization header."
    assert error.details["EC"] == "0002-00000226"


@VERSIONS
def test_temporary_keys_need_their_token_and_their_time(connect: Connect, version: str) -> None:
    good = connect(version=version, key_id=STS_KEY, secret=STS_SECRET, token=STS_TOKEN)
    good.create_bucket()
    good.put_object("k", b"1")
    assert good.get_object("k").read() == b"1"
    without = connect(version=version, key_id=STS_KEY, secret=STS_SECRET)
    assert _refusal(without.get_object, "k").code == "InvalidSecurityToken"
    expired = connect(version=version, key_id="STS.expired", secret=STS_SECRET, token=STS_TOKEN)
    assert _refusal(expired.get_object, "k").code == "SecurityTokenExpired"


@VERSIONS
def test_a_presigned_url_expires(connect: Connect, clock: Clock, version: str, request: pytest.FixtureRequest) -> None:
    bucket = connect(version=version)
    bucket.create_bucket()
    bucket.put_object("k", b"1")
    url = bucket.sign_url("GET", "k", 60)
    assert _status(url) == 200
    clock.offset_s = 120
    assert _status(url) == 403


def _status(url: str, method: str = "GET", headers: dict[str, str] | None = None) -> int:
    host, _, target = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request(method, f"/{target}", headers=headers or {})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def test_anonymous_reads_are_allowed_only_for_public_objects(one_bucket: Any, cloud: LocalCloud) -> None:
    one_bucket.put_object("k", b"1")
    one_bucket.put_object("open", b"1", headers={"x-oss-object-acl": "public-read"})
    base = f"{cloud.endpoint(REGION)}/{BUCKET}"
    assert _status(f"{base}/k") == 403
    assert _status(f"{base}/open") == 200
    assert _status(f"{base}/open", "DELETE") == 403
    one_bucket.put_bucket_acl("public-read")
    assert _status(f"{base}/k") == 200
    assert _status(f"{base}/none") == 404
    anonymous = oss2.Bucket(oss2.AnonymousAuth(), cloud.endpoint(REGION), BUCKET, session=one_bucket.session)
    assert _refusal(anonymous.put_object, "k", b"1").code == "AccessDenied"


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic dTpw",
        "OSS no-colon",
        "OSS4-HMAC-SHA256 Signature=00",
        "OSS4-HMAC-SHA256 Credential=key/20200101/cn-hangzhou/oss/abc,Signature=00",
        "OSS4-HMAC-SHA256 Credential=key/20200101/cn-hangzhou/oss/aliyun_v4_request,Signature=00",
    ],
)
def test_a_malformed_authorization_is_an_invalid_argument(cloud: LocalCloud, authorization: str) -> None:
    date = {"Date": oss2.http_date(int(time.time())), "Authorization": authorization}
    assert _status(f"{cloud.endpoint(REGION)}/{BUCKET}/k", headers=date) == 400


def test_a_signed_request_needs_a_date_that_can_be_read(cloud: LocalCloud) -> None:
    url = f"{cloud.endpoint(REGION)}/{BUCKET}/k"
    assert _status(url, headers={"Authorization": "OSS key:sig"}) == 403
    assert _status(url, headers={"Authorization": "OSS key:sig", "Date": "yesterday"}) == 403
    scope = "key/20200101/cn-hangzhou/oss/aliyun_v4_request"
    v4 = {"Authorization": f"OSS4-HMAC-SHA256 Credential={scope},Signature=00", "x-oss-date": "now"}
    assert _status(url, headers=v4) == 400


@pytest.mark.parametrize(
    "query",
    [
        "OSSAccessKeyId=key&Expires=soon&Signature=x",
        "x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-date=20200101T000000Z&x-oss-expires=60",
        "x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-date=20990101T000000Z&x-oss-expires=60",
        "x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-date=20200101T000000Z&x-oss-expires=soon",
        "x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-date=soon",
    ],
)
def test_a_malformed_presigned_url_opens_nothing(cloud: LocalCloud, query: str) -> None:
    assert _status(f"{cloud.endpoint(REGION)}/{BUCKET}/k?{query}") in (400, 403)


@pytest.mark.parametrize(("method", "path"), [("PATCH", "/b/k"), ("POST", "/b/k"), ("POST", "/"), ("PUT", "/")])
def test_a_method_without_meaning_is_not_allowed(cloud: LocalCloud, method: str, path: str) -> None:
    assert _status(f"{cloud.endpoint(REGION)}{path}", method) == 405


def test_a_key_that_is_not_utf8_is_refused(cloud: LocalCloud) -> None:
    assert _status(f"{cloud.endpoint(REGION)}/{BUCKET}/%ff") == 400
