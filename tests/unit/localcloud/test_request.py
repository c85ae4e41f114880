"""OSS requests: bucket and key, and the operation's name."""

import pytest
from syncd.localcloud.httpd import Body, HeaderFields, ServerRequest
from syncd.localcloud.oss.errors import OssError
from syncd.localcloud.oss.protocol.operation_names import operation_of
from syncd.localcloud.oss.protocol.request import OssCall, address, as_text

DOMAINS = ("oss.local", "localhost")


def _request(method: str = "GET", path: str = "/", host: str = "127.0.0.1:80") -> ServerRequest:
    return ServerRequest(method, path, path, (), HeaderFields([("Host", host)]), Body.of(b""))


@pytest.mark.parametrize(
    ("host", "path", "named"),
    [
        ("127.0.0.1:8080", "/bucket/a/b", ("bucket", "a/b")),
        ("[::1]:8080", "/bucket/a", ("bucket", "a")),
        ("localhost:8080", "/bucket/a%2Fb%20+", ("bucket", "a/b +")),
        ("somewhere.else", "/bucket", ("bucket", "")),
        ("bucket.oss.local:8080", "/a/b", ("bucket", "a/b")),
        ("Bucket.LOCALHOST", "/a", ("bucket", "a")),
        ("bucket.oss-r1.oss.local", "/", ("bucket", "")),
        ("bucket.oss-r1-internal.oss.local", "/bucket", ("bucket", "bucket")),
        ("oss-r1.oss.local", "/bucket/a", ("bucket", "a")),
        ("oss-r1-internal.oss.local", "/", ("", "")),
        ("", "/", ("", "")),
    ],
)
def test_a_bucket_is_named_by_the_host_or_by_the_path(host: str, path: str, named: tuple[str, str]) -> None:
    assert address(_request(path=path, host=host), "r1", DOMAINS) == named


@pytest.mark.parametrize("path", ["/b/%ff", "/b//lead", "/b/%5Clead", "/b/" + "k" * 1024, "/b/" + "%C3%A9" * 512])
def test_a_key_oss_could_not_hold_is_refused(path: str) -> None:
    with pytest.raises(OssError, match="InvalidObjectName"):
        address(_request(path=path), "r1", DOMAINS)


def test_text_sent_as_utf8_is_read_as_utf8_and_other_bytes_stay() -> None:
    assert as_text("é".encode().decode("latin-1")) == "é"
    assert as_text("\xff") == "\xff"
    assert as_text("模") == "模"


@pytest.mark.parametrize(
    ("method", "bucket", "key", "args", "operation"),
    [
        ("GET", "", "", {}, "ListBuckets"),
        ("GET", "b", "", {"list-type": "2"}, "ListObjectsV2"),
        ("PUT", "b", "", {"lifecycle": ""}, "PutBucketLifecycle"),
        ("PUT", "b", "k", {"uploadId": "1", "partNumber": "1"}, "UploadPart"),
        ("HEAD", "b", "k", {"objectMeta": ""}, "GetObjectMeta"),
    ],
)
def test_an_operation_has_the_name_of_the_documentation(
    method: str, bucket: str, key: str, args: dict[str, str], operation: str
) -> None:
    call = OssCall(_request(method), bucket, key, "r1", "id", 0.0, args=args)
    assert operation_of(call) == operation
    assert call.resource == f"{bucket}/{key}".strip("/")
