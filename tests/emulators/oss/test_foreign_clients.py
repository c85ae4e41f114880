"""Behaviour that foreign clients rely on, by requests written from the service's documentation."""

import gzip
import time
from typing import Any

import oss2
import pytest
from fastcrc.crc64 import xz
from syncd.localcloud import LocalCloud
from syncd.localcloud.oss.protocol import operation_names
from syncd.localcloud.oss.region import OPERATIONS

from tests.emulators.clouds import BUCKET, OTHER, REGION, Clock
from tests.emulators.oss.conftest import Connect
from tests.emulators.oss.raw import Raw

PATH = f"/{BUCKET}"
TEXT = b'{"name": "value"}\n' * 200
ROWS = [
    (path, row)
    for path, rows in (
        ("/", operation_names._SERVICE),
        (PATH, operation_names._BUCKET),
        (f"{PATH}/k", operation_names._OBJECT),
    )
    for row in rows
    if row[2] not in OPERATIONS
]


@pytest.fixture
def raw(one_bucket: Any, cloud: LocalCloud) -> Raw:
    """Signed requests of no SDK, to a region that has the bucket."""
    return Raw(cloud)


@pytest.fixture
def anonymous(one_bucket: Any, cloud: LocalCloud) -> Raw:
    """Requests without a signature."""
    return Raw(cloud, signed=False)


def test_a_v4_signature_may_sign_the_plain_date(raw: Raw, cloud: LocalCloud, clock: Clock) -> None:
    raw.plain_date = True
    assert raw("PUT", f"{PATH}/a b", {}, {"Content-Type": "text/plain"}, b"1").status == 200
    assert raw("GET", f"{PATH}/a b").body == b"1"
    assert raw("GET", PATH, {"list-type": "2", "prefix": "a"}).element("Key") == "a b"
    cloud.access_key_secret = "another"
    refused = raw("GET", f"{PATH}/a b")
    assert refused.code == "SignatureDoesNotMatch"
    assert refused.element("StringToSign").split("\n")[1].endswith("GMT")
    clock.offset_s = 3600
    assert raw("GET", f"{PATH}/a b").code == "RequestTimeTooSkewed"


@pytest.mark.parametrize(("path", "row"), ROWS, ids=[row[2] for _, row in ROWS])
def test_an_operation_that_is_not_implemented_is_refused_by_its_name(
    raw: Raw, one_bucket: Any, path: str, row: tuple[str, str, str]
) -> None:
    method, condition, operation = row
    one_bucket.put_object("k", b"1")
    terms = (term.partition("=") for term in condition.split("&") if term)
    refused = raw(method, path, {name: value for name, _, value in terms})
    body = refused.body.decode() or oss2.utils.b64decode_from_string(refused.headers["x-oss-err"]).decode()
    assert (refused.status, "<Code>NotImplemented</Code>" in body) == (501, True)
    assert operation in body
    assert one_bucket.get_object("k").read() == b"1"


@pytest.mark.parametrize(
    ("request_line", "query", "headers", "named"),
    [
        (f"PUT {PATH}/k", {"restore": ""}, {}, "PUT ?restore"),
        (f"DELETE {PATH}", {"uploads": ""}, {}, "DELETE ?uploads"),
        (f"POST {PATH}", {"lifecycle": ""}, {}, "POST ?lifecycle"),
        (f"GET {PATH}/k", {"versionId": "CAEQ"}, {}, "versionId"),
        (f"DELETE {PATH}/k", {"versionId": "CAEQ"}, {}, "versionId"),
        (f"PUT {PATH}/k", {}, {"x-oss-callback": "e30="}, "callback"),
        (f"PUT {PATH}/k", {"callback": "e30="}, {}, "callback"),
    ],
)
def test_a_sub_resource_or_feature_without_an_implementation_is_refused(
    raw: Raw, one_bucket: Any, request_line: str, query: dict[str, str], headers: dict[str, str], named: str
) -> None:
    one_bucket.put_object("k", b"1")
    method, path = request_line.split()
    refused = raw(method, path, query, headers)
    assert (refused.status, refused.code) == (501, "NotImplemented")
    assert named in refused.element("Message")
    assert one_bucket.get_object("k").read() == b"1"


