"""An OSS request: its bucket and key, from path or host, and its operation."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from syncd.localcloud.httpd.messages import HttpRequest
from syncd.localcloud.oss.errors import OssError, invalid_argument

KEY_BYTES_MAX = 1023

# (method, query parameter that must be there, operation); the first that fits wins, '' stands for none.
_OBJECT_OPERATIONS = (
    ("POST", "uploads", "InitiateMultipartUpload"),
    ("POST", "uploadId", "CompleteMultipartUpload"),
    ("POST", "append", "AppendObject"),
    ("POST", "restore", "RestoreObject"),
    ("PUT", "uploadId", "UploadPart"),
    ("PUT", "acl", "PutObjectACL"),
    ("PUT", "symlink", "PutSymlink"),
    ("PUT", "tagging", "PutObjectTagging"),
    ("PUT", "", "PutObject"),
    ("GET", "uploadId", "ListParts"),
    ("GET", "acl", "GetObjectACL"),
    ("GET", "symlink", "GetSymlink"),
    ("GET", "tagging", "GetObjectTagging"),
    ("GET", "objectMeta", "GetObjectMeta"),
    ("GET", "", "GetObject"),
    ("HEAD", "objectMeta", "GetObjectMeta"),
    ("HEAD", "symlink", "GetSymlink"),
    ("HEAD", "", "HeadObject"),
    ("DELETE", "uploadId", "AbortMultipartUpload"),
    ("DELETE", "tagging", "DeleteObjectTagging"),
    ("DELETE", "", "DeleteObject"),
)
_BUCKET_OPERATIONS = (
    ("POST", "delete", "DeleteMultipleObjects"),
    ("PUT", "acl", "PutBucketACL"),
    ("GET", "acl", "GetBucketACL"),
    ("GET", "bucketInfo", "GetBucketInfo"),
    ("GET", "location", "GetBucketLocation"),
    ("GET", "stat", "GetBucketStat"),
    ("GET", "uploads", "ListMultipartUploads"),
    ("GET", "lifecycle", "GetBucketLifecycle"),
    ("GET", "versioning", "GetBucketVersioning"),
    ("GET", "policy", "GetBucketPolicy"),
    ("GET", "cors", "GetBucketCors"),
    ("GET", "website", "GetBucketWebsite"),
    ("GET", "tagging", "GetBucketTags"),
    ("GET", "encryption", "GetBucketEncryption"),
    ("GET", "", "ListObjects"),
    ("HEAD", "", "GetBucketInfo"),
    ("PUT", "", "PutBucket"),
    ("DELETE", "", "DeleteBucket"),
)
# Settings of a bucket this service does not keep. Without this list, `PUT /?lifecycle` would make a bucket.
_BUCKET_SETTINGS = frozenset(
    {
        "accessMonitor",
        "cname",
        "cors",
        "encryption",
        "inventory",
        "lifecycle",
        "logging",
        "policy",
        "qosInfo",
        "referer",
        "replication",
        "requestPayment",
        "resourceGroup",
        "rtc",
        "tagging",
        "transferAcceleration",
        "versioning",
        "website",
        "worm",
    }
)


@dataclass(slots=True)
class OssCall:
    """One request with its address. `bucket` and `key` are '' when the request has none."""

    request: HttpRequest
    bucket: str
    key: str
    region: str
    request_id: str
    now_s: float
    operation: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    copied_bytes: int = 0  # on the server side

    def header(self, name: str, default: str = "") -> str:
        """A header as text. Clients send UTF-8 although HTTP specifies Latin-1."""
        return as_text(self.request.headers.get(name, default))

    @property
    def host(self) -> str:
        return self.request.headers.get("host")

    @property
    def resource(self) -> str:
        """The resource name for fault rules and counters: `bucket/key`, `bucket`, or ''."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    def count(self, name: str, default: int, ceiling: int) -> int:
        """A page size.

        Raises:
            OssError: The value is not an integer between 1 and `ceiling`.
        """
        text = self.args.get(name) or str(default)
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= ceiling):
            message = f"Argument {name} must be an integer between 1 and {ceiling}."
            raise invalid_argument(message, name, text)
        return int(text)


def as_text(value: str) -> str:
    """Decode a header value that was sent as UTF-8 and parsed as Latin-1."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        return value


def address(request: HttpRequest, region: str, domains: tuple[str, ...]) -> tuple[str, str]:
    """The bucket and the key of a request.

    The bucket is in a host `<bucket>.<domain>` or `<bucket>.oss-<region>.<domain>`; with any other host, such
    as an IP address, it is in the path.

    Raises:
        OssError: The key is invalid.
    """
    path = request.path.removeprefix("/")
    bucket = _bucket_of_host(request.headers.get("host"), region, domains)
    if not bucket:
        bucket, _, path = path.partition("/")
        bucket = _decode(bucket)
    key = _decode(path)
    if len(key.encode()) > KEY_BYTES_MAX or key.startswith(("/", "\\")):
        raise OssError(400, "InvalidObjectName", "The specified object is not valid.", "0016-00000004")
    return bucket, key


def _decode(text: str) -> str:
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise OssError(400, "InvalidObjectName", "The specified object is not valid.", "0016-00000004") from error


def _bucket_of_host(host: str, region: str, domains: tuple[str, ...]) -> str:
    name = host.rsplit(":", 1)[0].lower()
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        pass
    else:
        return ""
    for domain in domains:
        if name.endswith(f".{domain}"):
            first = name.removesuffix(domain).rstrip(".").split(".")[0]
            return "" if first in (f"oss-{region}", f"oss-{region}-internal") else first
    return ""


def operation_of(call: OssCall) -> str:
    """The operation's name in OSS's documentation.

    Raises:
        OssError: There is no such operation.
    """
    if not call.bucket:
        if call.request.method == "GET":
            return "ListBuckets"
        raise _method_not_allowed(call.request.method)
    table = _OBJECT_OPERATIONS if call.key else _BUCKET_OPERATIONS
    for method, parameter, operation in table:
        if method == call.request.method and (not parameter or parameter in call.args):
            return _refine(call, operation)
    raise _method_not_allowed(call.request.method)


def _refine(call: OssCall, operation: str) -> str:
    if operation in ("PutObject", "UploadPart") and "x-oss-copy-source" in call.request.headers:
        return "CopyObject" if operation == "PutObject" else "UploadPartCopy"
    if operation == "ListObjects" and call.args.get("list-type") == "2":
        return "ListObjectsV2"
    if operation in ("PutBucket", "DeleteBucket", "ListObjects"):
        setting = next((name for name in call.args if name in _BUCKET_SETTINGS), "")
        if setting:
            return f"{operation}?{setting}"
    return operation


def _method_not_allowed(method: str) -> OssError:
    return OssError(
        405,
        "MethodNotAllowed",
        "The specified method is not allowed against this resource.",
        "0015-00000301",
        {"Method": method, "ResourceType": "Object"},
    )
