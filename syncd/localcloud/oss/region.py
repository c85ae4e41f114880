"""OSS endpoint of one region: request handling, and access for mounts and tests."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from syncd.localcloud.account import Account
from syncd.localcloud.counters import CallRecord, Counters
from syncd.localcloud.faults import FaultScript, Respond, run_with_faults
from syncd.localcloud.httpd.messages import ServerRequest, ServerResponse, body_size
from syncd.localcloud.oss.errors import OssError, not_implemented
from syncd.localcloud.oss.operations import attributes, buckets, copies, listing, multipart, objects, reads
from syncd.localcloud.oss.protocol.operation_names import operation_of, unsupported_feature
from syncd.localcloud.oss.protocol.request import OssCall, address
from syncd.localcloud.oss.protocol.responses import error_answer, finish
from syncd.localcloud.oss.protocol.signatures import authenticate, is_anonymous
from syncd.localcloud.oss.storage.entries import ObjectType
from syncd.localcloud.oss.storage.region_store import RegionStore

Operation = Callable[[RegionStore, OssCall], ServerResponse]

OPERATIONS: Mapping[str, Operation] = {
    "ListBuckets": buckets.list_buckets,
    "PutBucket": buckets.put_bucket,
    "DeleteBucket": buckets.delete_bucket,
    "GetBucketInfo": buckets.get_bucket_info,
    "GetBucketLocation": buckets.get_bucket_location,
    "GetBucketStat": buckets.get_bucket_stat,
    "GetBucketACL": buckets.get_bucket_acl,
    "PutBucketACL": buckets.put_bucket_acl,
    "GetBucketLifecycle": buckets.get_absent_setting,
    "GetBucketPolicy": buckets.get_absent_setting,
    "GetBucketCors": buckets.get_absent_setting,
    "GetBucketWebsite": buckets.get_absent_setting,
    "GetBucketEncryption": buckets.get_absent_setting,
    "GetBucketVersioning": buckets.get_bucket_versioning,
    "GetBucketTags": buckets.get_bucket_tags,
    "ListObjects": listing.list_objects,
    "ListObjectsV2": listing.list_objects_v2,
    "ListObjectVersions": listing.list_object_versions,
    "ListLiveChannel": listing.list_live_channels,
    "PutObject": objects.put_object,
    "AppendObject": objects.append_object,
    "GetObject": reads.get_object,
    "HeadObject": reads.head_object,
    "GetObjectMeta": reads.get_object_meta,
    "DeleteObject": objects.delete_object,
    "DeleteMultipleObjects": objects.delete_multiple_objects,
    "CopyObject": copies.copy_object,
    "InitiateMultipartUpload": multipart.initiate,
    "UploadPart": multipart.upload_part,
    "UploadPartCopy": copies.upload_part_copy,
    "CompleteMultipartUpload": multipart.complete,
    "AbortMultipartUpload": multipart.abort,
    "ListParts": multipart.list_parts,
    "ListMultipartUploads": multipart.list_uploads,
    "GetObjectACL": attributes.get_object_acl,
    "PutObjectACL": attributes.put_object_acl,
    "GetObjectTagging": attributes.get_object_tagging,
    "PutObjectTagging": attributes.put_object_tagging,
    "DeleteObjectTagging": attributes.delete_object_tagging,
    "PutSymlink": attributes.put_symlink,
    "GetSymlink": attributes.get_symlink,
}
# Operations that an ACL may allow without a signature.
_PUBLIC_READS = frozenset(
    {"GetObject", "HeadObject", "GetObjectMeta", "GetSymlink", "ListObjects", "ListObjectsV2", "ListObjectVersions"}
)
_PUBLIC_WRITES = frozenset(
    {
        "AbortMultipartUpload",
        "AppendObject",
        "CompleteMultipartUpload",
        "CopyObject",
        "DeleteMultipleObjects",
        "DeleteObject",
        "InitiateMultipartUpload",
        "ListParts",
        "PutObject",
        "PutSymlink",
        "UploadPart",
        "UploadPartCopy",
    }
)


class CloudContext(Protocol):
    """What a region uses of its cloud."""

    @property
    def account(self) -> Account: ...
    @property
    def faults(self) -> FaultScript: ...
    @property
    def counters(self) -> Counters: ...
    @property
    def oss_domains(self) -> tuple[str, ...]: ...
    @property
    def clock(self) -> Callable[[], float]: ...


@dataclass(frozen=True, slots=True)
class MaterializedPrefix:
    """The result of a mount of `bucket:/prefix`. `marker_exists` is about the object named `prefix/`."""

    bucket_exists: bool
    marker_exists: bool
    files: int


class OssRegion:
    """The OSS endpoint of one region. Thread-safe."""

    def __init__(self, store: RegionStore, cloud: CloudContext) -> None:
        self.store = store
        self._cloud = cloud

    def handle(self, request: ServerRequest) -> ServerResponse:
        """Answer one request; errors and faults are responses too."""
        call = OssCall(
            request=request,
            bucket="",
            key="",
            region=self.store.region,
            request_id=uuid.uuid4().hex[:24].upper(),
            now_s=self._cloud.clock(),
        )
        try:
            response = finish(call, self._answer(call))
        except ConnectionError:
            self._record(call, 0, 0)
            raise
        reset = response.wire is not None and response.wire.reset
        self._record(call, 0 if reset else response.status, body_size(response) or 0)
        return response

    def _answer(self, call: OssCall) -> ServerResponse:
        try:
            call.bucket, call.key = address(call.request, call.region, self._cloud.oss_domains)
            call.args = dict(call.request.query)
            call.operation = operation_of(call)
        except OssError as error:
            return error_answer(call, error)
        rules = self._cloud.faults.take("oss", call.operation, call.resource)
        return run_with_faults(
            self._cloud.faults,
            rules,
            call.request,
            run=lambda: self._run(call),
            render=lambda answer: _render(call, answer),
        )

    def _run(self, call: OssCall) -> ServerResponse:
        try:
            operation = OPERATIONS.get(call.operation)
            if operation is None:
                raise not_implemented(call.operation)  # before the signature: PostObject has it in its form
            self._admit(call)
            unsupported = unsupported_feature(call)
            if unsupported:
                raise not_implemented(unsupported)
            return operation(self.store, call)
        except OssError as error:
            return error_answer(call, error)
        except ConnectionError:
            raise  # the client disconnected
        except OSError as error:
            message = f"We encountered an internal error. Please try again. ({error.strerror})"
            return error_answer(call, OssError(500, "InternalError", message, "0000-00000001"))

    def _admit(self, call: OssCall) -> None:
        """Check the signature, or that an ACL allows anonymous access.

        Raises:
            OssError: The request is neither signed nor public.
        """
        if not (is_anonymous(call) and self._is_public(call)):
            authenticate(call, self._cloud.account)

    def _is_public(self, call: OssCall) -> bool:
        acl = self._acl(call.bucket, call.key)
        if call.operation in _PUBLIC_READS:
            return acl.startswith("public-read")
        if call.operation not in _PUBLIC_WRITES or acl != "public-read-write":
            return False
        if call.operation in ("CopyObject", "UploadPartCopy"):
            return self._acl(*copies.copy_source(call)).startswith("public-read")
        if call.operation == "DeleteMultipleObjects":
            return not self.store.objects.has_own_acl(call.bucket)  # which keys it names is in the body
        return True

    def _acl(self, bucket: str, key: str) -> str:
        """The ACL that holds for an object, or for a bucket; '' when there is none."""
        entry = self.store.objects.get(bucket, key) if key else None
        if entry is not None and entry.acl != "default":
            return entry.acl
        home = self.store.buckets.get(bucket)
        return home.acl if home is not None else ""

    def _record(self, call: OssCall, status: int, bytes_out: int) -> None:
        received = call.request.body.received
        self._cloud.counters.record(
            CallRecord(
                "oss", call.operation, call.resource, status, received, bytes_out, call.region, call.copied_bytes
            )
        )

    def object_file(self, bucket: str, key: str) -> Path:
        """The file with all bytes of the object, for tests that read or corrupt it.

        A multipart or appended object is joined into one file first, permanently. A server-side copy has
        its own file.

        Raises:
            OssError: The bucket or the key does not exist.
        """
        return self.store.blobs.path(self.store.as_single_blob(bucket, key).blob)

    def materialize(self, bucket: str, prefix: str, into: Path) -> MaterializedPrefix:
        """Materialize the objects below `prefix` as files in the directory `into`.

        The files are hard links to the store's files (joined first, as in `object_file`): a snapshot that must
        not be written to. Marker objects become directories. Symlinks, keys that are not valid paths (`..`,
        empty segments), and objects whose key is also a directory are left out.
        """
        base = prefix.strip("/")
        marker = f"{base}/" if base else ""
        into.mkdir(parents=True, exist_ok=True)
        if self.store.buckets.get(bucket) is None:
            return MaterializedPrefix(bucket_exists=False, marker_exists=False, files=0)
        keys = self._mountable_keys(bucket, marker)
        directories = {parent for _, name in keys for parent in name.parents}
        files = 0
        for key, name in keys:
            path = into / name
            if key.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
            elif name not in directories:
                path.parent.mkdir(parents=True, exist_ok=True)
                files += self._link(bucket, key, path)
        exists = not base or self.store.objects.get(bucket, marker) is not None
        return MaterializedPrefix(bucket_exists=True, marker_exists=exists, files=files)

    def _link(self, bucket: str, key: str, path: Path) -> int:
        try:
            self.store.link(bucket, key, path)
        except OssError:
            return 0  # deleted since the listing
        return 1

    def _mountable_keys(self, bucket: str, marker: str) -> list[tuple[str, PurePosixPath]]:
        found: list[tuple[str, PurePosixPath]] = []
        last = ""
        while batch := self.store.objects.after(bucket, last, marker, 1000):
            for entry in batch:
                last = entry.key
                if not entry.key.startswith(marker):
                    return found
                segments = entry.key.removeprefix(marker).removesuffix("/").split("/")
                if entry.kind is not ObjectType.SYMLINK and not {"", ".", ".."}.intersection(segments):
                    found.append((entry.key, PurePosixPath(*segments)))
        return found

    def close(self) -> None:
        """Close all files. The region cannot be used afterwards."""
        self.store.close()


def _render(call: OssCall, answer: Respond) -> ServerResponse:
    if answer.body is not None:
        content_type = "text/html" if answer.body.lstrip().startswith("<") else "text/plain"
        headers = dict({"Content-Type": content_type}, **answer.headers)
        return ServerResponse(answer.status, list(headers.items()), answer.body.encode())
    response = error_answer(call, OssError(answer.status, answer.code, answer.message, ""))
    response.headers += list(answer.headers.items())
    return response