def test_the_one_version_of_an_object_has_the_id_null(raw: Raw, one_bucket: Any) -> None:
    one_bucket.put_object("k", b"1")
    assert raw("GET", f"{PATH}/k", {"versionId": "null"}).body == b"1"


@pytest.mark.parametrize(("span", "want"), [("bytes=3-", b"3456789"), ("bytes=0-", b"0123456789"), ("bytes=-2", b"89")])
def test_a_part_is_copied_from_an_open_range(one_bucket: Any, raw: Raw, span: str, want: bytes) -> None:
    one_bucket.put_object("source", b"0123456789")
    upload_id = one_bucket.init_multipart_upload("k").upload_id
    copy = {"x-oss-copy-source": f"{PATH}/source", "x-oss-copy-source-range": span}
    part = raw("PUT", f"{PATH}/k", {"partNumber": "1", "uploadId": upload_id}, copy)
    assert part.status == 200, part.body
    etag = part.element("ETag").replace("&quot;", '"')
    one_bucket.complete_multipart_upload("k", upload_id, [oss2.models.PartInfo(1, etag.strip('"'))])
    assert one_bucket.get_object("k").read() == want


@pytest.mark.parametrize(
    "span", ["bytes=10-", "bytes=4-3", "bytes=0-10", "bytes=-", "bytes=-11", "3-4", "bytes=" + "9" * 5000 + "-"]
)
def test_a_part_is_not_copied_from_a_range_outside_the_source(one_bucket: Any, raw: Raw, span: str) -> None:
    one_bucket.put_object("source", b"0123456789")
    upload_id = one_bucket.init_multipart_upload("k").upload_id
    copy = {"x-oss-copy-source": f"{PATH}/source", "x-oss-copy-source-range": span}
    refused = raw("PUT", f"{PATH}/k", {"partNumber": "1", "uploadId": upload_id}, copy)
    assert (refused.status, refused.code) == (400, "InvalidArgument")


def test_head_of_a_symlink_has_the_bytes_of_its_target_and_its_own_metadata(
    one_bucket: Any, raw: Raw, clock: Clock
) -> None:
    own = {"x-oss-meta-who": "target", "Content-Type": "text/plain", "x-oss-tagging": "a=1&b=2"}
    one_bucket.put_object("target", b"hello", headers={**own, "x-oss-storage-class": "IA"})
    clock.offset_s = 60
    one_bucket.put_symlink("target", "link", headers={"x-oss-meta-who": "link", "Content-Type": "text/css"})
    target, link = raw("HEAD", f"{PATH}/target").headers, raw("HEAD", f"{PATH}/link").headers
    same = ("etag", "content-length", "content-md5", "x-oss-storage-class", "x-oss-hash-crc64ecma")
    assert {name: link[name] for name in same} == {name: target[name] for name in same}
    assert (link["x-oss-object-type"], link["x-oss-meta-who"], link["content-type"]) == ("Symlink", "link", "text/css")
    assert "x-oss-tagging-count" not in link
    assert (
        oss2.utils.http_to_unixtime(link["last-modified"]) >= oss2.utils.http_to_unixtime(target["last-modified"]) + 59
    )
    clock.offset_s = 120
    one_bucket.put_object("target", b"hello", headers=own)
    assert (
        raw("HEAD", f"{PATH}/link").headers["last-modified"] == raw("HEAD", f"{PATH}/target").headers["last-modified"]
    )
    got = raw("GET", f"{PATH}/link")
    assert (got.body, got.headers["x-oss-meta-who"]) == (b"hello", "link")


def test_the_meta_of_a_symlink_is_that_of_the_link(one_bucket: Any, raw: Raw) -> None:
    one_bucket.put_object("target", b"hello")
    one_bucket.put_symlink("target", "link")
    meta = raw("HEAD", f"{PATH}/link", {"objectMeta": ""}).headers
    assert meta["etag"] == one_bucket.get_symlink("link").headers["ETag"]
    assert meta["content-length"] == "0"


SSE = {"x-oss-server-side-encryption": "KMS", "x-oss-server-side-data-encryption": "SM4"}
KEYED = {**SSE, "x-oss-server-side-encryption-key-id": "9468da86-3509-4f8d"}


