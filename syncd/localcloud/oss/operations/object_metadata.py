"""Object metadata from request headers: content headers, user metadata, tags, ACL and storage class."""

import re
from collections.abc import Mapping
from urllib.parse import unquote_plus

from syncd.localcloud.oss.errors import OssError, file_already_exists, invalid_argument
from syncd.localcloud.oss.protocol.request import OssCall
from syncd.localcloud.oss.storage.entries import OBJECT_ACLS, STORAGE_CLASSES, BucketEntry, ObjectEntry
from syncd.localcloud.oss.storage.region_store import RegionStore

TAGS_MAX = 10
TAG_KEY_CHARS_MAX = 128
TAG_VALUE_CHARS_MAX = 256
USER_META_BYTES_MAX = 8 * 1024
_ENCRYPTION = "x-oss-server-side-encryption"
_DATA_ENCRYPTION = "x-oss-server-side-data-encryption"
_ENCRYPTION_KEY = "x-oss-server-side-encryption-key-id"
_TAG_CHARS = re.compile(r"[A-Za-z0-9 +\-=._:/]*", re.ASCII)
_KEPT_HEADERS = (
    "Content-Type",
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Expires",
)


def new_object(call: OssCall, bucket: BucketEntry) -> ObjectEntry:
    """An entry without bytes, with all metadata of the request.

    Raises:
        OssError: The storage class, the ACL, a tag or the metadata is invalid.
    """
    return ObjectEntry(
        bucket=call.bucket,
        key=call.key,
        etag="",
        crc=0,
        modified_s=call.now_s,
        storage_class=storage_class(call, bucket.storage_class),
        acl=object_acl(call),
        headers=kept_headers(call) | encryption_headers(call),
        tags=header_tags(call),
    )


def storage_class(call: OssCall, default: str) -> str:
    value = call.header("x-oss-storage-class") or default
    if value not in STORAGE_CLASSES:
        raise invalid_argument("The storage class you specified is invalid.", "x-oss-storage-class", value)
    return value


def object_acl(call: OssCall, header: str = "x-oss-object-acl") -> str:
    value = call.header(header) or "default"
    if value not in OBJECT_ACLS:
        raise invalid_argument("No such object access control exists.", header, value)
    return value


def kept_headers(call: OssCall) -> dict[str, str]:
    """The headers that GET returns, unchanged."""
    headers = call.request.headers
    kept = {name: headers.get(name) for name in _KEPT_HEADERS if name in headers}
    kept.setdefault("Content-Type", "application/octet-stream")
    meta = {name.lower(): value for name, value in headers.items() if name.lower().startswith("x-oss-meta-")}
    if sum(len(name) + len(value) for name, value in meta.items()) > USER_META_BYTES_MAX:
        raise OssError(400, "InvalidArgument", "The user metadata is larger than 8 KB.", "0017-00000401")
    return kept | meta


def encryption_headers(call: OssCall) -> dict[str, str]:
    """The server-side encryption that the request asks for. It is recorded and reported; no byte is encrypted.

    A data encryption algorithm and a key id only have a meaning with KMS (help page of PutObject).

    Raises:
        OssError: The encryption method or the algorithm is not one of OSS's.
    """
    method, algorithm = call.header(_ENCRYPTION), call.header(_DATA_ENCRYPTION)
    if method not in ("", "AES256", "KMS", "SM4") or algorithm not in ("", "SM4"):
        raise OssError(
            400,
            "InvalidEncryptionAlgorithmError",
            "The Encryption request you specified is not valid.",
            "0005-00000003",
            {"ArgumentName": _ENCRYPTION, "ArgumentValue": method or algorithm},
        )
    names = (_ENCRYPTION, _DATA_ENCRYPTION, _ENCRYPTION_KEY) if method == "KMS" else (_ENCRYPTION,)
    return {name: call.header(name) for name in names if call.header(name)}


def encryption_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The encryption headers among those of an object or an upload."""
    return {name: value for name, value in headers.items() if name.startswith("x-oss-server-side-")}


def header_tags(call: OssCall) -> dict[str, str]:
    """The tags of `x-oss-tagging`: URL-encoded `key` or `key=value`, joined by `&`.

    Raises:
        OssError: The header is malformed, or a tag is invalid.
    """
    text = call.header("x-oss-tagging")
    terms = text.split("&") if text else []
    if any(term.count("=") > 1 for term in terms):
        raise OssError(400, "InvalidTag", "The tagging header is malformed.", "0010-00000219")
    pairs = [tuple(map(unquote_plus, term.partition("=")[::2])) for term in terms]
    if len({name for name, _ in pairs}) < len(pairs):
        message = "The header 'x-oss-tagging' shall be encoded as UTF-8 query parameters without tag name duplicates."
        raise invalid_argument(message, "x-oss-tagging", text)
    return checked_tags([(name, value) for name, value in pairs])


def checked_tags(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Validated tags.

    Documented for tags of objects (help pages of errors 0010-00000212, -213, -217 and "Object tagging"): at most ten,
    keys of 1 to 128 characters and values of at most 256, letters and digits of ASCII, space and `+ - = . _ : /`. So
    a tag outside ASCII is refused, in the header and in the body alike. The codes of too many and of duplicate tags
    are those that aliyun-oss-cpp-sdk expects of the service (`test/src/Object/ObjectTaggingTest.cc`).

    Raises:
        OssError: There are too many tags, a duplicate key, or an invalid key or value.
    """
    if len(pairs) > TAGS_MAX:
        raise OssError(400, "BadRequest", "Object tags cannot be greater than 10", "0010-00000217")
    for name, value in pairs:
        if not 1 <= len(name) <= TAG_KEY_CHARS_MAX or not _TAG_CHARS.fullmatch(name):
            raise OssError(400, "InvalidTag", "The TagKey you have provided is invalid.", "0010-00000212")
        if len(value) > TAG_VALUE_CHARS_MAX or not _TAG_CHARS.fullmatch(value):
            raise OssError(400, "InvalidTag", "The TagValue you have provided is invalid.", "0010-00000217")
    tags = dict(pairs)
    if len(tags) != len(pairs):
        raise OssError(400, "InvalidTag", "Cannot provide multiple Tags with the same key.", "0010-00000217")
    return tags


def forbids_overwrite(call: OssCall) -> bool:
    return call.header("x-oss-forbid-overwrite").lower() == "true"


def refuse_if_taken(store: RegionStore, call: OssCall, ec: str) -> None:
    """Check forbid-overwrite before the body is read; the final check comes after it.

    Raises:
        OssError: The request forbids overwriting, and the key exists.
    """
    if forbids_overwrite(call) and store.objects.get(call.bucket, call.key) is not None:
        raise file_already_exists(call.key, ec)