def test_server_side_encryption_is_kept_and_reported(one_bucket: Any, raw: Raw) -> None:
    assert KEYED.items() <= raw("PUT", f"{PATH}/k", {}, KEYED, b"1").headers.items()
    assert KEYED.items() <= raw("HEAD", f"{PATH}/k").headers.items()
    assert KEYED.items() <= raw("GET", f"{PATH}/k").headers.items()
    copied = raw(
        "PUT", f"{PATH}/copy", {}, {"x-oss-copy-source": f"{PATH}/k", "x-oss-server-side-encryption": "AES256"}
    )
    assert copied.headers["x-oss-server-side-encryption"] == "AES256"
    head = raw("HEAD", f"{PATH}/copy").headers
    assert head["x-oss-server-side-encryption"] == "AES256"
    assert "x-oss-server-side-encryption-key-id" not in head
    raw("PUT", f"{PATH}/plain", {}, {"x-oss-copy-source": f"{PATH}/k"})
    assert not [name for name in raw("HEAD", f"{PATH}/plain").headers if "encryption" in name]
    begun = raw("POST", f"{PATH}/parts", {"uploads": ""}, SSE)
    query = {"uploadId": begun.element("UploadId"), "partNumber": "1"}
    part = raw("PUT", f"{PATH}/parts", query, {}, b"1")
    listed = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part>".encode()
    del query["partNumber"]
    done = raw(
        "POST", f"{PATH}/parts", query, {}, b"<CompleteMultipartUpload>" + listed + b"</CompleteMultipartUpload>"
    )
    for answer in (begun, part, done, raw("HEAD", f"{PATH}/parts")):
        assert SSE.items() <= answer.headers.items()
    refused = raw("PUT", f"{PATH}/k", {}, {"x-oss-server-side-encryption": "DES"}, b"2")
    assert (refused.status, refused.code) == (400, "InvalidEncryptionAlgorithmError")
    refused = raw("PUT", f"{PATH}/k", {}, {"x-oss-server-side-data-encryption": "AES"}, b"2")
    assert refused.status == 400
    assert one_bucket.get_object("k").read() == b"1"


@pytest.mark.parametrize(("lifetime_s", "status"), [(604_800, 200), (604_801, 400), (1, 200), (0, 400)])
def test_a_presigned_v4_url_is_valid_for_seven_days_at_most(
    one_bucket: Any, raw: Raw, anonymous: Raw, lifetime_s: int, status: int
) -> None:
    one_bucket.put_object("k", b"1")
    url = one_bucket.sign_url("GET", "k", lifetime_s or 1, slash_safe=True)
    if not lifetime_s:
        url = url.replace("x-oss-expires=1&", "x-oss-expires=0&")
    query = dict(part.partition("=")[::2] for part in url.partition("?")[2].split("&"))
    answer = anonymous("GET", f"{PATH}/k", {name: oss2.compat.urlunquote(value) for name, value in query.items()})
    assert answer.status == status
    if status == 400:
        assert answer.element("EC") == "0002-00000232"


@pytest.mark.parametrize("version", ["v1", "v4"])
@pytest.mark.parametrize("lifetime", ["²", "-1", "1" * 5000, "1e3"])
def test_an_invalid_lifetime_is_refused(anonymous: Raw, version: str, lifetime: str) -> None:
    query = {"OSSAccessKeyId": "key", "Expires": lifetime, "Signature": "x"}
    if version == "v4":
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        query = {"x-oss-signature-version": "OSS4-HMAC-SHA256", "x-oss-date": stamp, "x-oss-expires": lifetime}
    assert anonymous("GET", f"{PATH}/k", query).status in (400, 403)


def test_a_bucket_names_the_endpoint_with_its_port(
    one_bucket: Any, connect: Connect, cloud: LocalCloud, raw: Raw
) -> None:
    connect("far-bucket", region=OTHER).create_bucket()
    host = cloud.endpoint(REGION).removeprefix("http://")
    info = one_bucket.get_bucket_info()
    assert (info.extranet_endpoint, info.intranet_endpoint) == (host, host)
    far = connect(
        "far-bucket",
        region=OTHER,
        endpoint=f"http://{connect('far-bucket', region=OTHER).get_bucket_info().extranet_endpoint}",
    )
    far.put_object("k", b"1")
    listed = raw("GET", "/").body.decode()
    assert f"<ExtranetEndpoint>{cloud.endpoint(OTHER).removeprefix('http://')}</ExtranetEndpoint>" in listed
    port = host.rpartition(":")[2]
    by_name = raw("GET", PATH, {"bucketInfo": ""}, {"Host": f"oss-{REGION}.localhost:{port}"})
    assert by_name.element("ExtranetEndpoint") == f"oss-{REGION}.localhost:{port}"
    by_name = raw("GET", PATH, {"bucketInfo": ""}, {"Host": f"oss-{REGION}.oss.local"})
    assert by_name.element("IntranetEndpoint") == f"oss-{REGION}-internal.oss.local"


@pytest.mark.parametrize(
    ("header", "pairs", "ec"),
    [
        ("k%C3%A9=v", [("ké", "v")], "0010-00000212"),
        ("k=%E6%A8%A1", [("k", "模")], "0010-00000217"),
        ("k=a%26b", [("k", "a&b")], "0010-00000217"),
        ("=v", [("", "v")], "0010-00000212"),
        ("aa=bb=cc", None, "0010-00000219"),
    ],
)
def test_tags_have_ascii_characters_only(
    one_bucket: Any, raw: Raw, header: str, pairs: list[tuple[str, str]] | None, ec: str
) -> None:
    refused = raw("PUT", f"{PATH}/new", {}, {"x-oss-tagging": header}, b"1")
    assert (refused.status, refused.code, refused.element("EC")) == (400, "InvalidTag", ec)
    assert not one_bucket.object_exists("new")
    one_bucket.put_object("k", b"1", headers={"x-oss-tagging": "a+b=c%20d&empty&colon:=x%2Fy"})
    assert one_bucket.get_object_tagging("k").tag_set.tagging_rule == {"a b": "c d", "empty": "", "colon:": "x/y"}
    if pairs is not None:
        tags = "".join(f"<Tag><Key>{k}</Key><Value>{v.replace('&', '&amp;')}</Value></Tag>" for k, v in pairs)
        body = f"<Tagging><TagSet>{tags}</TagSet></Tagging>".encode()
        assert raw("PUT", f"{PATH}/k", {"tagging": ""}, {}, body).element("EC") == ec


def test_tags_of_an_appended_object_are_those_of_its_first_append(one_bucket: Any) -> None:
    one_bucket.append_object("log", 0, b"1", headers={"x-oss-tagging": "a=1"})
    one_bucket.append_object("log", 1, b"2", headers={"x-oss-tagging": "b=2", "x-oss-meta-late": "1"})
    assert one_bucket.get_object_tagging("log").tag_set.tagging_rule == {"a": "1"}
    head = one_bucket.head_object("log").headers
    assert (head["x-oss-tagging-count"], head.get("x-oss-meta-late")) == ("1", None)


def test_text_is_compressed_for_a_client_that_accepts_it(one_bucket: Any, raw: Raw) -> None:
    one_bucket.put_object("t.json", TEXT, headers={"Content-Type": "application/json; charset=utf-8"})
    accepts = {"Accept-Encoding": "deflate, gzip;q=0.5"}
    got = raw("GET", f"{PATH}/t.json", {}, accepts)
    assert (got.headers["content-encoding"], got.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert not {"etag", "content-length", "accept-ranges"} & set(got.headers)
    assert got.headers["x-oss-hash-crc64ecma"] == str(xz(TEXT))
    assert (gzip.decompress(got.body), len(got.body) < len(TEXT)) == (TEXT, True)
    head = raw("HEAD", f"{PATH}/t.json", {}, accepts)
    assert (head.status, head.headers["content-encoding"]) == (200, "gzip")
    assert not {"etag", "content-length"} & set(head.headers)


@pytest.mark.parametrize(
    ("key", "headers", "asked"),
    [
        ("small.json", {"Content-Type": "application/json"}, {"Accept-Encoding": "gzip"}),
        ("t.bin", {"Content-Type": "application/octet-stream"}, {"Accept-Encoding": "gzip"}),
        ("t.json", {"Content-Type": "application/json"}, {"Accept-Encoding": "gzip;q=0, br"}),
        ("t.json", {"Content-Type": "application/json"}, {}),
        ("t.json", {"Content-Type": "application/json"}, {"Accept-Encoding": "gzip", "Range": "bytes=0-1999"}),
        ("t.json", {"Content-Type": "application/json", "Content-Encoding": "br"}, {"Accept-Encoding": "gzip"}),
    ],
)
def test_what_is_not_compressed_has_its_length_and_etag(
    one_bucket: Any, raw: Raw, key: str, headers: dict[str, str], asked: dict[str, str]
) -> None:
    data = TEXT[:1023] if key.startswith("small") else TEXT
    one_bucket.put_object(key, data, headers=headers)
    got = raw("GET", f"{PATH}/{key}", {}, asked)
    assert got.body == data[: 2000 if "Range" in asked else None]
    assert {"etag", "content-length", "accept-ranges"} <= set(got.headers)
    assert got.headers.get("content-encoding") == headers.get("Content-Encoding")


WRITES = [
    ("PUT", f"{PATH}/new", {}, {}, b"1"),
    ("PUT", f"{PATH}/copy", {}, {"x-oss-copy-source": f"{PATH}/k"}, b""),
    ("POST", f"{PATH}/log", {"append": "", "position": "0"}, {}, b"1"),
    ("PUT", f"{PATH}/link", {"symlink": ""}, {"x-oss-symlink-target": "k"}, b""),
    ("POST", f"{PATH}/parts", {"uploads": ""}, {}, b""),
    ("DELETE", f"{PATH}/k", {}, {}, b""),
    ("POST", PATH, {"delete": ""}, {}, b"<Delete><Object><Key>k</Key></Object></Delete>"),
]
READS = [
    ("GET", f"{PATH}/k", {}),
    ("HEAD", f"{PATH}/k", {}),
    ("HEAD", f"{PATH}/k", {"objectMeta": ""}),
    ("GET", PATH, {}),
]
OWNERS = [
    ("PUT", PATH, {"acl": ""}, {"x-oss-acl": "private"}),
    ("PUT", f"{PATH}/k", {"acl": ""}, {"x-oss-object-acl": "private"}),
    ("GET", f"{PATH}/k", {"acl": ""}, {}),
    ("PUT", f"{PATH}/k", {"tagging": ""}, {}),
    ("DELETE", PATH, {}, {}),
    ("GET", PATH, {"bucketInfo": ""}, {}),
    ("GET", "/", {}, {}),
]


@pytest.mark.parametrize("acl", ["private", "public-read", "public-read-write"])
def test_the_acl_of_a_bucket_allows_anonymous_access(one_bucket: Any, anonymous: Raw, acl: str) -> None:
    one_bucket.put_object("k", b"1")
    one_bucket.put_bucket_acl(acl)
    for method, path, query in READS:
        assert anonymous(method, path, query).status == (403 if acl == "private" else 200), (method, path, query)
    for method, path, query, headers in OWNERS:
        assert anonymous(method, path, query, headers).status == 403, (method, path, query)
    for method, path, query, headers, body in WRITES:
        allowed = anonymous(method, path, query, headers, body).status < 300
        assert allowed is (acl == "public-read-write"), (method, path, query)


def test_the_acl_of_an_object_goes_before_that_of_its_bucket(one_bucket: Any, anonymous: Raw) -> None:
    one_bucket.put_bucket_acl("public-read-write")
    one_bucket.put_object("mine", b"1", headers={"x-oss-object-acl": "private"})
    one_bucket.put_object("shown", b"1", headers={"x-oss-object-acl": "public-read"})
    assert anonymous("GET", f"{PATH}/mine").status == 403
    assert anonymous("GET", f"{PATH}/shown").status == 200
    assert anonymous("PUT", f"{PATH}/shown", {}, {}, b"2").status == 403
    assert anonymous("DELETE", f"{PATH}/mine").status == 403
    assert anonymous("PUT", f"{PATH}/copy", {}, {"x-oss-copy-source": f"{PATH}/mine"}).status == 403
    both = b"<Delete><Object><Key>mine</Key></Object><Object><Key>none</Key></Object></Delete>"
    assert anonymous("POST", PATH, {"delete": ""}, {}, both).status == 403
    one_bucket.put_bucket_acl("private")
    one_bucket.put_object("open", b"1", headers={"x-oss-object-acl": "public-read-write"})
    assert anonymous("PUT", f"{PATH}/open", {}, {}, b"2").status == 200
    assert anonymous("PUT", f"{PATH}/new", {}, {}, b"2").status == 403


@pytest.mark.parametrize("token", ["2", "not base64!", "YWJj", "模", "CgJi", "/////w==", "CgJiYw=="])
def test_a_listing_by_a_token_that_was_never_given_is_refused(raw: Raw, token: str) -> None:
    refused = raw("GET", PATH, {"list-type": "2", "continuation-token": token})
    assert (refused.status, refused.code, refused.element("EC")) == (400, "InvalidArgument", "0015-00000404")


def test_a_listing_goes_on_by_the_token_that_it_gave(one_bucket: Any, raw: Raw) -> None:
    for key in ("a", "é/" + "x" * 300, "é/" + "y" * 300, "模"):
        one_bucket.put_object(key, b"")
    found, token = [], ""
    while True:
        query = {"list-type": "2", "max-keys": "1", **({"continuation-token": token} if token else {})}
        page = raw("GET", PATH, query)
        found.append(page.element("Key"))
        token = page.element("NextContinuationToken")
        if not token:
            break
    assert found == ["a", "é/" + "x" * 300, "é/" + "y" * 300, "模"]


@pytest.mark.parametrize("number", ["x", "²", "-1", "1" * 5000])
def test_an_invalid_number_is_an_invalid_argument(one_bucket: Any, raw: Raw, number: str) -> None:
    upload_id = one_bucket.init_multipart_upload("k").upload_id
    for method, query in (
        ("GET", {"uploadId": upload_id, "part-number-marker": number}),
        ("GET", {"uploadId": upload_id, "max-parts": number}),
        ("PUT", {"uploadId": upload_id, "partNumber": number}),
        ("POST", {"append": "", "position": number}),
    ):
        refused = raw(method, f"{PATH}/k", query)
        assert (refused.status, refused.code) == (400, "InvalidArgument"), query
    for limit in ("max-keys", "max-uploads"):
        query = {limit: number} | ({"uploads": ""} if limit == "max-uploads" else {})
        assert raw("GET", PATH, query).code == "InvalidArgument"
    body = f"<Part><PartNumber>{number}</PartNumber><ETag>x</ETag></Part>"
    body = f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>"
    assert raw("POST", f"{PATH}/k", {"uploadId": upload_id}, {}, body.encode()).code == "MalformedXML"


def test_a_later_append_sets_the_acl_it_names_and_no_other(one_bucket: Any) -> None:
    one_bucket.append_object("log", 0, b"1", headers={"x-oss-object-acl": "public-read-write"})
    one_bucket.append_object("log", 1, b"2")
    assert one_bucket.get_object_acl("log").acl == "public-read-write"
    one_bucket.append_object("log", 2, b"3", headers={"x-oss-object-acl": "public-read"})
    assert one_bucket.get_object_acl("log").acl == "public-read"


def test_too_many_or_duplicate_tags_have_the_codes_of_the_service(one_bucket: Any, raw: Raw) -> None:
    eleven = "&".join(f"k{number}=v" for number in range(11))
    assert raw("PUT", f"{PATH}/k", {}, {"x-oss-tagging": eleven}, b"1").code == "BadRequest"
    twice = raw("PUT", f"{PATH}/k", {}, {"x-oss-tagging": "k=1&k=2"}, b"1")
    assert (twice.status, twice.code) == (400, "InvalidArgument")
    assert "without tag name duplicates" in twice.element("Message")
    one_bucket.put_object("k", b"1")
    tags = b"<Tag><Key>k</Key><Value>1</Value></Tag>" * 2
    body = b"<Tagging><TagSet>" + tags + b"</TagSet></Tagging>"
    assert raw("PUT", f"{PATH}/k", {"tagging": ""}, {}, body).code == "InvalidTag"


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"])
def test_a_condition_on_a_put_is_refused_and_not_ignored(one_bucket: Any, raw: Raw, header: str) -> None:
    one_bucket.put_object("k", b"1")
    refused = raw("PUT", f"{PATH}/k", {}, {header: "*"}, b"2")
    assert (refused.status, refused.code) == (501, "NotImplemented")
    assert one_bucket.get_object("k").read() == b"1"


def test_a_v2_signature_is_refused_by_its_name(anonymous: Raw) -> None:
    header = anonymous("GET", f"{PATH}/k", {}, {"Authorization": "OSS2 AccessKeyId:a,Signature:b"})
    query = anonymous("GET", f"{PATH}/k", {"x-oss-signature-version": "OSS2", "x-oss-signature": "b"})
    for refused in (header, query):
        assert (refused.status, refused.code) == (501, "NotImplemented")
        assert "V2" in refused.element("Message")


def test_parts_in_sequence_are_refused(raw: Raw) -> None:
    assert raw("POST", f"{PATH}/k", {"uploads": "", "sequential": ""}).status == 501


def test_a_key_with_a_control_character_can_be_deleted_with_others(one_bucket: Any, raw: Raw) -> None:
    one_bucket.put_object("a\x0c\x01b", b"1")
    one_bucket.put_object("plain", b"1")
    keys = b"<Object><Key>a&#xC;&#1;b</Key></Object><Object><Key>plain</Key></Object>"
    done = raw("POST", PATH, {"delete": "", "encoding-type": "url"}, {}, b"<Delete>" + keys + b"</Delete>")
    assert done.status == 200
    assert b"<Key>a%0C%01b</Key>" in done.body
    assert list(oss2.ObjectIterator(one_bucket)) == []


def test_a_bucket_without_versions_or_channels_lists_its_objects_and_none(one_bucket: Any, raw: Raw) -> None:
    for key in ("a", "b/1", "b/2", "c"):
        one_bucket.put_object(key, b"12")
    listed = one_bucket.list_object_versions(delimiter="/")
    assert [(v.key, v.versionid, v.is_latest, v.size) for v in listed.versions] == [
        ("a", "null", True, 2),
        ("c", "null", True, 2),
    ]
    assert (listed.common_prefix, listed.delete_marker, listed.is_truncated) == (["b/"], [], False)
    pages, marker = [], ""
    while True:
        page = one_bucket.list_object_versions(max_keys=1, key_marker=marker)
        pages += [version.key for version in page.versions]
        marker = page.next_key_marker
        if not page.is_truncated:
            break
    assert pages == ["a", "b/1", "b/2", "c"]
    assert list(oss2.LiveChannelIterator(one_bucket)) == []
    assert raw("GET", PATH, {"live": ""}).element("IsTruncated") == "false"


def test_a_browser_upload_is_refused_by_its_name(anonymous: Raw) -> None:
    refused = anonymous("POST", PATH, {}, {"Content-Type": "multipart/form-data; boundary=b"}, b"--b--")
    assert (refused.status, refused.code) == (501, "NotImplemented")
    assert "PostObject" in refused.element("Message")


def test_versions_in_a_batch_delete_are_refused_and_not_ignored(one_bucket: Any, raw: Raw) -> None:
    one_bucket.put_object("k", b"1")
    body = b"<Delete><Object><Key>k</Key><VersionId>%s</VersionId></Object></Delete>"
    assert raw("POST", PATH, {"delete": ""}, {}, body % b"CAEQ").status == 501
    assert one_bucket.object_exists("k")
    assert raw("POST", PATH, {"delete": ""}, {}, body % b"null").status == 200
    assert not one_bucket.object_exists("k")


def test_a_bucket_with_another_redundancy_is_refused(raw: Raw) -> None:
    body = "<CreateBucketConfiguration><DataRedundancyType>{}</DataRedundancyType></CreateBucketConfiguration>"
    assert raw("PUT", "/zone-bucket", {}, {}, body.format("ZRS").encode()).status == 501
    assert raw("PUT", "/zone-bucket", {}, {}, body.format("LRS").encode()).status == 200
